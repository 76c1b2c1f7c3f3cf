"""What the package promises to whoever imports it: names, kinds of arguments, defaults."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
from typing import Any

import pytest

import kvstore

# Signatures, without `self` and annotations.
STORE = {
    "get": "(key, default=None, *, read=Ellipsis, timeout=Ellipsis)",
    "entry": "(key, *, read=Ellipsis, timeout=Ellipsis)",
    "get_many": "(keys, *, read=Ellipsis, timeout=Ellipsis)",
    "exists": "(key, *, read=Ellipsis)",
    "count": "(prefix='', *, read=Ellipsis)",
    "scan": "(prefix='', *, start=None, end=None, read=Ellipsis, limit=None, reverse=False, page_size=1000)",
    "keys": "(prefix='', *, start=None, end=None, read=Ellipsis, limit=None, reverse=False)",
    "put": "(key, value, *, ttl=None, lease=None, if_absent=False, if_version=None, timeout=Ellipsis)",
    "add": "(key, value, *, ttl=None, timeout=Ellipsis)",
    "incr": "(key, by=1, *, initial=0, ttl=None)",
    "update": "(key, fn, *, attempts=16)",
    "batch": "(*, atomic=False)",
    "transact": "(fn, *, attempts=16)",
    "lease": "(ttl, *, keep_alive=True)",
    "find_lease": "(lease_id, *, keep_alive=False)",
    "lock": "(name, *, ttl=10, timeout=None)",
    "election": "(name, *, ttl=10)",
    "keyspace": "(name)",
    "create_keyspace": "(name, *, consistency='eventual', keep_conflicts=10000, exist_ok=False)",
    "drop_keyspace": "(name)",
    "keyspaces": "()",
    "info": "()",
    "delete_prefix": "(prefix)",
    "put_many": "(items, *, ttl=None, timeout=Ellipsis)",
    "delete": "(key, *, if_version=None, timeout=Ellipsis)",
    "delete_many": "(keys)",
    "touch": "(key, ttl)",
    "conflicts": "(prefix='', *, since=None)",
    "restore": "(conflict)",
    "watch": "(key=None, *, prefix=None, since=None, initial=False, buffer=4096)",
    "snapshot": "(path, *, timeout=None)",
    "ping": "()",
    "metrics": "(*, timeout=Ellipsis)",
    "with_options": "(*, codec=Ellipsis, read=Ellipsis, timeout=Ellipsis)",
}
NODE = {
    "start": "(*, wait='listening', timeout=10.0)",
    "stop": "(timeout=10.0)",
    "join": "(timeout=None)",
    "astart": "(*, wait='listening', timeout=10.0)",
    "astop": "(timeout=10.0)",
    "async_client": "(keyspace='default', **options)",
}


def shape(function: Any) -> str:
    parameters = list(inspect.signature(function).parameters.values())
    bare = [each.replace(annotation=each.empty) for each in parameters if each.name != "self"]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize(("name", "expected"), STORE.items())
def test_calls_have_their_arguments_everywhere(name: str, expected: str) -> None:
    for cls in (kvstore.Store, kvstore.Client, kvstore.AsyncStore, kvstore.AsyncClient):
        assert shape(getattr(cls, name)) == expected
    assert shape(getattr(kvstore.Node, name)) == expected


@pytest.mark.parametrize(("name", "expected"), NODE.items())
def test_a_node_has_its_arguments(name: str, expected: str) -> None:
    assert shape(getattr(kvstore.Node, name)) == expected


def test_constructors_take_target_and_port_first() -> None:
    assert str(inspect.signature(kvstore.Node)).startswith("(port: 'int' = 0, peers: 'Peers' = None, *, config")
    # Of the function: on 3.8 typing.Generic hides what a class takes.
    assert list(inspect.signature(kvstore.Client.__init__).parameters)[1:4] == ["target", "keyspace", "codec"]
    assert list(inspect.signature(kvstore.NodeConfig).parameters) == ["port", "peers", "settings"]


def test_every_public_name_is_there_and_has_a_text() -> None:
    assert kvstore.__version__.count(".") == 2
    for name in kvstore.__all__:
        assert getattr(kvstore, name).__doc__, name


@pytest.mark.parametrize("cls", [kvstore.Store, kvstore.Client, kvstore.AsyncStore, kvstore.AsyncClient, kvstore.Node])
def test_every_public_method_has_a_text(cls: type) -> None:
    for name in dir(cls):
        if not name.startswith("_") and callable(getattr(cls, name)):
            assert inspect.getdoc(getattr(cls, name)), name


def test_every_module_can_be_imported() -> None:
    for module in pkgutil.walk_packages(kvstore.__path__, "kvstore."):
        # `python -m kvstore` runs when it is imported.
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_a_wheel_has_no_mistakes_to_switch_on() -> None:
    """With the Cargo feature `faults` it would have: that is for `make kills-mutant` alone."""
    native = kvstore._core.__file__
    assert b"MUTANT_OF_KVSTORE" not in pathlib.Path(native).read_bytes()

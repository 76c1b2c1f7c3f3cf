"""cachelib's suite for caches, over KVStoreCache; what is ours alone; and Flask-Caching, which takes it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any
from unittest import mock

import flask
import flask_caching
import pytest

import kvstore
from kvstore.contrib.cachelib import KVStoreCache

from .suites import suite

if TYPE_CHECKING:
    from typing import Dict


def load(name: str) -> Any:
    """A module of the suite.

    It asks its own conftest for samples, and that one for a plug-in that starts other servers; both names are taken
    here. So they stand for these only while it is imported.
    """
    folder = str(suite("cachelib", "tests"))
    starter = types.ModuleType("xprocess")
    starter.ProcessStarter = object  # type: ignore[attr-defined]
    with mock.patch.object(sys, "path", [folder, *sys.path]), mock.patch.dict(sys.modules, {"xprocess": starter}):
        for each in ("conftest", name):
            sys.modules.pop(each, None)
        return importlib.import_module(name)


class Json:
    """A serializer that is none of pickle's kind."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, payload: bytes) -> Any:
        return json.loads(payload)


class TestKVStoreCache(load("common").CommonTests, load("clear").ClearTests, load("has").HasTests):
    @pytest.fixture(autouse=True)
    def _host(self, host: kvstore.Node, strong_name: str) -> None:
        self.made = lambda: KVStoreCache(host.address, strong_name)

    def cache_factory(self) -> Any:
        return self.made()


@pytest.fixture
def cache(host: kvstore.Node, strong_name: str) -> Any:
    return KVStoreCache(host, strong_name, default_timeout=100)


@pytest.fixture
def raw(host: kvstore.Node, strong_name: str) -> Any:
    """What is stored."""
    return host.keyspace(strong_name)


def test_timeouts_are_those_of_cachelib(cache: Any, raw: Any) -> None:
    cache.set("default", 1)
    cache.set("none", 1, timeout=0)
    cache.set_many({"many": 1}, timeout=50)
    cache.inc("counted")
    ttls = {entry.key: entry.ttl for entry in raw.scan()}
    assert ttls["cachelib/none"] is None
    assert 50 < ttls["cachelib/default"] <= 100
    assert 50 < ttls["cachelib/counted"] <= 100
    assert 0 < ttls["cachelib/many"] <= 50
    assert cache.set("default", 2, timeout=-1)
    assert cache.set_many({"many": 2}, timeout=-1) == ["many"]
    assert cache.add("added", 2, timeout=-1)
    assert not cache.add("none", 2, timeout=-1)
    assert cache.get_many("default", "many", "added", "none") == [None, None, None, 1]


def test_integers_can_be_added_to_by_all(cache: Any, raw: Any) -> None:
    cache.set("n", 41)
    assert raw["cachelib/n"] == 41
    assert cache.inc("n") == 42
    assert [type(value) for value in cache.get_many("n")] == [int]
    cache.set("big", 2**64)
    assert cache.get("big") == 2**64
    with pytest.raises(kvstore.CodecError):
        cache.inc("big")


def test_clear_leaves_what_is_not_of_the_cache(cache: Any, raw: Any) -> None:
    raw["other"] = 1
    cache.set_many({str(number): b"x" for number in range(2500)})
    assert raw.count() == 2501
    assert cache.clear() is True
    assert list(raw.keys()) == ["other"]


def test_those_that_were_there_are_told(cache: Any) -> None:
    cache.set_many({str(number): number for number in range(0, 3000, 2)})
    deleted = cache.delete_many(*map(str, range(3000)))
    assert deleted == [str(number) for number in range(0, 3000, 2)]
    assert cache.delete_many() == []


def test_the_serializer_is_an_attribute(host: kvstore.Node, strong_name: str, raw: Any) -> None:
    class Cache(KVStoreCache):
        serializer = Json()

    cache = Cache(host, strong_name)
    cache.set("k", {"a": [1, None, True]})
    assert raw["cachelib/k"] == b'{"a": [1, null, true]}'
    assert cache.get("k") == {"a": [1, None, True]}
    assert cache.get_dict("k", "missing") == {"k": {"a": [1, None, True]}, "missing": None}


def test_an_eventual_keyspace_is_refused(host: kvstore.Node) -> None:
    with pytest.raises(kvstore.UnsupportedError, match=r"contrib.cachelib: the keyspace 'default' is eventual"):
        KVStoreCache(host).set("k", 1)
    for target in (host, host.address):
        with pytest.raises(kvstore.InvalidArgumentError, match="did you mean 'timeout'"):
            KVStoreCache(target, timout=1)


def test_a_cache_is_usable_after_a_fork(host: kvstore.Node, strong_name: str) -> None:
    """Made and used before, as by a server that loads its application before it forks its workers."""
    program = f"""
import os
from kvstore.contrib.cachelib import KVStoreCache
cache = KVStoreCache({host.address!r}, {strong_name!r})
cache.inc("n")
child = os.fork()
if child == 0:
    os._exit(0 if cache.inc("n") == 2 and cache.get("n") == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
assert cache.inc("n") == 3
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_flask_caching_takes_it_by_its_name(host: kvstore.Node, strong_name: str, raw: Any) -> None:
    app = flask.Flask(__name__)
    settings: Dict[str, Any] = {
        "CACHE_TYPE": "kvstore.contrib.cachelib.flask_caching",
        "CACHE_DEFAULT_TIMEOUT": 100,
        "CACHE_OPTIONS": {"target": host.address, "keyspace": strong_name, "prefix": "flask/"},
    }
    cache = flask_caching.Cache(app, config=settings)
    calls = []

    @app.route("/page")
    @cache.cached()
    def page() -> str:
        calls.append("page")
        return "made"

    @cache.memoize()
    def square(number: int) -> int:
        calls.append("square")
        return number * number

    with app.test_client() as browser:
        assert [browser.get("/page").text for _ in range(2)] == ["made", "made"]
    with app.app_context():
        assert [square(3) for _ in range(2)] == [9, 9]
        assert calls == ["page", "square"]
        cache.delete_memoized(square)
        assert square(3) == 9
        assert calls == ["page", "square", "square"]
        assert all(50 < (entry.ttl or 0) <= 100 for entry in raw.scan("flask/"))
        assert cache.clear()
    assert raw.count() == 0

"""Ctrl-C in every call that waits: KeyboardInterrupt within a moment, and what was interrupted can be used again."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Iterator, Set

import pytest

import kvstore
from kvstore.testing import LocalCluster

from . import interrupts
from .programs import assert_silent

if TYPE_CHECKING:
    import pathlib

CLASSES = [kvstore.Batch, kvstore.Cluster, kvstore.Election, kvstore.Lease, kvstore.Lock, kvstore.Txn, kvstore.Watch]
CLASSES += [kvstore.Pending, kvstore.NodeConfig, kvstore.Codec]
# Said by a tuple or a dict, or only about another object of its kind.
OF_VALUES = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"}
OF_VALUES |= {"__setattr__", "__delattr__", "__subclasshook__", "__replace__"}


@pytest.mark.timeout(270)
@pytest.mark.parametrize("part", interrupts.PARTS)
def test_ctrl_c_ends_every_wait(part: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-W", "error::ResourceWarning", interrupts.__file__, part, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert_silent(done, "done")


def test_no_public_call_is_forgotten() -> None:
    waiting = {f"Store.{name}" for name in interrupts.STORE} | {f"Map.{name}" for name in interrupts.MAP}
    waiting |= (
        set(interrupts.Held.calls(_Anything())) | set(interrupts.of_cluster(_Anything())) | set(interrupts.OF_LIFE)
    )
    at_once = {f"Store.{name}" for name in interrupts.STORE_AT_ONCE} | {
        f"Map.{name}" for name in interrupts.MAP_AT_ONCE
    }
    at_once |= set(interrupts.AT_ONCE)
    assert not waiting & at_once
    assert waiting | at_once == set(_public_calls())


class _Anything:
    """Has every attribute and every item."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __getitem__(self, index: int) -> Any:
        return _Anything()


def _public_calls() -> Iterator[str]:
    yield from (f"Store.{name}" for name in _calls_of(kvstore.Store))
    of_store = _calls_of(kvstore.Store)
    for cls in (kvstore.Client, kvstore.Node):
        yield from (f"{cls.__name__}.{name}" for name in _calls_of(cls) - of_store)
    for cls in (*CLASSES, kvstore.Map, LocalCluster):
        yield from (f"{cls.__name__}.{name}" for name in _calls_of(cls))
    for name in kvstore.__all__:
        found = getattr(kvstore, name)
        if inspect.isfunction(found) or inspect.isbuiltin(found):
            yield name
        elif inspect.isclass(found) and not name.startswith("Async") and not issubclass(found, (tuple, dict)):
            known = [*CLASSES, kvstore.Client, kvstore.Node, kvstore.Store, kvstore.Map]
            is_value = issubclass(found, (BaseException, str)) or found.__module__ == "kvstore._core"
            assert found in known or is_value or not _calls_of(found), f"{name} is in no table"


def _calls_of(cls: Any) -> Set[str]:
    """Methods, properties that were said to wait, and operators."""
    ours = ("kvstore", "collections.abc")
    own = {name for each in cls.__mro__ if each.__module__.startswith(ours) for name in vars(each)}
    found = {name for name in own if not name.startswith("_") and callable(getattr(cls, name, None))}
    found |= {"cluster"} & own | {"leader"} & own
    operators = {name for name in own if name.startswith("__") and callable(getattr(cls, name, None))}
    silent = {"__init__", "__new__", "__repr__", "__reduce__", "__del__", "__class_getitem__", "__init_subclass__"}
    return found | (operators - silent - (OF_VALUES if cls is not kvstore.Map else {"__hash__", "__subclasshook__"}))

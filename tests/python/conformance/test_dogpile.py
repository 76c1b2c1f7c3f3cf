"""The suites that come with dogpile.cache, over KVStoreBackend; and what is ours alone."""

from __future__ import annotations

import json
import threading
import time
import types
from importlib import metadata
from typing import Any, Dict, Iterator, List

import pytest
from dogpile.cache import make_region, register_backend
from dogpile.testing import fixtures

import kvstore
from kvstore.contrib.dogpile import KVStoreBackend

from .clocks import patiently_in

# The wheel says so, too: it need not be installed here.
register_backend("kvstore", "kvstore.contrib.dogpile", "KVStoreBackend")


@pytest.fixture(scope="module")
def address(host: kvstore.Node) -> str:
    """Of a node with a strong keyspace `strong`."""
    host.create_keyspace("strong", consistency="strong")
    return host.address


class OverKVStore:
    backend = "kvstore"
    arguments: Dict[str, Any] = {}  # noqa: RUF012  # as the suites have it

    @pytest.fixture(scope="class", autouse=True)
    def _target(self, request: pytest.FixtureRequest, address: str) -> None:
        request.cls.config_args = {"arguments": {"target": address, **request.cls.arguments}}

    @pytest.fixture(autouse=True)
    def _empty(self, host: kvstore.Node) -> Iterator[None]:
        """The suites have some keys in common."""
        yield
        host.delete_prefix("")
        host.keyspace("strong").delete_prefix("")


class TestEventual(OverKVStore, fixtures._GenericBackendTestSuite):
    def test_region_expire(self) -> None:
        patiently_in(fixtures, super().test_region_expire)

    # Without a mutex of ours they would try dogpile's own, for a quarter of a minute.
    test_threaded_dogpile = None
    test_threaded_get_multi = None


class TestStrongWithMutex(OverKVStore, fixtures._GenericBackendTestSuite):
    arguments: Dict[str, Any] = {"keyspace": "strong", "distributed_lock": True}  # noqa: RUF012

    def test_region_expire(self) -> None:
        patiently_in(fixtures, super().test_region_expire)

    def test_threaded_get_multi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # It waits for half a second each time, where a fifth does: that is still more than values live.
        quick = types.SimpleNamespace(sleep=lambda seconds: threading.Event().wait(seconds / 2.5), time=time.time)
        monkeypatch.setattr(fixtures, "time", quick)
        super().test_threaded_get_multi()


class TestSerializer(OverKVStore, fixtures._GenericSerializerTestSuite, fixtures._GenericBackendFixture):
    pass


class TestMutex(OverKVStore, fixtures._GenericMutexTestSuite):
    arguments: Dict[str, Any] = {"distributed_lock": True, "lock_keyspace": "strong"}  # noqa: RUF012


@pytest.fixture
def made(host: kvstore.Node, address: str) -> Iterator[Any]:
    """A backend over a node of this process."""
    arguments = {"target": host, "lock_keyspace": "strong", "distributed_lock": True, "ttl": 100, "prefix": "p/"}
    yield KVStoreBackend(arguments)
    host.delete_prefix("")


def test_values_have_the_prefix_and_the_ttl(made: Any, host: kvstore.Node) -> None:
    made.set_serialized("a", b"1")
    made.set_serialized_multi({"b": b"2", "c": b"3"})
    assert list(host.keys()) == ["p/a", "p/b", "p/c"]
    assert all(0 < (entry.ttl or 0) <= 100 for entry in host.scan())


def test_more_than_one_call_takes_is_several(made: Any, host: kvstore.Node) -> None:
    values = {str(number): b"x" * 10_000 for number in range(5000)}
    made.set_serialized_multi(values)
    assert host.count() == 5000
    assert made.get_serialized_multi([*values, "missing"])[:-1] == list(values.values())
    made.delete_multi(list(values))
    assert host.count() == 0


def test_one_of_many_makes_a_value(address: str) -> None:
    """Regions of their own, as other processes would have: what they share is the cluster."""
    made: List[int] = []
    start = threading.Barrier(4)
    arguments = {"target": address, "keyspace": "strong", "distributed_lock": True}
    text = {"serializer": lambda value: json.dumps(value).encode(), "deserializer": json.loads}

    def make() -> int:
        made.append(1)
        return len(made)

    def use() -> None:
        region = make_region(**text).configure("kvstore", arguments=arguments)
        start.wait()
        assert region.get_or_create("one of many", make) == 1

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_mutex_is_of_all_processes_and_given_back_by_any_thread(made: Any) -> None:
    mutex, other = made.get_mutex("k"), made.get_mutex("k")
    assert mutex.acquire()
    assert other.locked()
    assert not other.acquire(wait=False)
    thread = threading.Thread(target=mutex.release)
    thread.start()
    assert other.acquire()
    thread.join()
    other.release()
    assert not mutex.locked()
    mutex.release()


def test_a_mutex_needs_a_strong_keyspace(address: str) -> None:
    backend = KVStoreBackend({"target": address, "distributed_lock": True})
    backend.set_serialized("k", b"v")
    with pytest.raises(kvstore.UnsupportedError, match=r"contrib.dogpile: the keyspace 'default' is eventual"):
        backend.get_mutex("k").acquire()
    assert KVStoreBackend({"target": address}).get_mutex("k") is None


def test_a_misspelt_argument_is_refused(address: str) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match="distributed: no such option of a client"):
        KVStoreBackend({"target": address, "distributed": True})


def test_an_installed_wheel_names_the_backend() -> None:
    try:
        found = metadata.distribution("kvstore-rs").entry_points
    except metadata.PackageNotFoundError:
        pytest.skip("kvstore is not installed here, it is run from its tree")
    (backend,) = [each for each in found if each.group == "dogpile.cache"]
    assert backend.name == "kvstore"
    assert backend.load() is KVStoreBackend

"""huey's suite for storages, which comes with it, over KVStoreStorage; and what is ours alone."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import threading
from typing import Any, Iterator, List, Set
from unittest import mock

import pytest
from huey.exceptions import HueyException

import kvstore
from kvstore.contrib.huey import KVStoreHuey, KVStoreStorage

from .clocks import patiently_in

# The slow ones are those with a consumer; it has to be said before they are defined.
with mock.patch.dict(os.environ, {"HUEY_SLOW_TESTS": "1"}):
    storage_tests = importlib.import_module("huey.tests.test_storage")


class TestKVStoreStorage(storage_tests.StorageTests, storage_tests.BaseTestCase):
    @pytest.fixture(autouse=True)
    def _host(self, host: kvstore.Node, strong_name: str) -> Iterator[None]:
        with kvstore.Client(host.address, strong_name) as client:
            self.target = client
            yield

    def get_huey(self) -> Any:
        return KVStoreHuey(utc=False, target=self.target)

    def test_put_if_empty_ttl(self) -> None:
        patiently_in(storage_tests, super().test_put_if_empty_ttl, self.s.flush_all)


class TestBlocking(TestKVStoreStorage):
    def get_huey(self) -> Any:
        return KVStoreHuey(utc=False, target=self.target, blocking=True, read_timeout=0.2)


@pytest.fixture
def storage(host: kvstore.Node, strong_name: str) -> Any:
    return KVStoreStorage("jobs", target=host.address, keyspace=strong_name)


@pytest.fixture
def other(host: kvstore.Node, strong_name: str) -> Any:
    """The same, as another process has it."""
    return KVStoreStorage("jobs", target=host.keyspace(strong_name))


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001  # huey's times have no zone


def in_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_task_is_taken_once(storage: Any, other: Any) -> None:
    for number in range(200):
        storage.enqueue(b"%d" % number)
    taken: List[int] = []

    def take(number: int) -> None:
        mine = storage if number % 2 else other
        taken.extend(int(data) for data in iter(mine.dequeue, None))

    in_threads(4, take)
    assert sorted(taken) == list(range(200))
    assert storage.queue_size() == 0


def test_each_scheduled_task_is_read_once(storage: Any, other: Any) -> None:
    moment = at(2000, 1, 1)
    for number in range(700):
        storage.add_to_schedule(b"%d" % number, moment + dt.timedelta(microseconds=700 - number))
    storage.add_to_schedule(b"later", moment + dt.timedelta(seconds=1))
    end = moment + dt.timedelta(microseconds=700)
    read: List[bytes] = []
    in_threads(2, lambda number: read.extend((storage if number else other).read_schedule(end)))
    assert sorted(map(int, read)) == list(range(700))
    assert storage.scheduled_items() == [b"later"]
    assert storage.read_schedule(moment + dt.timedelta(seconds=1)) == [b"later"]


def test_the_schedule_is_in_the_order_of_time(storage: Any) -> None:
    moments = [
        at(1969, 12, 31, 23),
        at(1970, 1, 1),
        at(2038, 1, 20),
        at(9999, 1, 1),
    ]
    for moment in reversed(moments):
        storage.add_to_schedule(moment.isoformat().encode(), moment)
    zoned = dt.datetime(2000, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    storage.add_to_schedule(b"zoned", zoned)
    in_order = [moment.isoformat().encode() for moment in moments]
    assert storage.scheduled_items() == [*in_order[:2], b"zoned", *in_order[2:]]
    assert storage.read_schedule(at(1999, 12, 31, 23, 59)) == in_order[:2]
    assert storage.read_schedule(at(2000, 1, 1)) == [b"zoned"]


def test_priorities_are_numbers_of_any_size(storage: Any) -> None:
    priorities = [-1e9, -2, -0.5, 0, None, 0.25, 1, 2**40, 1e300]
    for priority in priorities:
        storage.enqueue(repr(priority).encode(), priority)
    wanted = [1e300, 2**40, 1, 0.25, 0, None, -0.5, -2, -1e9]
    assert storage.enqueued_items() == [repr(priority).encode() for priority in wanted]
    assert [storage.dequeue() for _ in wanted] == [repr(priority).encode() for priority in wanted]


def test_a_blocking_consumer_wakes_up_when_a_task_comes(host: kvstore.Node, strong_name: str) -> None:
    view = host.keyspace(strong_name)
    storage = KVStoreStorage("jobs", target=view, blocking=True, read_timeout=20)
    taken: List[Any] = []
    consumer = threading.Thread(target=lambda: taken.append(storage.dequeue()))
    consumer.start()
    storage.enqueue(b"task")
    consumer.join()
    assert taken == [b"task"]


def test_whoever_waits_for_a_result_gets_it_at_once(storage: Any, other: Any) -> None:
    outcomes: List[bool] = []
    waiters = [threading.Thread(target=lambda: outcomes.append(storage.wait_result("r", 20))) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    other.put_data(b"r", b"1", is_result=True)
    for waiter in waiters:
        waiter.join()
    assert outcomes == [True, True]
    assert not storage.wait_result("missing", timeout=0.05)


def test_results_end_and_other_data_stay(host: kvstore.Node, strong_name: str) -> None:
    storage = KVStoreStorage(target=host, keyspace=strong_name, result_ttl=100)
    storage.put_data("result", b"1", is_result=True)
    storage.put_data("revoked", b"1")
    ttls = {entry.key: entry.ttl for entry in host.keyspace(strong_name).scan()}
    assert 0 < ttls["huey/huey/d/result"] <= 100
    assert ttls["huey/huey/d/revoked"] is None


def test_hueys_of_other_names_share_nothing(host: kvstore.Node, strong_name: str) -> None:
    names = ["a", "a/q", "a%2Fq", "ä"]
    storages = [KVStoreStorage(name, target=host, keyspace=strong_name) for name in names]
    for storage in storages:
        storage.enqueue(storage.name.encode())
        storage.incr("n")
    for storage in storages:
        assert storage.enqueued_items() == [storage.name.encode()]
        storage.flush_all()
        assert storage.queue_size() == 0


def test_a_lock_of_huey_has_one_holder(host: kvstore.Node, strong_name: str) -> None:
    hueys = [KVStoreHuey("jobs", target=host, keyspace=strong_name) for _ in range(2)]
    with hueys[0].lock_task("one at a time"), pytest.raises(HueyException), hueys[1].lock_task("one at a time"):
        pass


def test_a_task_runs_in_a_consumer_over_a_node_of_this_process(host: kvstore.Node, strong_name: str) -> None:
    huey = KVStoreHuey("jobs", target=host, keyspace=strong_name, blocking=True, read_timeout=0.1)
    seen: Set[int] = set()

    @huey.task()
    def square(number: int) -> int:
        seen.add(number)
        return number * number

    consumer = huey.create_consumer(workers=2, check_worker_health=False)
    consumer.start()
    try:
        results = [square(number) for number in range(10)]
        assert [result.get(blocking=True, timeout=20) for result in results] == [number**2 for number in range(10)]
        assert seen == set(range(10))
    finally:
        consumer.stop(graceful=True)


def test_an_eventual_keyspace_is_refused(host: kvstore.Node) -> None:
    storage = KVStoreStorage(target=host)
    with pytest.raises(kvstore.UnsupportedError, match=r"contrib.huey: the keyspace 'default' is eventual"):
        storage.enqueue(b"task")
    with pytest.raises(kvstore.InvalidArgumentError, match="did you mean 'timeout'"):
        KVStoreStorage(target=host.address, timout=1)


def test_what_was_read_before_an_error_is_not_lost(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = at(2000, 1, 1)
    for number in range(600):
        storage.add_to_schedule(b"%d" % number, moment)
    take_all = storage._take_all
    broken = kvstore.UnavailableError("no leader")

    def take_once(entries: Any) -> Any:
        monkeypatch.setattr(storage, "_take_all", mock.Mock(side_effect=broken))
        return take_all(entries)

    monkeypatch.setattr(storage, "_take_all", take_once)
    assert len(storage.read_schedule(moment)) == 500
    with pytest.raises(kvstore.UnavailableError):
        storage.read_schedule(moment)
    monkeypatch.undo()
    assert len(storage.read_schedule(moment)) == 100

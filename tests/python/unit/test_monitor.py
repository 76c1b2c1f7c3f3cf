"""Listening to the calls of a node, and finding the keys that come most often."""

from __future__ import annotations

import collections
import time
from typing import Any, Callable, Iterator, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvstore
from kvstore.monitor import HotKeys, Monitor, SampledCall

# Nothing here takes so long, however busy the machine is.
PATIENCE = 60.0


@pytest.fixture
def client(node: kvstore.Node) -> Iterator[kvstore.Client[Any]]:
    with kvstore.Client(node.address, timeout=PATIENCE) as made:
        yield made


def heard(monitor: Monitor, count: int) -> List[SampledCall]:
    """So many calls, as they come."""
    calls: List[SampledCall] = []
    while len(calls) < count:
        page = monitor.next(PATIENCE)
        assert page is not None
        assert page.dropped == 0
        calls += page.calls
    return calls


def parts(calls: List[SampledCall]) -> List[Tuple[str, bytes, int]]:
    return [(call.kind, call.key, call.value_bytes) for call in calls]


def test_calls_of_clients_and_of_the_process_are_told(node: kvstore.Node, client: kvstore.Client[Any]) -> None:
    node["before"] = b"x"
    with Monitor(client, sample=1) as monitor:
        client.put("k", b"1234")
        client.get("k")
        node.get("none")
        node["k"] = b"12345"
        assert node["k"] == b"12345"
        assert "k" in node
        node.delete("k")
        client.count("p")
        list(client.scan("p"))
        calls = heard(monitor, 9)
    assert parts(calls) == [
        ("put", b"k", 4), ("get", b"k", 4), ("get", b"none", 0), ("put", b"k", 5), ("get", b"k", 5), ("get", b"k", 5),
        ("delete", b"k", 0), ("count", b"p", 0), ("scan", b"p", 0),
    ]  # fmt: skip
    assert {call.keyspace for call in calls} == {"default"}
    assert all(0 <= call.age < PATIENCE for call in calls)


def test_a_client_that_has_a_name_is_named(node: kvstore.Node, client: kvstore.Client[Any]) -> None:
    with Monitor(client, sample=1) as monitor, kvstore.Client(node.address, name="worker 7", timeout=PATIENCE) as named:
        named.get("k")
        client.get("k")
        node.get("k")
        assert [call.client for call in heard(monitor, 3)] == ["worker 7", None, None]


@pytest.mark.parametrize("consistency", ["eventual", "strong"])
def test_calls_to_other_keyspaces_name_them(client: kvstore.Client[Any], consistency: Any) -> None:
    jobs = client.create_keyspace("jobs", consistency=consistency)
    with Monitor(client, sample=1) as monitor:
        jobs.put("k", b"1234")
        assert jobs.get("k") == b"1234"
        calls = heard(monitor, 2)
    assert parts(calls) == [("put", b"k", 4), ("get", b"k", 4)]
    assert {call.keyspace for call in calls} == {"jobs"}


def test_a_transaction_and_a_lock_are_told(client: kvstore.Client[Any], node: kvstore.Node) -> None:
    jobs = client.create_keyspace("jobs", consistency="strong")
    jobs["n"] = 1
    with Monitor(client, sample=1) as monitor:
        with jobs.batch(atomic=True) as batch:
            batch.put("a", b"xy")
            batch.incr("n")
        with jobs.lock("l", ttl=30, timeout=PATIENCE):
            pass
        node.keyspace("jobs").get("a")
        kinds = [(call.kind, call.key) for call in heard(monitor, 5)]
    assert kinds == [("put", b"a"), ("incr", b"n"), ("lock", b"l"), ("unlock", b"l"), ("get", b"a")]


def test_all_are_counted_and_a_rate_is_kept(node: kvstore.Node, client: kvstore.Client[Any]) -> None:
    with Monitor(client, per_second=1) as monitor:
        for _ in range(1000):
            node.get("k")
        seen = told = 0
        while seen < 1000:
            page = monitor.next(PATIENCE)
            assert page is not None
            seen, told = seen + page.seen, told + len(page.calls)
    assert seen == 1000
    assert 1 <= told < 100


def test_without_a_call_there_is_a_page_all_the_same(client: kvstore.Client[Any]) -> None:
    with Monitor(client, sample=0.000001) as monitor:
        early = monitor.next(0.001)
        assert early is None or early == ([], 0, 0)
        assert monitor.next(PATIENCE) == ([], 0, 0)


def test_four_may_listen(client: kvstore.Client[Any]) -> None:
    listening = [Monitor(client, per_second=1) for _ in range(4)]
    with pytest.raises(kvstore.UnavailableError) as refused:
        Monitor(client, per_second=1)
    assert refused.value.code == "OVERLOADED"
    for monitor in listening:
        monitor.close()
    eventually_listens(lambda: Monitor(client, per_second=1))


def eventually_listens(begin: Callable[[], Monitor]) -> None:
    """The node notices by and by that others have gone."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        try:
            begin().close()
        except kvstore.UnavailableError:
            continue
        return
    pytest.fail("nobody has gone")


def test_a_closed_one_is_of_no_more_use(client: kvstore.Client[Any]) -> None:
    monitor = Monitor(client, sample=1)
    monitor.close()
    monitor.close()
    with pytest.raises(kvstore.ClosedError):
        monitor.next(0.1)


def test_it_ends_with_its_node() -> None:
    with kvstore.Node(0) as node, kvstore.Client(node.address, timeout=PATIENCE) as client:
        monitor = Monitor(client, sample=1)
        node.stop()
        # It says so itself, unless its connection is gone first.
        with pytest.raises((kvstore.ClosedError, kvstore.UnavailableError)):
            list(monitor)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "sample"),
        ({"sample": 1, "per_second": 1}, "sample"),
        ({"sample": 2}, "sample"),
        ({"per_second": 0}, "per_second"),
        ({"per_second": -1}, "per_second"),
        ({"per_second": 1 << 64}, "per_second"),
    ],
)
def test_a_bad_argument_is_named(client: kvstore.Client[Any], options: Any, name: str) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=name):
        Monitor(client, **options)


# ------------------------------------------------------------------------------------------------------- hot keys
@given(st.lists(st.sampled_from("abcdefgh"), max_size=200), st.integers(1, 4), st.integers(0, 4))
def test_counts_are_never_too_small_and_too_large_by_what_is_said(names: List[str], top: int, spare: int) -> None:
    capacity = top + spare
    keys = HotKeys(top, capacity)
    for name in names:
        keys.add("default", name.encode())
    exact = collections.Counter(names)
    found = keys.result()
    assert len(found) == min(top, len(exact))
    for hot in found:
        true = exact[hot.key.decode()]
        assert true <= hot.calls <= true + hot.surplus
    # Whoever makes up more than one in `capacity` calls is counted, so that all of them can be told.
    counted = HotKeys(capacity, capacity)
    for name in names:
        counted.add("default", name.encode())
    frequent = {name.encode() for name, count in exact.items() if count > len(names) / capacity}
    assert frequent <= {hot.key for hot in counted.result()}


def test_keys_of_two_keyspaces_are_two() -> None:
    keys = HotKeys(top=2)
    for keyspace in ("a", "b", "b"):
        keys.add(keyspace, b"k")
    assert [(hot.keyspace, hot.calls, hot.surplus) for hot in keys.result()] == [("b", 2, 0), ("a", 1, 0)]


@pytest.mark.parametrize(("top", "capacity"), [(0, None), (3, 2)])
def test_bounds_that_make_no_sense_are_refused(top: int, capacity: Any) -> None:
    with pytest.raises(kvstore.InvalidArgumentError):
        HotKeys(top, capacity)

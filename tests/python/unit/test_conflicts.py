"""Conflicts as Python sees them: of nodes in this process that wrote before they met."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import time
from typing import Any, Dict, Iterator, List, Tuple

import pytest

import kvstore

Pair = Tuple[kvstore.Node, kvstore.Node]


def lost_before(start: dt.datetime, store: Any, prefix: str = "") -> List[kvstore.Conflict[Any]]:
    assert list(store.conflicts(prefix, since=start)) == list(store.conflicts(prefix))
    return list(store.conflicts(prefix))


@pytest.fixture
def pair(until: Any) -> Iterator[Pair]:
    """Two nodes that wrote the same keys apart from each other, then met; the second wrote later."""
    with kvstore.Node() as first, kvstore.Node() as second:
        first.start()
        second.start()
        first.put("put/put", [1, 2])
        first.put("put/delete", "lost")
        first.delete("delete/put")
        first.delete("delete/delete")
        first.put("put/ttl", "short", ttl=3600)
        first.put("put/expired", "gone", ttl=3600)
        first.put("alone", "no conflict")
        # Within one millisecond the greater id would win.
        done = time.time()
        until(lambda: time.time() > done + 0.005)
        second.put("put/put", {"a": 1})
        second.delete("put/delete")
        second.put("delete/put", 2.5)
        second.delete("delete/delete")
        second.put("put/ttl", "long")
        second.put("put/expired", "here")
        with kvstore.Node(peers=[first.address, second.address]) as third:
            third.start(wait="ready")
            until(lambda: all(node.get("put/put") == {"a": 1} for node in (first, second, third)))
            until(lambda: first.status().conflicts == 6)
            until(lambda: all(len([m for m in n.members() if m.connected]) == 3 for n in (first, second)))
            yield first, second


def two_hours_later(conflict: kvstore.Conflict[Any]) -> kvstore.Conflict[Any]:
    """As it is then. Nobody waits for it: what has expired is swept, and a race that comes after that is none."""
    make, (key, lost, *others) = conflict.__reduce__()
    make_entry, (*parts, expires_ms) = lost.__reduce__()
    return make(key, make_entry(*parts, expires_ms - 2 * 3600 * 1000), *others)


SIDES: Dict[str, Tuple[Any, Any]] = {
    "put/put": ([1, 2], {"a": 1}),
    "put/delete": ("lost", None),
    "delete/put": (None, 2.5),
    "delete/delete": (None, None),
    "put/ttl": ("short", "long"),
    "put/expired": ("gone", "here"),
}


def test_every_node_and_client_tells_of_all_conflicts_the_newest_first(pair: Pair) -> None:
    first, second = pair
    start = dt.datetime.now(dt.timezone.utc) - dt.timedelta(minutes=1)
    with kvstore.Client(second.address) as client:
        found = lost_before(start, client)
        assert lost_before(start, first) == lost_before(start, second) == found
        assert lost_before(start, client, "delete/") == [each for each in found if each.key.startswith("delete/")]
        assert not list(client.conflicts(since=start + dt.timedelta(hours=1)))
    sides = {each.key: tuple(entry and entry.value for entry in (each.lost, each.won)) for each in found}
    assert sides == SIDES
    assert {each.where for each in found} == {first.id}
    assert [each.when for each in found] == sorted((each.when for each in found), reverse=True)
    assert all(start < each.when <= dt.datetime.now(dt.timezone.utc) for each in found)


def test_a_conflict_is_a_value(pair: Pair) -> None:
    first, _ = pair
    for conflict in first.conflicts():
        twin = pickle.loads(pickle.dumps(conflict))
        assert twin == conflict
        assert hash(conflict.key_bytes) == hash(twin.key_bytes)
        assert repr(conflict.key) in repr(conflict)
        with pytest.raises(AttributeError):
            conflict.key = "other"  # type: ignore[misc]


@pytest.mark.parametrize("way", ["node", "client", "view", "unpickled"])
def test_restore_writes_the_lost_side_again(pair: Pair, until: Any, way: str) -> None:
    first, second = pair
    with kvstore.Client(second.address) as client:
        stores = {"node": second, "client": client, "view": client.with_options(codec=kvstore.BYTES)}
        found = {each.key: each for each in stores.get(way, client).conflicts()}
        if way == "unpickled":
            found = pickle.loads(pickle.dumps(found))
        store = stores.get(way, client)
        assert store.restore(found["put/put"]) > found["put/put"].won.version
        store.restore(found["put/delete"])
        store.restore(found["delete/put"])
        store.restore(found["put/ttl"])
        with pytest.raises(kvstore.InvalidArgumentError, match="expired"):
            store.restore(two_hours_later(found["put/expired"]))
        until(lambda: first.get("put/put") == [1, 2])
        until(lambda: first.get("put/delete") == "lost")
        until(lambda: first.get("delete/put") is None)
        until(lambda: first.get("put/ttl") == "short")
        entry = client.entry("put/ttl")
        assert entry is not None
        assert entry.ttl is not None
        assert 3500 < entry.ttl <= 3600
        assert first.get("put/expired") == "here"
        assert len(list(client.conflicts())) == len(SIDES)


def test_asyncio_has_the_same(pair: Pair) -> None:
    first, _ = pair

    async def gather() -> None:
        async with kvstore.AsyncClient(first.address) as client, first.async_client() as local:
            found = [each async for each in client.conflicts("put/")]
            assert found == [each async for each in local.conflicts("put/")]
            assert {each.key for each in found} == {key for key in SIDES if key.startswith("put/")}
            await client.restore(next(each for each in found if each.key == "put/put"))
            assert await local.get("put/put") == [1, 2]

    asyncio.run(gather())


def test_bad_arguments_are_refused_by_name(node: kvstore.Node) -> None:
    assert not list(node.conflicts())
    with pytest.raises(kvstore.ClosedError):
        list(kvstore.Node().conflicts())
    with pytest.raises(kvstore.InvalidArgumentError, match="since"):
        node.conflicts(since=dt.datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(TypeError):
        node.restore("key")  # type: ignore[arg-type]

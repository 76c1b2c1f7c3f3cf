"""Eventual keyspaces by name: three nodes, each of which serves all of them by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Iterator, List, Set

import pytest

import kvstore
from kvstore.testing import LocalCluster

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import client_of, wait_leader, wait_one_group

if TYPE_CHECKING:
    from pathlib import Path

    from .durable import DurableCluster

pytestmark = pytest.mark.timeout(180)

# Those that begin with the byte which tells keyspaces apart, and those that look like what it is told by.
KEYS = [b"a", b"b:1", b"\xfe\xff", b"\xff", b"\xff\x00", b"\xff\x00\xff", b"\xff\x01", b"\xff\x01" + bytes(12) + b"a"]


@pytest.fixture(scope="module")
def group(trio: Cluster) -> Cluster:
    """Three nodes that have formed a group."""
    wait_one_group(trio)
    return trio


@pytest.fixture
def clients(group: Cluster) -> Iterator[List[kvstore.Client[Any]]]:
    """One of each node."""
    made = [group.client(index, timeout=DEADLINE_SECONDS) for index in range(3)]
    yield made
    for client in made:
        client.close()


def unknown(call: Any) -> None:
    """The call says that there is no such keyspace, and did nothing."""
    with pytest.raises(kvstore.InvalidArgumentError) as caught:
        call()
    assert (caught.value.code, caught.value.maybe_applied) == ("UNKNOWN_KEYSPACE", False)


def is_unknown(call: Any) -> bool:
    """Whether it says so by now."""
    try:
        call()
    except kvstore.InvalidArgumentError as error:
        return error.code == "UNKNOWN_KEYSPACE"
    return False


def answers(call: Any) -> bool:
    """Whether it does what it is asked by now."""
    try:
        call()
    except kvstore.KVError:
        return False
    return True


def names(store: Any) -> Set[str]:
    """Of the keyspaces."""
    return {info.name for info in store.keyspaces()}


def test_a_keyspace_is_there_at_every_node_as_soon_as_it_is_made(clients: List[kvstore.Client[Any]]) -> None:
    for number in range(6):
        name = f"at once {number}"
        first, second, third = (clients[(number + step) % 3] for step in range(3))
        unknown(lambda name=name, at=second: at.keyspace(name).get("k"))
        made = first.create_keyspace(name)
        made.put("k", number)
        # The others may not have heard of it: they ask, also for what cannot be asked for twice.
        assert second.keyspace(name).put("by another", 1) > 0
        assert third.keyspace(name).get("none", "nothing") == "nothing"
        there = third.keyspace(name)
        eventually(lambda at=there, value=number: at.get("k") == value, "it is there")
        assert made.info()._replace(bytes=0, keys=0) == kvstore.KeyspaceInfo(name, "eventual", 0, 0, 0)
        first.drop_keyspace(name)


def test_keyspaces_have_nothing_in_common(clients: List[kvstore.Client[Any]]) -> None:
    first, second, _ = clients
    first.create_keyspace("left")
    first.create_keyspace("right", consistency="eventual", keep_conflicts=5)
    views = {"default": "default", "left": "left", "right": "right"}
    for name in views:
        first.keyspace(name).put_many({"plain": name}, ttl=3600)
        for key in KEYS:
            first.keyspace(name).put(key, [name, key.hex()])
    for client in clients:
        for name in views:
            store = client.keyspace(name)
            eventually(lambda store=store: store.count() == len(KEYS) + 1, f"{name} is everywhere")
            for key in KEYS:
                assert store.get(key) == [name, key.hex()]
            found = [entry.key_bytes for entry in store.scan()]
            assert found == sorted([*KEYS, b"plain"])
            assert [entry.key_bytes for entry in store.scan(reverse=True, page_size=3)] == found[::-1]
            assert [entry.key_bytes for entry in store.scan(b"\xff")] == [key for key in KEYS if key[0] == 0xFF]
            assert [key.key_bytes for key in store.scan(start=b"\xff", end=b"\xff\x01")] == KEYS[3:6]
            assert store.count(b"\xff") == 5
            assert store.get_many(KEYS[:2]).keys() == {"a", "b:1"}
    assert second.keyspace("left").delete_prefix("") == len(KEYS) + 1
    assert second.keyspace("left").count() == 0
    assert [second.keyspace(name).count() for name in ("default", "right")] == [len(KEYS) + 1] * 2
    with second.keyspace("right").batch() as batch:
        got = batch.get("plain")
        batch.delete("plain")
        batch.put("new", 1)
    assert got.result() == "right"
    assert second.get("plain") == "default"
    held = {info.name: info for info in second.keyspaces()}
    assert {name: held[name].consistency for name in views} == dict.fromkeys(views, "eventual")
    assert held["right"].keys == second.keyspace("right").info().keys == len(KEYS) + 1
    assert held["left"].keys == 0
    assert held["default"] == second.info()
    assert held["default"].keys == len(KEYS) + 1
    for name in ("left", "right"):
        first.drop_keyspace(name)
    first.delete_prefix("")


@pytest.mark.parametrize("way", ["client", "async"])
def test_what_only_a_strong_one_promises_is_refused_and_nothing_is_done(group: Cluster, way: str) -> None:
    with group.client(0) as maker:
        maker.create_keyspace("weak", exist_ok=True)
        maker.create_keyspace("firm", consistency="strong", exist_ok=True)
    calls = {
        "incr": lambda db: db.incr("k"),
        "add": lambda db: db.add("k", 1),
        "if_absent": lambda db: db.put("k", 1, if_absent=True),
        "transact": lambda db: db.transact(lambda txn: txn.put("k", 1)),
        "linearizable": lambda db: db.get("k", read="linearizable"),
        "lock": lambda db: db.lock("k").acquire(),
        "lease": lambda db: db.lease(5),
    }
    if way == "async":
        refused = _refused_async(group.address(1))
        assert refused == ["incr", "put", "get"]
        return
    for name, call in calls.items():
        # Each from somebody who has been told nothing yet.
        with group.client(1) as client:
            weak = client.keyspace("weak")
            with pytest.raises(kvstore.UnsupportedError) as caught:
                call(weak)
            assert not caught.value.maybe_applied, name
            assert weak.count() == 0, name
    with group.client(1) as client:
        firm = client.keyspace("firm")
        # In the form of an eventual one, by a client that does not know better: it goes where it belongs.
        assert firm.get("n") is None
        assert firm.put("n", 1) > 0
        assert firm.incr("n") == 2
        assert list(firm.conflicts()) == []
        firm.put_many({f"many:{number}": number for number in range(5000)})
        assert firm.delete_many(f"many:{number}" for number in range(5000)) == 5000
    with group.client(2) as client:
        many = {f"many:{number}": number for number in range(5000)}
        with pytest.raises(kvstore.LimitError):
            client.keyspace("weak").put_many(many)
        client.keyspace("firm").put_many(many)
        client.drop_keyspace("firm")
        client.drop_keyspace("weak")


def _refused_async(address: str) -> List[str]:
    async def ask() -> List[str]:
        refused = []
        async with kvstore.AsyncClient(address, "weak") as db:
            calls = {
                "incr": lambda: db.incr("k"),
                "put": lambda: db.put("k", 1, if_version=1),
                "get": lambda: db.get("k", read="linearizable"),
            }
            for name, call in calls.items():
                with pytest.raises(kvstore.UnsupportedError):
                    await call()
                refused.append(name)
            assert await db.count() == 0
            assert await db.put("k", [1]) > 0
            assert await db.get("k") == [1]
            assert [entry.key async for entry in db.scan()] == ["k"]
            assert await db.delete_prefix("") == 1
        return refused

    return asyncio.run(ask())


def test_a_name_is_given_once_and_may_come_again_as_something_else(clients: List[kvstore.Client[Any]]) -> None:
    first, second, third = clients
    first.create_keyspace("again").put("k", "old")
    for kind in ("eventual", "strong"):
        with pytest.raises(kvstore.KeyExistsError):
            second.create_keyspace("again", consistency=kind)
    assert second.create_keyspace("again", exist_ok=True).put("k", "old") > 0
    with pytest.raises(kvstore.KeyExistsError, match="eventual"):
        second.create_keyspace("again", consistency="strong", exist_ok=True)
    for number in (-1, 2**64):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^keep_conflicts: "):
            second.create_keyspace("other", keep_conflicts=number)
    first.drop_keyspace("again")
    unknown(lambda: first.keyspace("again").get("k"))
    unknown(lambda: first.drop_keyspace("again"))
    assert "again" not in names(first)
    # What it was has nothing to do with what it is.
    strong = first.create_keyspace("again", consistency="strong")
    assert strong.get("k") is None
    assert strong.incr("n") == 1
    first.drop_keyspace("again")
    empty = second.create_keyspace("again")
    assert empty.count() == 0
    empty.put("k", "new")
    eventually(lambda: third.keyspace("again").get("k") == "new", "the new one is everywhere")
    assert [entry.value for entry in empty.scan()] == ["new"]
    second.drop_keyspace("again")


def test_a_watch_sees_its_own_keyspace_alone(clients: List[kvstore.Client[Any]]) -> None:
    first, second, third = clients
    here = first.create_keyspace("seen")
    first.create_keyspace("unseen")
    here.put("before", 0)
    with here.watch(initial=True) as whole, here.watch("k") as key, here.watch(prefix=b"\xff") as prefix:
        with first.watch() as default:
            for name in ("default", "unseen", "seen"):
                for at in (b"\xff\x01", b"k"):
                    first.keyspace(name).put(at, name)
            events = [whole.next(DEADLINE_SECONDS) for _ in range(3)]
            assert [event and event.entry and event.entry.value for event in events] == [0, "seen", "seen"]
            assert {event.entry.key_bytes for event in events[1:] if event and event.entry} == {b"\xff\x01", b"k"}
            assert [event and event.initial for event in events] == [True, False, False]
            for watch, at in ((key, "k"), (prefix, b"\xff\x01".decode("utf-8", "surrogateescape"))):
                event = watch.next(DEADLINE_SECONDS)
                assert event is not None
                assert event.entry is not None
                assert (event.key, event.entry.value, event.revision) == (at, "seen", None)
            told = [default.next(DEADLINE_SECONDS) for _ in range(2)]
            assert {event.entry.value for event in told if event and event.entry} == {"default"}
        position = whole.position
        here.delete("k")
        event = whole.next(DEADLINE_SECONDS)
        assert event is not None
        assert (event.type, event.key) == ("delete", "k")
    # It goes on at another node, and only in the same keyspace.
    with second.keyspace("seen").watch(since=position) as resumed:
        event = resumed.next(DEADLINE_SECONDS)
        assert event is not None
        assert (event.type, event.key) == ("delete", "k")
    for name in ("unseen", "default"):
        with pytest.raises(kvstore.InvalidArgumentError, match="since"):
            third.keyspace(name).watch(since=position)
    with pytest.raises(kvstore.InvalidArgumentError) as caught, second.keyspace("none of these").watch() as nothing:
        nothing.next(DEADLINE_SECONDS)
    assert caught.value.code == "UNKNOWN_KEYSPACE"
    with third.keyspace("seen").watch() as ending:
        first.drop_keyspace("seen")
        # What it had begun with may come first.
        eventually(lambda: is_unknown(lambda: ending.next(0.1)), "the watch has ended")
    first.drop_keyspace("unseen")
    first.delete_prefix("")


def test_nothing_stays_of_a_keyspace_that_is_dropped_while_it_is_written_to(group: Cluster) -> None:
    with group.client(0) as maker:
        maker.delete_prefix("")
        maker.create_keyspace("doomed")
    written, ended = [0, 0, 0], [""] * 3
    has_begun = threading.Barrier(4)

    def write(index: int) -> None:
        with group.client(index, timeout=DEADLINE_SECONDS) as client:
            store = client.keyspace("doomed")
            store.put(f"{index}", 0)
            has_begun.wait(DEADLINE_SECONDS)
            try:
                while True:
                    store.put(f"{index}:{written[index]}", "x" * 100)
                    written[index] += 1
            except kvstore.InvalidArgumentError as error:
                ended[index] = error.code

    threads = [threading.Thread(target=write, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    has_begun.wait(DEADLINE_SECONDS)
    eventually(lambda: min(written) > 20, "all nodes take writes")
    with group.client(0) as maker:
        maker.drop_keyspace("doomed")
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert ended == ["UNKNOWN_KEYSPACE"] * 3
    watchers = [group.client(index) for index in range(3)]
    for client in watchers:
        eventually(lambda client=client: client.status().keys == 0, "all keys are gone", timeout=60.0)
        assert "doomed" not in names(client)
    group.wait_equal()
    made = watchers[1].create_keyspace("doomed")
    assert made.count() == 0
    assert list(made.conflicts()) == []
    watchers[1].drop_keyspace("doomed")
    for client in watchers:
        client.close()


def test_each_node_goes_on_without_a_quorum_also_after_a_restart(durable: DurableCluster) -> None:
    durable.start(3)
    wait_one_group(durable)
    leader = wait_leader(durable)
    left = (leader + 1) % 3
    with client_of(durable, [leader], "default") as maker, client_of(durable, [left], "jobs") as jobs:
        maker.create_keyspace("jobs").put("before", 1)
        maker.create_keyspace("after it", consistency="strong")
        eventually(lambda: jobs.get("before") == 1, "the node that stays has it")
    for index in range(3):
        if index != left:
            durable.kill(index)

    def use(number: int) -> None:
        with durable.client(left, timeout=DEADLINE_SECONDS) as client:
            store = client.keyspace("jobs")
            assert store.put(f"k{number}", number) > 0
            assert store.get(f"k{number}") == number
            assert store.get("before") == 1
            assert store.count() == number + 2
            with store.watch(f"k{number}", initial=True) as watch:
                event = watch.next(DEADLINE_SECONDS)
                assert event is not None
                assert event.initial
            quick = client.with_options(timeout=2)
            # Whether there is one nobody can say, and nobody says that there is none.
            with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)):
                quick.keyspace("never made").get("k")
            assert client.get("k") is None, "other calls of the same client are not held up"
            with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)):
                quick.create_keyspace("not now")

    use(0)
    durable.kill(left)
    durable.restart(left)
    use(1)
    for index in range(3):
        if index != left:
            durable.restart(index)
    wait_one_group(durable)
    with durable.client(leader, timeout=DEADLINE_SECONDS) as client:
        store = client.keyspace("jobs")
        eventually(lambda: store.count() == 3, "the others have what was written meanwhile")
        assert {"jobs", "after it"} <= names(client)
    durable.wait_equal()


def test_a_node_has_its_keyspaces_again_when_it_comes_back(tmp_path: Path) -> None:
    settings: Any = {"data_dir": tmp_path / "node"}
    with kvstore.Node(**settings).start(wait="ready") as node:
        jobs = node.create_keyspace("jobs")
        jobs.put_many({"a": 1, "b": 2})
        jobs["\xff"] = 3
        node["a"] = "default"
        gone = node.create_keyspace("gone")
        gone["a"] = "gone"
        node.drop_keyspace("gone")
        assert is_unknown(lambda: gone.get("a"))
    with kvstore.Node(**settings).start(wait="ready") as node:
        jobs = node.keyspace("jobs")
        eventually(lambda: answers(lambda: jobs.get("a")), "the node knows it")
        assert {entry.key: entry.value for entry in jobs.scan()} == {"a": 1, "b": 2, "\xff": 3}
        assert dict(node.map().items()) == {"a": "default"}
        assert "gone" not in names(node)
        eventually(lambda: node.status().keys == 4, "what was dropped is gone")
        new = node.create_keyspace("gone")
        assert new.count() == 0
        assert node.snapshot(tmp_path / "copy") > 0


def test_writes_that_lose_are_told_in_their_own_keyspace() -> None:
    with LocalCluster(3, isolation="inproc").start(timeout=DEADLINE_SECONDS) as cluster:
        cluster.wait_healthy(timeout=DEADLINE_SECONDS)
        with cluster.client(0, timeout=DEADLINE_SECONDS) as maker:
            maker.create_keyspace("kept", keep_conflicts=2).put("k", "both have it")
            maker.create_keyspace("silent", keep_conflicts=0).put("k", "both have it")
        sides = [cluster.client(index, timeout=DEADLINE_SECONDS) for index in range(3)]
        for client in sides:
            for name in ("kept", "silent"):
                view = client.keyspace(name)
                eventually(lambda view=view: view.get("k") is not None, "it is everywhere")
        cluster.partition([0], [1, 2])
        eventually(lambda: len([m for m in sides[0].members() if m.connected]) == 1, "the first is alone")
        written = [(name, f"k{number}") for name in ("default", "kept", "silent") for number in range(4)]
        for name, key in written:
            sides[0].keyspace(name).put(key, ["first", name])
        # Within one millisecond either may win.
        done = time.time()
        eventually(lambda: time.time() > done + 0.005, "the clock goes on")
        for name, key in written:
            sides[1].keyspace(name).put(key, ["second", name])
        cluster.heal()
        cluster.wait_healthy(timeout=60.0)
        kept = sides[2].keyspace("kept")
        eventually(lambda: len(list(kept.conflicts())) == 2, "the newest two are told")
        found = list(kept.conflicts())
        assert {conflict.lost.value[1] for conflict in found if conflict.lost} == {"kept"}
        assert {conflict.won.value[1] for conflict in found if conflict.won} == {"kept"}
        eventually(lambda: len(list(sides[2].conflicts())) == 4, "all of the others")
        assert list(sides[2].keyspace("silent").conflicts()) == []
        assert list(kept.conflicts("none")) == []
        assert [conflict.key for conflict in kept.conflicts(found[0].key)] == [found[0].key]
        node = next(index for index in range(3) if cluster.node(index).id == found[0].where)
        assert cluster.node(node).keyspace("kept").info().conflicts == 2
        before = sides[2].get(found[0].key)
        assert found[0].lost is not None
        kept.restore(found[0])
        assert kept.get(found[0].key) == found[0].lost.value
        assert sides[2].get(found[0].key) == before
        for client in sides:
            client.close()

"""Clusters that were formed with a strong `default`: every call goes to the group, and nobody writes past it.

What is not done: nodes of an older release, which know no such setting; commands beyond `serve`, which have tests of
their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List

import pytest

import kvstore
from kvstore.aio import AsyncClient
from kvstore.cli.processes import NodeProcess

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import client_of, from_node, leader_of, wait_leader, wait_one_group

if TYPE_CHECKING:
    from pathlib import Path

    from .durable import DurableCluster

pytestmark = pytest.mark.timeout(120)

STRONG = ["--default-consistency", "strong"]

# Long enough for a machine that is busy with other tests; only what never comes waits for it.
PATIENCE = {"timeout": DEADLINE_SECONDS}


@pytest.fixture(scope="module")
def formed() -> Iterator[Cluster]:
    """Three nodes whose `default` is strong, shared by tests that leave them running."""
    made = Cluster()
    try:
        made.start(3, STRONG)
        wait_one_group(made)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def alone() -> Iterator[kvstore.Node]:
    """A node of this process whose `default` is strong."""
    with kvstore.Node(default_consistency="strong").start(wait="ready") as node:
        node.put("there", 1, timeout=DEADLINE_SECONDS)
        yield node


@pytest.fixture(params=["client", "node"])
def store(request: pytest.FixtureRequest, formed: Cluster, alone: kvstore.Node) -> Iterator[Any]:
    """An empty `default` that nobody has called yet: the same promises over a socket and in this process."""
    if request.param == "node":
        alone.delete_prefix("")
        yield alone
        return
    with client_of(formed, [1, 2, 0], "default") as other:
        other.delete_prefix("")
    with client_of(formed, [0, 1, 2], "default") as client:
        yield client


def info_of(store: Any) -> kvstore.KeyspaceInfo:
    return next(info for info in store.keyspaces() if info.name == "default")


def test_what_every_keyspace_has(store: Any) -> None:
    first = store.put("a", {"n": 1}, ttl=60)
    assert store.put("a", 2) > first
    assert (store.get("a"), store["a"], store.get("b", 7), "a" in store, "b" in store) == (2, 2, 7, True, False)
    assert store.entry("a").version > first
    assert store.entry("a").ttl is None
    store.put_many({"b": None, "c": b"3"})
    assert store.get_many(["a", "b", "x"]) == {"a": 2, "b": None}
    assert [(entry.key, entry.value) for entry in store.scan(page_size=2)] == [("a", 2), ("b", None), ("c", b"3")]
    assert list(store.keys(reverse=True, limit=2)) == ["c", "b"]
    assert (store.count(), store.count("c"), store.exists("c")) == (3, 1, True)
    assert (store.touch("a", 60), store.touch("x", 60)) == (True, False)
    assert 0 < store.entry("a").ttl <= 60
    assert (store.delete("a"), store.delete("a"), store.delete_many(["b", "x"])) == (True, False, 1)
    store["d"] = "d"
    del store["d"]
    with pytest.raises(kvstore.KeyNotFoundError):
        del store["d"]
    with pytest.raises(kvstore.KeyNotFoundError):
        store["d"]
    assert store.pop("c") == b"3"
    assert list(store.conflicts()) == []
    assert store.delete_prefix("") == 0


def test_what_only_a_strong_keyspace_has(store: Any) -> None:
    version = store.put("k", 1, if_absent=True)
    with pytest.raises(kvstore.KeyExistsError) as exists:
        store.put("k", 2, if_absent=True)
    assert exists.value.current_version == version
    with pytest.raises(kvstore.ConflictError):
        store.delete("k", if_version=version + 100)
    assert store.put("k", 3, if_version=version) > version
    assert (store.add("k", 4), store.incr("n", 5), store.update("k", lambda value: value + 1)) == (False, 5, 4)
    store.transact(lambda txn: txn.put("sum", txn.get("k") + txn.get("n")))
    assert store["sum"] == 9
    with store.batch(atomic=True) as batch:
        total, value = batch.incr("n", 2), batch.get("n")
    assert (total.result(), value.result()) == (7, 7)
    with store.lease(60) as lease:
        store.put("leased", 1, lease=lease)
        assert store.find_lease(lease.id).info().places == 1
    assert store.get("leased") is None
    with store.lock("l", timeout=DEADLINE_SECONDS) as lock:
        lock.scope().put("guarded", 1)
    with pytest.raises(kvstore.InvalidArgumentError):
        lock.scope()
    with store.election("e") as election:
        assert election.leader() is not None


def test_reads_are_as_fresh_as_the_caller_wants_and_linearizable_unless_said(store: Any, formed: Cluster) -> None:
    for level in ("linearizable", "session", kvstore.ReadLevel.LINEARIZABLE, ...):
        store.put("k", str(level))
        assert store.get("k", read=level) == str(level)
        assert store.with_options(read=level).get("k") == str(level)
        assert [entry.value for entry in store.scan(read=level)] == [str(level)]
    assert store.get("k", read="local") is not None
    for first in range(3):
        with client_of(formed, from_node(formed, first), "default") as writer:
            writer.put("seen", first)
        for other in range(3):
            with formed.client(other, **PATIENCE) as reader:
                assert reader.get("seen") == first


def test_who_asks_is_told_the_truth(store: Any) -> None:
    store.put_many({"a": 1, "b": 2})
    assert store.info() == kvstore.KeyspaceInfo("default", "strong", 2, 2 * (len("a") + 8), 0)
    assert info_of(store) == store.info()
    assert store.status().default_consistency == "strong"
    # A busy machine may keep one of the others silent for a moment.
    eventually(lambda: store.status().problems == (), "nothing is wrong")
    assert store.status().keys == 0
    with pytest.raises(kvstore.KeyExistsError, match="it is strong"):
        store.create_keyspace("default", consistency="eventual", exist_ok=True)
    assert store.create_keyspace("default", consistency="strong", exist_ok=True)["a"] == 1
    with pytest.raises(kvstore.InvalidArgumentError, match="default"):
        store.drop_keyspace("default")


def test_a_snapshot_that_would_be_empty_is_refused(store: Any, tmp_path: Path) -> None:
    store["k"] = 1
    with pytest.raises(kvstore.UnsupportedError, match="strong") as refused:
        store.snapshot(tmp_path / "file")
    assert refused.value.code == "DEFAULT_IS_STRONG"
    assert list(tmp_path.iterdir()) == []


FIRST_CALLS: Dict[str, Callable[[Any], Any]] = {
    "get": lambda db: db.get("k"),
    "linearizable get": lambda db: db.get("k", read="linearizable"),
    "put": lambda db: db.put("k", "v"),
    "conditional put": lambda db: db.put("other", "v", if_absent=True),
    "delete": lambda db: db.delete("other"),
    "put_many": lambda db: db.put_many({"k": "v"}),
    "scan": lambda db: list(db.scan()),
    "count": lambda db: db.count(),
    "pop": lambda db: db.pop("other", None),
    "incr": lambda db: db.incr("n"),
    "add": lambda db: db.add("k", "v"),
    "transact": lambda db: db.transact(lambda txn: txn.put("k", "v")),
    "delete_prefix": lambda db: db.delete_prefix("other"),
    "info": lambda db: db.info(),
    "keyspace": lambda db: db.keyspace("default").get("k"),
    "options": lambda db: db.with_options(read="linearizable").get("k"),
    "conflicts": lambda db: list(db.conflicts()),
}


@pytest.mark.parametrize("first", list(FIRST_CALLS))
def test_whatever_a_client_calls_first_it_learns_where_to_go(formed: Cluster, first: str) -> None:
    with formed.client(0, **PATIENCE) as writer:
        writer.put("k", "v")
        writer.delete_prefix("other")
        writer.delete("n")
    with formed.client(1, **PATIENCE) as db:
        FIRST_CALLS[first](db)
        assert db.get("k") == "v"
        assert db.incr("n") in {1, 2}
    with formed.client(2, **PATIENCE) as db, db.batch() as batch:
        value, version = batch.get("k"), batch.put("l", 1)
    assert value.result() == "v"
    assert version.result() > 0


def test_a_batch_of_a_strong_default_happens_whole_or_not_at_all(formed: Cluster) -> None:
    with formed.client(0, **PATIENCE) as db:
        db.delete_prefix("")
        batch = db.batch().__enter__()
        batch.require("missing")
        batch.put("written", 1)
        with pytest.raises(kvstore.ConflictError):
            batch.__exit__(None, None, None)
        assert db.count() == 0


def events_of(watch: Any, count: int) -> List[Any]:
    found = [watch.next(timeout=DEADLINE_SECONDS) for _ in range(count)]
    assert None not in found
    return [(event.type, event.key, None if event.entry is None else event.entry.value) for event in found]


@pytest.mark.parametrize("knows", [False, True])
def test_a_watch_tells_every_write_in_order_and_goes_on_from_its_position(formed: Cluster, *, knows: bool) -> None:
    with formed.client(0, **PATIENCE) as writer, formed.client(1, **PATIENCE) as db:
        writer.delete_prefix("")
        if knows:
            assert db.get("k") is None
        with db.watch(prefix="w") as watch:
            for number in range(3):
                writer.put("w", number)
            assert events_of(watch, 3) == [("put", "w", number) for number in range(3)]
            position = watch.position
        writer.delete("w")
    with formed.client(2, **PATIENCE) as db:
        with db.watch(prefix="w", since=position) as watch:
            assert events_of(watch, 1) == [("delete", "w", None)]
        with db.watch("nothing", initial=True) as watch:
            assert watch.next(timeout=0.1) is None


async def use(db: Any) -> None:
    """Much of what an asynchronous client can do."""
    await db.delete_prefix("")
    assert await db.put("a", 1) > 0
    assert await asyncio.gather(*(db.incr("n") for _ in range(5))) != [1] * 5
    assert (await db.get("n"), await db.get_many(["a", "x"])) == (5, {"a": 1})
    assert [entry.key async for entry in db.scan(read="linearizable")] == ["a", "n"]
    assert await db.count() == 2
    assert await db.add("a", 2) is False
    with pytest.raises(kvstore.KeyExistsError):
        await db.put("a", 2, if_absent=True)
    async with db.lock("async", timeout=DEADLINE_SECONDS) as lock:
        await lock.scope().put("guarded", 1)
    async with db.batch() as batch:
        value, deleted = batch.get("a"), batch.delete("guarded")
    assert (value.result(), deleted.result()) == (1, True)
    async with db.watch("a") as changes:
        await db.put("a", 3)
        event = await changes.next(timeout=DEADLINE_SECONDS)
        assert (event.type, event.entry.value, event.revision) == ("put", 3, event.version)
    assert (await db.info()).consistency == "strong"


def test_asyncio_clients_go_there_too(formed: Cluster, alone: kvstore.Node) -> None:
    async def main() -> None:
        for first in range(3):
            async with AsyncClient(formed.address(first), discover=False, **PATIENCE) as db:
                await use(db)
        async with alone.async_client(**PATIENCE) as db:
            await use(db)

    asyncio.run(main())


def test_writes_of_an_asyncio_client_that_does_not_know_yet_keep_their_order(formed: Cluster) -> None:
    async def main() -> List[Any]:
        async with AsyncClient(formed.address(0), discover=False, **PATIENCE) as db:
            versions = await asyncio.gather(*(db.put("ordered", number) for number in range(20)))
            return [len(set(versions)), await db.count("ordered")]

    assert asyncio.run(main()) == [20, 1]


def assert_refused(db: Any, call: Callable[[Any], Any]) -> None:
    """Without a leader nothing happens; the caller may be told so by its own clock, if the node is slow to say why."""
    with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)) as refused:
        call(db)
    assert refused.value.code in {"NO_LEADER", "DEADLINE_EXCEEDED"}
    assert not refused.value.maybe_applied


def test_nobody_is_served_before_the_group_is_found(cluster: Cluster) -> None:
    missing = cluster.add([], STRONG)
    cluster.kill(0)
    with kvstore.Node(peers=[missing.address], default_consistency="strong") as node:
        assert node.status().default_consistency == "undecided"
        calls: List[Callable[[Any], Any]] = [
            lambda db: db.put("k", "lost", timeout=0.5),
            lambda db: db.get("k", timeout=0.5),
            lambda db: db.put("k", "lost", if_absent=True, timeout=0.5),
        ]
        with kvstore.Client(node.address, timeout=0.5) as client:
            for call in calls:
                for store in (node, client):
                    assert_refused(store, call)
        assert node.status().keys == 0
        cluster.nodes[0] = NodeProcess.start(missing.port, [node.address], STRONG)
        with kvstore.Client(node.address, **PATIENCE) as client:
            assert client.get("k") is None
            client["k"] = "kept"
        assert node["k"] == "kept"
        assert node.status().default_consistency == "strong"


def test_a_call_waits_for_the_group_as_long_as_its_timeout(cluster: Cluster) -> None:
    node = cluster.add([], STRONG)
    with node.client(**PATIENCE) as client:
        client.put("at once", 1)
        assert client.get("at once") == 1


def test_what_a_leader_acknowledged_is_there_when_it_was_killed(cluster: Cluster) -> None:
    cluster.start(3, STRONG)
    wait_one_group(cluster)
    with client_of(cluster, [0, 1, 2], "default") as client:
        for number in range(50):
            client.put(f"k{number}", number)
    killed = wait_leader(cluster)
    cluster.kill(killed)
    left = [index for index in range(3) if index != killed]
    with client_of(cluster, left, "default") as client:
        assert client.get_many([f"k{number}" for number in range(50)]) == {f"k{number}": number for number in range(50)}
        client.put("after", 1)
        assert client.count() == 51
    eventually(lambda: leader_of(cluster) in left, "one of the others leads")


def test_a_cluster_on_disk_keeps_it_and_its_values(durable: DurableCluster) -> None:
    durable.start(3, STRONG)
    wait_one_group(durable)
    with client_of(durable, [0, 1, 2], "default") as client:
        client.put_many({f"k{number}": number for number in range(20)})
    for index in range(3):
        durable.kill(index)
    # Not told again, and without a majority at first: what it was formed with is on each disk.
    node = durable.restart(0)
    with node.client(**PATIENCE) as client:
        assert client.status().default_consistency == "strong"
        assert any('formed with "strong"' in problem for problem in client.status().problems)
        assert_refused(client, lambda db: db.put("k0", "lost", timeout=0.5))
    durable.restart(1)
    with client_of(durable, [0, 1], "default") as client:
        assert {entry.key: entry.value for entry in client.scan()} == {f"k{number}": number for number in range(20)}


@pytest.mark.parametrize("formed_with", ["strong", "eventual"])
def test_a_node_that_was_told_something_else_goes_by_the_cluster(cluster: Cluster, formed_with: str) -> None:
    other = {"strong": "eventual", "eventual": "strong"}[formed_with]
    founder = cluster.add([], ["--default-consistency", formed_with])
    with founder.client(**PATIENCE) as client:
        client.put("by the founder", 1)
    late = cluster.add([founder.address], ["--default-consistency", other])
    with late.client(**PATIENCE) as client:
        wanted = f'the setting is "{other}", but the cluster was formed with "{formed_with}"'
        eventually(lambda: any(wanted in problem for problem in client.status().problems), "it says so")
        assert client.status().default_consistency == formed_with
        client.put("by the other", 2)
        assert client.info().consistency == formed_with
    with founder.client(**PATIENCE) as client:
        eventually(lambda: client.get("by the other") == 2, "the value is everywhere")
        eventually(lambda: client.status().problems == (), "nothing is wrong with the founder")
    cluster.wait_value(1, "by the founder", 1)


REFUSED: Dict[str, Callable[[Any], Any]] = {
    "incr": lambda db: db.incr("k"),
    "put": lambda db: db.put("k", 1, if_absent=True),
    "transact": lambda db: db.transact(lambda txn: txn.put("k", 1)),
    "lock": lambda db: db.lock("k").acquire(),
    "leader": lambda db: db.election("k").leader(),
    "lease": lambda db: db.lease(10),
    "batch": lambda db: db.batch(atomic=True).__enter__(),
    "get": lambda db: db.get("k", read="linearizable"),
    "scan": lambda db: list(db.scan(read="linearizable")),
    "options": lambda db: db.with_options(read="linearizable").put("k", 1),
}


@pytest.mark.parametrize("call", list(REFUSED))
def test_an_eventual_default_still_refuses_what_it_does_not_promise(trio: Cluster, call: str) -> None:
    with trio.client(0, **PATIENCE) as db:
        with pytest.raises(kvstore.UnsupportedError) as refused:
            REFUSED[call](db)
        assert (refused.value.code, db.count()) == ("UNSUPPORTED", 0)
        assert db.info().consistency == "eventual"
        # From now on it knows, and asks nobody.
        with pytest.raises(kvstore.UnsupportedError):
            db.lock("k")

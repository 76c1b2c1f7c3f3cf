"""A strong keyspace on three nodes: what is acknowledged outlives any one of them, and nothing is applied twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import Any, Iterator, List

import pytest

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import wait_leader

pytestmark = pytest.mark.timeout(120)


def strong_client(cluster: Cluster, *nodes: int, **options: Any) -> kvstore.Client[Any]:
    """A client of some nodes, or of all; the one named first is contacted first."""
    targets = [cluster.address(node) for node in nodes or range(len(cluster.nodes))]
    return kvstore.Client(targets, "jobs", **{"timeout": DEADLINE_SECONDS, "discover": False, **options})


def roles(cluster: Cluster) -> List[str]:
    """Of each node that answers."""
    found = []
    for index, node in enumerate(cluster.nodes):
        if node.running:
            with cluster.client(index) as client:
                found.append(client.status().role)
    return found


def leader(cluster: Cluster) -> int:
    """The node that leads, once one does; one that did may not have heard yet of the one that does."""
    return wait_leader(cluster)


def wait_formed(cluster: Cluster) -> None:
    """Every node has a vote."""
    eventually(lambda: sorted(roles(cluster)) == ["follower", "follower", "leader"], "one node leads two", timeout=60.0)


@pytest.fixture
def jobs(cluster: Cluster) -> Iterator[Cluster]:
    """Three nodes that have formed a group, with the keyspace `jobs`."""
    cluster.start(3)
    wait_formed(cluster)
    with strong_client(cluster) as client:
        client.create_keyspace("jobs", consistency="strong")
    return cluster


def test_every_node_reads_what_any_node_has_acknowledged(jobs: Cluster) -> None:
    clients = [strong_client(jobs, node) for node in range(3)]
    try:
        for number in range(30):
            clients[number % 3].put("k", number)
            for client in clients:
                assert client.get("k") == number
                assert client.with_options(read="session").get("k") == number
        assert [client.incr("n") for client in clients * 10] == list(range(1, 31))
        assert len({client.info() for client in clients}) == 1
    finally:
        for client in clients:
            client.close()


def leader_of(client: kvstore.Client[Any]) -> str:
    """As the leader itself says."""
    status = client.cluster.leader()
    return "" if status is None else status.id


def test_leadership_is_moved_and_told_by_every_node(jobs: Cluster) -> None:
    before = leader(jobs)
    target = (before + 1) % 3
    with jobs.client(before) as old, jobs.client(target) as new, strong_client(jobs, target) as db:
        eventually(lambda: leader_of(old) == leader_of(new) == jobs.nodes[leader(jobs)].node, "both tell who leads")
        assert old.cluster.move_leader(new.status().id) == new.status().id
        eventually(
            lambda: leader_of(old) == leader_of(new) == new.status().id and new.status().role == "leader", "both know"
        )
        db["k"] = 1
        assert new.cluster.move_leader() != new.status().id
        db["k"] = 2
        with pytest.raises(kvstore.InvalidArgumentError) as caught:
            new.cluster.move_leader("00000000000000ff")
        assert caught.value.code == "UNKNOWN_MEMBER"
        with pytest.raises(kvstore.UnsupportedError, match="peers"):
            new.cluster.add("127.0.0.1:1")

    async def main() -> Any:
        async with kvstore.AsyncClient(jobs.address(before), discover=False) as client:
            status = await client.cluster.leader()
            assert status is not None
            return status.id, await client.cluster.move_leader(status.id)

    def is_told() -> bool:
        # Another one may be elected in between.
        present = jobs.nodes[leader(jobs)].node
        return bool(asyncio.run(main()) == (present, present))

    eventually(is_told, "the asyncio twin tells the same")


class Counting(threading.Thread):
    """Adds to a counter until it is told to stop, and counts what it was told."""

    def __init__(self, client: kvstore.Client[Any]) -> None:
        super().__init__()
        self._client = client
        self._ends = threading.Event()
        self.acknowledged = 0
        self.unknown = 0
        self.sums: List[int] = []

    def run(self) -> None:
        """One after the other."""
        while not self._ends.is_set():
            self._count()

    def _count(self) -> None:
        try:
            self.sums.append(self._client.incr("n"))
            self.acknowledged += 1
        except kvstore.KVError as error:
            self.unknown += error.maybe_applied

    def stop(self) -> None:
        """Return when the last one has ended."""
        self._ends.set()
        self.join()
        self._client.close()


def test_nothing_is_lost_or_counted_twice_when_the_leader_is_killed(jobs: Cluster) -> None:
    victim = leader(jobs)
    # They begin at the node that will be killed, so each has a call under way there.
    order = [victim, *(node for node in range(3) if node != victim)]
    threads = [Counting(strong_client(jobs, *order)) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: all(thread.acknowledged > 20 for thread in threads), "all of them count")
    jobs.kill(victim)
    before = [thread.acknowledged for thread in threads]
    eventually(lambda: all(t.acknowledged > n + 20 for t, n in zip(threads, before)), "they go on", timeout=60.0)
    jobs.restart(victim)
    eventually(lambda: roles(jobs).count("follower") == 2, "it is back as a follower", timeout=60.0)
    for thread in threads:
        thread.stop()
    with strong_client(jobs, victim) as client:
        total = client["n"]
    acknowledged, unknown = sum(t.acknowledged for t in threads), sum(t.unknown for t in threads)
    assert acknowledged <= total <= acknowledged + unknown
    sums = [number for thread in threads for number in thread.sums]
    assert len(set(sums)) == len(sums), "two were told the same sum"


class Worker(threading.Thread):
    """Adds one to a number under a lock, which alone keeps others from doing the same, until it is told to stop."""

    def __init__(self, client: kvstore.Client[Any], ends: threading.Event) -> None:
        super().__init__()
        self._client = client
        self._ends = ends
        self.done = 0
        self.unknown = 0
        self.tokens: List[int] = []

    def run(self) -> None:
        """One turn after the other."""
        with self._client:
            while not self._ends.is_set():
                self._turn()

    def _turn(self) -> None:
        writes = False
        try:
            with self._client.lock("l", ttl=3, timeout=30) as lock:
                mine = lock.scope()
                number = mine.get("n")
                writes = True
                mine.put("n", number + 1)
                writes = False
                self.done += 1
                self.tokens.append(lock.fencing_token)
        except kvstore.KVError as error:
            # After an answer to the put nothing is open, whatever became of the lock.
            self.unknown += writes and error.maybe_applied


def test_no_two_hold_a_lock_while_the_leader_is_killed(jobs: Cluster) -> None:
    with strong_client(jobs) as db:
        db["n"] = 0
    victim = leader(jobs)
    order = [victim, *(node for node in range(3) if node != victim)]
    ends = threading.Event()
    workers = [Worker(strong_client(jobs, *order, timeout=5), ends) for _ in range(5)]
    for worker in workers:
        worker.start()
    try:
        eventually(lambda: all(worker.done > 1 for worker in workers), "all of them had the lock")
        jobs.kill(victim)
        before = [worker.done for worker in workers]
        eventually(lambda: all(w.done > n for w, n in zip(workers, before)), "all of them had it again", timeout=90.0)
    finally:
        ends.set()
        for worker in workers:
            worker.join()
    with strong_client(jobs, *order) as db:
        done, unknown = sum(worker.done for worker in workers), sum(worker.unknown for worker in workers)
        assert done <= db["n"] <= done + unknown
    tokens = [token for worker in workers for token in worker.tokens]
    assert len(set(tokens)) == len(tokens)
    assert all(worker.tokens == sorted(worker.tokens) for worker in workers)


def test_a_lock_outlives_the_leader_and_not_its_holder(jobs: Cluster) -> None:
    victim = leader(jobs)
    others = [node for node in range(3) if node != victim]
    with strong_client(jobs, victim, *others) as db:
        lock = db.lock("l", ttl=120)
        assert lock.acquire()
        jobs.kill(victim)
        assert db.put("after", 1) > lock.fencing_token
        assert lock.held
        lock.scope().put("fenced", 1)
        with strong_client(jobs, *others) as other:
            assert not other.lock("l").acquire(timeout=0)
            lock.release()
            with other.lock("l", timeout=DEADLINE_SECONDS) as next_one:
                assert next_one.fencing_token > lock_token(db)


def lock_token(db: kvstore.Client[Any]) -> int:
    """The version of what was written under the first lock."""
    entry = db.entry("fenced")
    assert entry is not None
    return entry.version


def test_a_lock_passes_on_when_its_holder_is_killed(jobs: Cluster) -> None:
    script = (
        "import sys, signal, kvstore\n"
        f"db = kvstore.Client({jobs.address(0)!r}, 'jobs', timeout={DEADLINE_SECONDS})\n"
        "lock = db.lock('l', ttl=4)\n"
        "lock.acquire()\n"
        "print(lock.fencing_token, flush=True)\n"
        "signal.pause()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder, strong_client(jobs, 1) as db:
        assert holder.stdout is not None
        token = int(holder.stdout.readline())
        waiter = db.lock("l", ttl=30)
        # Kept alive for more than its time, as long as the process lives.
        assert not waiter.acquire(timeout=6)
        holder.kill()
        start = time.monotonic()
        assert waiter.acquire(timeout=DEADLINE_SECONDS)
        assert time.monotonic() - start < 30
        assert waiter.fencing_token > token
        waiter.release()


def test_a_holder_that_reaches_nobody_notices_before_others_hold(jobs: Cluster) -> None:
    with strong_client(jobs, 0) as db:
        lost = threading.Event()
        lock = db.lock("l", ttl=2)
        lock.on_lost(lost.set)
        assert lock.acquire()
        jobs.pause(0)
        try:
            assert lost.wait(DEADLINE_SECONDS)
            assert not lock.held
            with strong_client(jobs, 1, 2) as other, other.lock("l", timeout=DEADLINE_SECONDS) as next_one:
                assert next_one.fencing_token > lock.fencing_token
                with pytest.raises(kvstore.KVError):
                    lock.scope(db.with_options(timeout=1)).put("k", 1)
                jobs.resume(0)
                with pytest.raises(kvstore.LockLostError):
                    lock.scope().put("k", 1)
                assert not other.exists("k")
        finally:
            jobs.resume(0)
        with pytest.raises(kvstore.LockLostError):
            lock.release()


def test_without_a_majority_nothing_is_acknowledged(jobs: Cluster) -> None:
    with strong_client(jobs, 0) as db:
        db["k"] = 1
        jobs.kill(1)
        jobs.kill(2)
        few = db.with_options(timeout=1)
        for call in (lambda: few.put("k", 2), lambda: few.get("k"), lambda: few.incr("k")):
            with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)):
                call()
        assert db.get("k", read="local") in (1, 2)
        # The eventual keyspace does not need the others.
        with jobs.client(0) as eventual:
            eventual["k"] = 3
            assert eventual["k"] == 3


def test_the_asyncio_twin_survives_the_leader(jobs: Cluster) -> None:
    victim = leader(jobs)

    async def main() -> int:
        targets = [jobs.address(node) for node in (victim, *(node for node in range(3) if node != victim))]
        async with kvstore.AsyncClient(targets, "jobs", timeout=DEADLINE_SECONDS) as db:
            await db.put("n", 0)
            await asyncio.gather(*(db.incr("n") for _ in range(100)))
            jobs.kill(victim)
            await asyncio.gather(*(db.incr("n") for _ in range(100)))
            return int(await db.incr("n", 0))

    assert asyncio.run(main()) == 200

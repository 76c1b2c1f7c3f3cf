"""Three nodes are replaced one after another under load: no read fails, nothing is lost, no term has two leaders.

What is not done: faults beside the replacements, which test_strong_linearizable.py has; more than one round.
"""

from __future__ import annotations

import shutil
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Set

import pytest

import kvstore

from .durable import DurableCluster
from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import Terms, client_of, from_node, group_of, wait_leader, wait_one_group

pytestmark = pytest.mark.timeout(300)

NODES = 3
WRITERS = 3
READERS = 3

# What a linearizable read may take while a node leaves and another one leads: a second, on a machine that is not busy.
READ_SECONDS = 20.0

# A call now and then is enough, and leaves the machine to others.
PACE_SECONDS = 0.01

# Calls of each thread that have to succeed with a node gone, and again with its successor there.
CALLS_EACH = 20


class Floors:
    """How far each counter was seen by anybody: whoever asks later must not see less."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._floors: Dict[str, int] = {}

    def of(self, key: str) -> int:
        """What a read that begins now has to find at least."""
        with self._lock:
            return self._floors.get(key, 0)

    def raise_to(self, key: str, seen: int) -> None:
        """An answer said so."""
        with self._lock:
            self._floors[key] = max(seen, self._floors.get(key, 0))


class Caller(threading.Thread):
    """One client that makes the same kind of call until it is stopped."""

    def __init__(self, client: kvstore.Client[Any], number: int, floors: Floors) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.slowest = 0.0
        self.error: Optional[BaseException] = None
        self._client, self._number, self._floors = client, number, floors
        self._ends = threading.Event()

    def run(self) -> None:
        """Call, again and again."""
        try:
            while not self._ends.wait(PACE_SECONDS):
                began = time.monotonic()
                self._call()
                self.slowest = max(self.slowest, time.monotonic() - began)
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self.error = error

    def _call(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """Raise what has gone wrong."""
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Wait for the last call."""
        self._ends.set()
        self.join()
        self._client.close()
        self.check()


class Writer(Caller):
    """Adds to a counter of its own, and puts a key for each sum that it was told."""

    def __init__(self, client: kvstore.Client[Any], number: int, floors: Floors) -> None:
        super().__init__(client, number, floors)
        self.acknowledged: Set[str] = set()
        self.sums = 0
        self.unknown = 0
        self.refused = 0

    def _call(self) -> None:
        key = f"counter/{self._number}"
        try:
            total = self._client.incr(key)
            self._floors.raise_to(key, total)
            self.sums += 1
            self._client.put(f"sum/{self._number}/{total}", total)
            self.acknowledged.add(f"sum/{self._number}/{total}")
            self.done += 1
        except (kvstore.UnavailableError, kvstore.DeadlineError) as error:
            self.unknown += error.maybe_applied
            self.refused += not error.maybe_applied


class Reader(Caller):
    """Reads the counters: each read has to succeed, and to see what anybody saw before it began."""

    def _call(self) -> None:
        key = f"counter/{self.done % WRITERS}"
        floor = self._floors.of(key)
        found = self._client.get(key, 0)
        assert found >= floor, f"{key}: read {found} after {floor}"
        self._floors.raise_to(key, found)
        self.done += 1


class Load:
    """Writers and readers, each of which begins at another node."""

    def __init__(self, cluster: Cluster) -> None:
        floors = Floors()

        def client(number: int) -> kvstore.Client[Any]:
            return client_of(cluster, from_node(cluster, number % NODES), "rolling", timeout=READ_SECONDS)

        self.writers = [Writer(client(number), number, floors) for number in range(WRITERS)]
        self.readers = [Reader(client(number), number, floors) for number in range(READERS)]
        self.callers: List[Caller] = [*self.writers, *self.readers]
        for caller in self.callers:
            caller.start()

    def wait_for_more(self, what: str) -> None:
        """Until everybody has made some more calls."""
        before = [caller.done for caller in self.callers]

        def went_on() -> bool:
            for caller in self.callers:
                caller.check()
            return all(caller.done >= done + CALLS_EACH for caller, done in zip(self.callers, before))

        eventually(went_on, f"everybody goes on {what}", timeout=60.0)

    def stop(self) -> None:
        """Wait for the last calls."""
        for caller in self.callers:
            caller.stop()

    def summary(self) -> str:
        """What happened, in figures."""
        writes = sum(writer.done for writer in self.writers)
        unknown, refused = sum(w.unknown for w in self.writers), sum(w.refused for w in self.writers)
        reads = sum(reader.done for reader in self.readers)
        slowest_read = max(reader.slowest for reader in self.readers)
        slowest_write = max(writer.slowest for writer in self.writers)
        return (
            f"{2 * writes:,} writes, {unknown} unknown, {refused} refused, the slowest {slowest_write:.2f} s; "
            f"{reads:,} reads, the slowest {slowest_read:.2f} s"
        )


def has_vote(cluster: Cluster, index: int) -> bool:
    """Whether all nodes see that one as a voter, and nobody else at its address."""
    wanted = cluster.nodes[index]
    groups = [group_of(node) for node in cluster.nodes]
    return all(
        group is not None
        and [(m.id, m.votes) for m in group.members if m.address == wanted.address] == [(wanted.node, True)]
        for group in groups
    )


def stop_memory(cluster: Cluster, index: int) -> None:
    assert cluster.nodes[index].stop(DEADLINE_SECONDS) == 0, cluster.nodes[index].last_words()


def stop_durable(cluster: Cluster, index: int) -> None:
    assert isinstance(cluster, DurableCluster)
    cluster.stop_node(index)


def stop_and_wipe(cluster: Cluster, index: int) -> None:
    assert isinstance(cluster, DurableCluster)
    cluster.stop_node(index)
    shutil.rmtree(cluster.directory(index))


def roll(cluster: Cluster, stop: Callable[[Cluster, int], None], *, keeps_ids: bool) -> None:
    """Replace every node in turn, the leader of the beginning in the middle, and look at everything."""
    cluster.start(NODES)
    wait_one_group(cluster)
    with client_of(cluster, range(NODES), "default") as client:
        client.create_keyspace("rolling", consistency="strong")
    ids = [node.node for node in cluster.nodes]
    load, terms = Load(cluster), Terms(cluster)
    terms.start()
    try:
        load.wait_for_more("before anything happens")
        leader = wait_leader(cluster)
        for index in [(leader + step) % NODES for step in (1, 0, 2)]:
            stop(cluster, index)
            load.wait_for_more(f"without node {index}")
            cluster.restart(index)
            eventually(lambda index=index: has_vote(cluster, index), f"node {index} has a vote", timeout=60.0)
            load.wait_for_more(f"with node {index} back")
    finally:
        load.stop()
        terms.stop()
        print(f"{load.summary()}; leaders of {len(terms.leaders)} terms, {terms.looks} looks")  # noqa: T201
    wait_one_group(cluster)
    assert [node.node in ids for node in cluster.nodes] == [keeps_ids] * NODES
    check_kept(cluster, load)


def check_kept(cluster: Cluster, load: Load) -> None:
    """Every node shows every acknowledged write, and the counters count them."""
    for index in range(NODES):
        with client_of(cluster, [index], "rolling") as client:
            shown = {entry.key for entry in client.scan("sum/")}
            for writer in load.writers:
                lost = writer.acknowledged - shown
                assert not lost, f"node {index} lost {sorted(lost)[:5]} and {len(lost)} in all"
                total = client.get(f"counter/{writer._number}")
                assert writer.sums <= total <= writer.sums + writer.unknown


def test_durable_nodes_are_restarted_in_turn(durable: DurableCluster) -> None:
    roll(durable, stop_durable, keeps_ids=True)


def test_durable_nodes_are_replaced_in_turn_by_wiped_ones(durable: DurableCluster) -> None:
    roll(durable, stop_and_wipe, keeps_ids=False)


def test_nodes_in_memory_are_restarted_in_turn(cluster: Cluster) -> None:
    roll(cluster, stop_memory, keeps_ids=False)

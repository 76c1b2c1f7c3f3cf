"""Random puts and deletes through three nodes, one of them killed and started again every few seconds.

`KVSTORE_CHURN_SECONDS=600` makes it long; `KVSTORE_CHURN_SEED` repeats the schedule of a run (not its timing).
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Iterator, List, Set

import pytest

from .churn import CALL_SECONDS, Gate, Model, Write, Writer
from .harness import Cluster, eventually

SECONDS = float(os.environ.get("KVSTORE_CHURN_SECONDS", "15"))
SEED = int(os.environ.get("KVSTORE_CHURN_SEED") or random.SystemRandom().randrange(2**32))

WRITERS = 6
KEYS_PER_WRITER = 300

# For the nodes to become equal at the end, on a slow machine.
SETTLE_SECONDS = 60.0


class Churn:
    """The writers, the killer, and the check whenever everything rests."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random = random.Random(SEED)
        self.gate = Gate(WRITERS)
        self.writers = [Writer(number, SEED, KEYS_PER_WRITER, cluster, self.gate) for number in range(WRITERS)]
        self.killed: Set[str] = set()
        self.kills = 0
        self._pace = threading.Event()

    def run(self, seconds: float) -> None:
        """Write and kill for so long, or until a busy machine has got through enough; then check for the last time."""
        for writer in self.writers:
            writer.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or self.acknowledged <= 100 * seconds:
            self._kill_one()
            if self.random.random() < 0.5:
                self.check()
        self.check()

    def _kill_one(self) -> None:
        self._let_them_write(0.2, 1.5)
        victim = self.random.randrange(len(self.cluster.nodes))
        self.killed.add(self.cluster.nodes[victim].node)
        self.cluster.kill(victim)
        self.kills += 1
        self._let_them_write(0.1, 1.0)
        self.cluster.restart(victim)
        with self.cluster.client(victim) as client:
            eventually(lambda: client.status().ready, "the new incarnation has caught up", SETTLE_SECONDS)

    def _let_them_write(self, least: float, most: float) -> None:
        """The only pause of this test: how long the writers work undisturbed is part of the random schedule."""
        self._pace.wait(self.random.uniform(least, most))

    def check(self) -> None:
        """Let everything come to rest: the nodes must be equal and show what the writers may expect."""
        self.gate.close(CALL_SECONDS + 10)
        for writer in self.writers:
            if writer.error is not None:
                raise writer.error
        self.cluster.wait_equal(timeout=SETTLE_SECONDS)
        with self.cluster.client(self.random.randrange(len(self.cluster.nodes))) as client:
            shown = {entry.key: entry.value for entry in client.scan()}
        wrong: List[str] = []
        for writer in self.writers:
            for key in writer.keys:
                problem = writer.model.settle(key, shown.pop(key, None), self.killed)
                wrong += [problem] if problem else []
        assert not wrong, wrong[:5]
        assert not shown, "keys that nobody wrote"
        self.killed.clear()
        self.gate.open()

    @property
    def acknowledged(self) -> int:
        """Writes that somebody took."""
        return sum(writer.acknowledged for writer in self.writers)

    def end(self) -> None:
        """Send the writers home."""
        self.gate.end()
        for writer in self.writers:
            if writer.is_alive():
                writer.join(CALL_SECONDS)


@pytest.fixture
def churn(cluster: Cluster) -> Iterator[Churn]:
    """Three nodes with writers that have not begun."""
    cluster.start(3)
    made = Churn(cluster)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.timeout(SECONDS + 4 * SETTLE_SECONDS)
def test_nodes_end_identical_and_no_deleted_key_comes_back(churn: Churn) -> None:
    print(f"REPRODUCE: KVSTORE_CHURN_SEED={SEED} KVSTORE_CHURN_SECONDS={SECONDS:g}")  # noqa: T201 - shown on failure
    churn.run(SECONDS)
    print(f"{churn.acknowledged:,} writes acknowledged, {churn.kills} kills")  # noqa: T201 - shown with -s
    assert churn.kills > 0


PUT, DELETE = False, True


def test_a_write_that_was_never_answered_may_be_late_when_nodes_were_paused() -> None:
    for paused in (False, True):
        model = Model()
        model.record("k", Write(1, PUT, None))
        model.record("k", Write(2, PUT, "a"))
        assert (model.settle("k", 1, set(), paused=paused) is None) == paused


@pytest.mark.parametrize(
    ("writes", "shown", "allowed"),
    [
        ([], None, True),
        ([Write(1, PUT, "a")], 1, True),
        ([Write(1, PUT, "a")], None, False),
        ([Write(1, PUT, "killed")], None, True),
        ([Write(1, PUT, None)], None, True),
        ([Write(1, PUT, None)], 1, True),
        ([Write(1, PUT, "a"), Write(2, PUT, "killed")], 1, True),
        ([Write(1, PUT, "killed"), Write(2, PUT, "a")], 1, False),
        ([Write(1, PUT, "a"), Write(2, DELETE, "a")], 1, False),
        ([Write(1, PUT, "a"), Write(2, DELETE, "killed")], 1, True),
        ([Write(1, DELETE, "a"), Write(3, PUT, None)], 2, False),
    ],
)
def test_the_oracle_allows_what_may_be_and_nothing_else(
    writes: List[Write], shown: int | None, *, allowed: bool
) -> None:
    model = Model()
    for write in writes:
        model.record("k", write)
    problem = model.settle("k", shown, {"killed"})
    assert (problem is None) == allowed
    if allowed:
        # What was seen on all nodes is the truth from here on, whoever is killed next.
        assert model.settle("k", shown, {"a", "killed"}) is None

"""Random kills, pauses and network cuts under random puts and deletes; then calm, and everything must be right again.

`KVSTORE_CHAOS_SECONDS=600` makes it long; `KVSTORE_CHAOS_SEED` repeats the schedule of a run (not its timing). Networks
are cut where that is possible (Linux, root, namespaces); elsewhere there are kills and pauses only, and it says so.
"""

from __future__ import annotations

import os
import random
from typing import Iterator, List, Optional, Set, Tuple

import pytest

from .chaos import Faults, Session
from .churn import CALL_SECONDS, Gate, Writer
from .harness import Cluster, eventually
from .network import Network, NetworkedCluster, missing

SECONDS = float(os.environ.get("KVSTORE_CHAOS_SECONDS", "10"))
SEED = int(os.environ.get("KVSTORE_CHAOS_SEED") or random.SystemRandom().randrange(2**32))

NODES = 4
WRITERS = 3
SESSIONS = 2
KEYS_PER_WRITER = 200

# Between two calms.
ROUND_SECONDS = 20.0
SETTLE_SECONDS = 60.0

# That may follow a run which has shown too little.
ROUNDS_MORE = 3


@pytest.fixture
def battlefield() -> Iterator[Cluster]:
    """Connected nodes, on a network that can be cut if there is one."""
    lacking = missing()
    if lacking:
        print(f"no network is cut: {lacking} is missing")  # noqa: T201 - shown on failure, and with -s
        made = Cluster()
        try:
            yield made.start(NODES)
        finally:
            made.stop()
        return
    with Network(NODES) as network:
        made = NetworkedCluster(network)
        try:
            yield made.start(NODES)
        finally:
            made.stop()


class Chaos:
    """Writers and sessions at work, faults, and the check whenever everything rests."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.gate = Gate(WRITERS + SESSIONS)
        self.writers = [Writer(number, SEED, KEYS_PER_WRITER, cluster, self.gate) for number in range(WRITERS)]
        self.sessions = [Session(number, SEED, cluster, self.gate) for number in range(SESSIONS)]
        self.faults = Faults(cluster, SEED)

    def run(self, seconds: float) -> None:
        """Fight in rounds; one more, if a busy machine got through too little."""
        for thread in [*self.writers, *self.sessions]:
            thread.start()
        left = seconds
        while left > 0 or (self.lack(seconds) and left > -ROUNDS_MORE * ROUND_SECONDS):
            self.faults.run(min(left, ROUND_SECONDS) if left > 0 else ROUND_SECONDS)
            left -= ROUND_SECONDS
            self.faults.heal()
            self.check()

    def lack(self, seconds: float) -> str:
        """What there was too little of to show anything; "": it is a run."""
        wanted = {
            "faults": (sum(self.faults.counts.values()), max(3, seconds / 5)),
            "writes": (self.acknowledged, 20 * seconds),
            "session reads": (sum(session.reads for session in self.sessions), 20 * seconds),
        }
        return ", ".join(what for what, (found, least) in wanted.items() if found < least)

    def check(self) -> None:
        """In the calm: all nodes up, connected and equal, and they show what the writers may expect."""
        self.gate.close(CALL_SECONDS + 10)
        for thread in [*self.writers, *self.sessions]:
            if thread.error is not None:
                raise thread.error
        self.cluster.wait_connected(SETTLE_SECONDS)
        self.cluster.wait_equal(timeout=SETTLE_SECONDS)
        with self.cluster.client(0) as client:
            shown = {entry.key: entry.value for entry in client.scan("churn/")}
        wrong: List[str] = []
        for writer in self.writers:
            for key in writer.keys:
                problem = writer.model.settle(key, shown.pop(key, None), self.faults.killed, paused=True)
                wrong += [problem] if problem else []
        assert not wrong, wrong[:5]
        assert not shown, "keys that nobody wrote"
        self._check_journals()
        self.faults.killed.clear()
        self.gate.open()

    def _check_journals(self) -> None:
        """A write that lost a race is in one journal only; each node tells of all, once it can ask everybody."""
        eventually(self._journals_agree, "all nodes tell of the same conflicts", SETTLE_SECONDS)

    def _journals_agree(self) -> bool:
        nodes = {node.node for node in self.cluster.nodes}
        told: List[Set[Tuple[str, Optional[int], str]]] = []
        for index in range(len(self.cluster.nodes)):
            with self.cluster.client(index) as client:
                conflicts = list(client.conflicts())
            assert {conflict.where for conflict in conflicts} <= nodes
            lost = [(conflict.key, conflict.lost.version) for conflict in conflicts if conflict.lost is not None]
            assert len(lost) == len(set(lost)), "a lost write is in two journals, or twice in one"
            told.append({(c.key, c.lost.version if c.lost else None, c.where) for c in conflicts})
        return all(each == told[0] for each in told)

    def end(self) -> None:
        """Send everybody home."""
        self.faults.heal()
        self.gate.end()
        for thread in [*self.writers, *self.sessions]:
            if thread.is_alive():
                thread.join(CALL_SECONDS)

    def summary(self) -> str:
        """What happened, in figures."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.counts.items()))
        reads = sum(session.reads for session in self.sessions)
        losses = sum(session.losses for session in self.sessions)
        failures = sum(session.failures for session in self.sessions)
        return (
            f"{faults}; {self.acknowledged:,} writes acknowledged, {reads:,} session reads, "
            f"{failures} session calls failed, {losses} of them told of a loss"
        )

    @property
    def acknowledged(self) -> int:
        """Writes that somebody took."""
        return sum(writer.acknowledged for writer in self.writers)


def test_networks_side_by_side_are_strangers() -> None:
    """The suite runs on several Pythons at once, and each used to take a net by the number of its process."""
    lacking = missing()
    if lacking:
        pytest.skip(f"no network can be cut: {lacking} is missing")
    with Network(2) as one, Network(1) as other:
        assert {one.host(0), one.host(1)}.isdisjoint({other.host(0)})
    with Network(1) as again:
        assert again.host(0) == one.host(0), "the net is free again"


@pytest.mark.timeout(2 * SECONDS + (4 + ROUNDS_MORE) * SETTLE_SECONDS)
def test_what_was_acknowledged_survives_chaos(battlefield: Cluster) -> None:
    print(f"REPRODUCE: KVSTORE_CHAOS_SEED={SEED} KVSTORE_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - shown on failure
    chaos = Chaos(battlefield)
    try:
        chaos.run(SECONDS)
    finally:
        chaos.end()
        print(chaos.summary())  # noqa: T201 - shown on failure, and with -s
    assert not chaos.lack(SECONDS), "no run"

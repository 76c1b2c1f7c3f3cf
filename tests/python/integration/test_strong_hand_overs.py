"""Processes hand one lock to each other while some of them are killed and some are stopped for too long.

`KVSTORE_STRONG_HAND_OVERS=1000` makes it long (`make strong-hand-overs`). What a holder does is in lock_holder.py: it
counts on, by a read and a write that nothing keeps together but the lock. What is not done: faults of nodes, which
test_strong_linearizable.py and test_strong_cluster.py have.
"""

from __future__ import annotations

import collections
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Deque, Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

from .lock_holder import KEYSPACE, STEPS
from .strong import client_of, group_of, wait_one_group

if TYPE_CHECKING:
    from .harness import Cluster

HAND_OVERS = int(os.environ.get("KVSTORE_STRONG_HAND_OVERS", "60"))
SEED = int(os.environ.get("KVSTORE_STRONG_SEED") or random.SystemRandom().randrange(2**32))

WORKERS = 8
TTL_SECONDS = 1.0

# What happens to a holder with this number at the latest, and to one in so many: it is stopped until another holds the
# lock, or killed; or one that waits is killed.
FATES = [("holders stopped", 3, 12), ("holders killed", 6, 15), ("waiters killed", 9, 20)]

# A holder dies, its lease ends, the next one in line is dead too: some times the ttl.
NEXT_SECONDS = 40.0

# How much of the end of what the workers said is shown when they fall silent.
_LINES_SHOWN = 40

_PROGRAM = Path(__file__).with_name("lock_holder.py")


class Line(NamedTuple):
    """What a worker said."""

    worker: str
    words: Tuple[str, ...]


class Worker:
    """One process, and a thread that hears what it says."""

    def __init__(self, targets: str, name: str, heard: queue.Queue[Line]) -> None:
        self.name = name
        command = [sys.executable, str(_PROGRAM), targets, name, str(TTL_SECONDS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._heard = heard
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            # The last line of a killed process may be torn.
            if text.endswith("\n"):
                self._heard.put(Line(self.name, tuple(text.split())))

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; what it said before is heard."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Relay:
    """The workers, what is done to them, and what they have said."""

    def __init__(self, cluster: Cluster) -> None:
        self._random = random.Random(SEED)
        self._cluster = cluster
        self._targets = ",".join(node.address for node in cluster.nodes)
        self._began = time.monotonic()
        self._last: Deque[str] = collections.deque(maxlen=_LINES_SHOWN)
        self._heard: queue.Queue[Line] = queue.Queue()
        self._workers: Dict[str, Worker] = {}
        self._born = 0
        self._stopped: Dict[str, int] = {}
        self.holders: Dict[int, str] = {}
        self.steps: Dict[int, Tuple[int, str]] = {}
        self.refused: Set[int] = set()
        self.overtaken: Set[int] = set()
        self.counts = {"holders killed": 0, "holders stopped": 0, "waiters killed": 0, "unknown": 0, "in vain": 0}
        for _ in range(WORKERS):
            self._start_one()

    def run(self, hand_overs: int) -> None:
        """Until the lock was handed over so often, and a holder that was stopped was refused."""
        while len(self.holders) < hand_overs or not self.refused & self.overtaken:
            self._take(self._next())

    def end(self) -> None:
        """Kill all; then hear what they said last."""
        for worker in self._workers.values():
            worker.kill()
        while not self._heard.empty():
            self._note(self._heard.get())

    def _start_one(self) -> None:
        self._born += 1
        name = f"worker-{self._born}"
        self._workers[name] = Worker(self._targets, name, self._heard)

    def _next(self) -> Line:
        try:
            return self._heard.get(timeout=NEXT_SECONDS)
        except queue.Empty:
            pytest.fail(
                "\n".join([f"nobody said anything for {NEXT_SECONDS:.0f} s; {self.summary()}", *self._evidence()])
            )

    def _evidence(self) -> List[str]:
        """What was said last, and what the nodes say; the workers say on stderr where they are."""
        for worker in self._workers.values():
            worker.signal(signal.SIGUSR1)
        states = [f"{node.node} at {node.address}: {group_of(node)}" for node in self._cluster.nodes]
        return [*self._last, f"stopped: {sorted(self._stopped)}", *states]

    def _note(self, line: Line) -> None:
        self._last.append(f"{time.monotonic() - self._began:7.2f} s: {line.worker}: {' '.join(line.words)}")
        kind = line.words[0]
        if kind == "held":
            token = int(line.words[1])
            assert token not in self.holders, f"token {token} of {self.holders[token]} and {line.worker}"
            self.holders[token] = line.worker
        elif kind == "step":
            number, token = int(line.words[1]), int(line.words[2])
            assert number not in self.steps, f"step {number} was acknowledged to {self.steps[number]} and {line}"
            self.steps[number] = (token, line.worker)
        elif kind == "refused":
            self.refused.add(int(line.words[1]))
        else:
            self.counts["unknown" if kind == "unknown" else "in vain"] += 1

    def _take(self, line: Line) -> None:
        self._note(line)
        if line.words[0] != "held":
            return
        self._let_go_on(int(line.words[1]))
        if line.worker not in self._workers:
            # Killed since it said so.
            return
        kind = self._fate()
        if kind == "holders stopped":
            self._stop(line.worker, int(line.words[1]))
        elif kind == "holders killed":
            self._replace(line.worker, kind)
        elif kind == "waiters killed":
            others = [name for name in self._workers if name != line.worker and name not in self._stopped]
            self._replace(self._random.choice(others), kind)

    def _fate(self) -> str:
        """What happens to a holder, if anything; the first of each kind is certain, also in a short run."""
        drawn = [kind for kind, _, one_in in FATES if self._random.random() < 1 / one_in]
        due = [kind for kind, least, _ in FATES if len(self.holders) >= least and not self.counts[kind]]
        return [*due, *drawn, ""][0]

    def _stop(self, name: str, token: int) -> None:
        if name not in self._stopped:
            self.counts["holders stopped"] += 1
            self._workers[name].signal(signal.SIGSTOP)
            self._stopped[name] = token

    def _let_go_on(self, token: int) -> None:
        """Another has the lock: whoever was stopped holding it before goes on, and believes that it still does."""
        for name, held in list(self._stopped.items()):
            if held < token:
                self.overtaken.add(held)
                del self._stopped[name]
                self._workers[name].signal(signal.SIGCONT)

    def _replace(self, name: str, kind: str) -> None:
        self.counts[kind] += 1
        self._stopped.pop(name, None)
        self._workers.pop(name).kill()
        self._start_one()

    def summary(self) -> str:
        """What happened, in figures."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        refused = len(self.refused & self.overtaken)
        return f"{len(self.holders)} holders, {len(self.steps)} steps, {refused} stopped holders refused; {counts}"


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Cluster]:
    """Three nodes that have formed a group, with the keyspace of the workers."""
    cluster.start(3)
    wait_one_group(cluster)
    with client_of(cluster, range(3), "default") as client:
        client.create_keyspace(KEYSPACE, consistency="strong")
    return cluster


@pytest.mark.timeout(120 + 2 * HAND_OVERS)
def test_no_two_hold_a_lock_whoever_is_killed_or_stopped(nodes: Cluster) -> None:
    print(f"REPRODUCE: KVSTORE_STRONG_SEED={SEED} KVSTORE_STRONG_HAND_OVERS={HAND_OVERS}")  # noqa: T201
    began = time.monotonic()
    relay = Relay(nodes)
    try:
        relay.run(HAND_OVERS)
    finally:
        relay.end()
        print(f"{relay.summary()}; {time.monotonic() - began:.0f} s")  # noqa: T201 - shown on failure, and with -s
    with client_of(nodes, range(3), KEYSPACE) as db:
        count, writes = db["count"], db["writes"]
        written = list(db.scan("step/"))
    check_steps(relay, [(entry.version, entry.value["token"], entry.value["holder"]) for entry in written])
    # A write that went over another one would be counted and have no step.
    assert len(written) == count == writes
    assert relay.counts["holders killed"] > 0
    assert len(relay.steps) >= HAND_OVERS, f"hardly any of {STEPS} steps a holder were made: no run"


def check_steps(relay: Relay, written: List[Tuple[int, int, str]]) -> None:
    """What is in the store, in the order of the steps: version, token and holder of each."""
    versions = [version for version, _, _ in written]
    assert versions == sorted(set(versions)), "the steps were not made one after another"
    tokens = [token for _, token, _ in written]
    assert tokens == sorted(tokens), "a former holder wrote after a later one"
    owners: Dict[int, str] = {}
    for version, token, holder in written:
        assert token < version
        assert owners.setdefault(token, holder) == holder, f"token {token} was given to {owners[token]} and {holder}"
    # Who was killed may have held the lock without having said so.
    wrong = {token: holder for token, holder in relay.holders.items() if owners.get(token, holder) != holder}
    assert not wrong
    for number, told in relay.steps.items():
        assert written[number - 1][1:] == told, f"step {number} was acknowledged to {told}"

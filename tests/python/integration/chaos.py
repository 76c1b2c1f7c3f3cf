"""Faults drawn from a seed, and sessions that must not notice more of them than they are told."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Set, Tuple

import kvstore

from .churn import CALL_SECONDS, Gate
from .network import NetworkedCluster

if TYPE_CHECKING:
    from .harness import Cluster

PAUSE_SECONDS_MAX = 8.0

# At a time. More would leave nobody to talk to.
_FAULTS_MAX = 2


class Session(threading.Thread):
    """Puts and gets through whichever node answers: versions only ever grow, or it is told what is lost."""

    def __init__(self, number: int, seed: int, cluster: Cluster, gate: Gate) -> None:
        super().__init__(name=f"session-{number}", daemon=True)
        self._random = random.Random(f"{seed}/session/{number}")
        self._keys = [f"session/{number}/{key}" for key in range(20)]
        targets = [node.address for node in cluster.nodes]
        self._random.shuffle(targets)
        self._client: kvstore.Client[Any] = kvstore.Client(targets, timeout=CALL_SECONDS)
        self._gate = gate
        self._floors: Dict[str, int] = {}
        self._greatest = 0
        self.reads = self.losses = self.failures = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Work until the gate says that it is over."""
        try:
            while self._gate.pass_through():
                while not self._gate.is_closed:
                    self._step(self._random.choice(self._keys))
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.error = error
        finally:
            self._gate.leave()
            self._client.close()

    def _step(self, key: str) -> None:
        try:
            if self._random.random() < 0.3:
                self._note(key, self._client.put(key, self._random.random()), self._greatest + 1)
            else:
                entry = self._client.entry(key)
                self._note(key, entry.version if entry else 0, self._floors.get(key, 0))
                self.reads += 1
        except (kvstore.UnavailableError, kvstore.DeadlineError) as error:
            self.failures += 1
            if error.code == "SESSION_LOST":
                self.losses += 1
                self._floors.clear()

    def _note(self, key: str, version: int, least: int) -> None:
        assert version >= least, f"{key}: version {version} after {least}"
        self._floors[key] = max(version, self._floors.get(key, 0))
        self._greatest = max(version, self._greatest)


class Faults:
    """Kills, pauses and cuts, at most a few at a time, each with an end of its own."""

    _between = (0.1, 0.8)

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._active: List[Tuple[float, Callable[[], None]]] = []
        self._busy: Set[int] = set()
        self._pace = threading.Event()
        self.killed: Set[str] = set()
        self.counts: Dict[str, int] = {}

    def run(self, seconds: float) -> None:
        """Break and mend for so long; some of it may be broken still."""
        ends = time.monotonic() + seconds
        kinds = self._kinds()
        while time.monotonic() < ends:
            if self._has_room(len(self._active)):
                left = ends - time.monotonic()
                lasts, mend = self._random.choice(kinds)(left)
                self._active.append((time.monotonic() + lasts, mend))
            # How far apart the faults are is part of the random schedule.
            self._pace.wait(self._random.uniform(*self._between))
            self._mend(time.monotonic())

    def _has_room(self, active: int) -> bool:
        """Whether one more may begin while so many last."""
        return active < _FAULTS_MAX

    def _kinds(self) -> List[Callable[[float], Tuple[float, Callable[[], None]]]]:
        """What may happen: each is given the seconds left, begins, and tells how long it lasts and how it ends."""
        if isinstance(self._cluster, NetworkedCluster):
            cuts = [self._isolate, self._isolate_and_kill, self._cut_one_way, self._cut_pair]
            return [self._kill, self._pause, *cuts]
        return [self._kill, self._pause]

    def heal(self) -> None:
        """Mend everything."""
        self._mend(float("inf"))

    def _mend(self, now: float) -> None:
        due = [mend for ends, mend in self._active if ends <= now]
        self._active = [(ends, mend) for ends, mend in self._active if ends > now]
        for mend in due:
            mend()

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _take(self) -> int:
        """A node to which nothing happens that ends with a signal."""
        index = self._random.choice([i for i in range(len(self._cluster.nodes)) if i not in self._busy])
        self._busy.add(index)
        return index

    def _kill(self, _left: float) -> Tuple[float, Callable[[], None]]:
        index = self._take()
        self._count("kills")
        self.killed.add(self._cluster.nodes[index].node)
        self._cluster.kill(index)

        def restart() -> None:
            self._cluster.restart(index)
            self._busy.discard(index)

        return self._random.uniform(0.1, 1.5), restart

    def _pause(self, left: float) -> Tuple[float, Callable[[], None]]:
        index = self._take()
        self._count("pauses")
        self._cluster.pause(index)

        def resume() -> None:
            self._cluster.resume(index)
            self._busy.discard(index)

        return self._random.uniform(0.2, max(0.3, min(PAUSE_SECONDS_MAX, left))), resume

    def _isolate(self, left: float) -> Tuple[float, Callable[[], None]]:
        return self._cut("isolations", self._links_of(self._random.randrange(len(self._cluster.nodes))), left)

    def _isolate_and_kill(self, left: float) -> Tuple[float, Callable[[], None]]:
        """What it acknowledges in the meantime is lost."""
        index = self._take()
        lasts, heal = self._cut("lonely deaths", self._links_of(index), min(left, 2.0))

        def replace() -> None:
            self.killed.add(self._cluster.nodes[index].node)
            self._cluster.kill(index)
            heal()
            self._cluster.restart(index)
            self._busy.discard(index)

        return lasts, replace

    def _links_of(self, index: int) -> List[Tuple[int, int]]:
        others = [other for other in range(len(self._cluster.nodes)) if other != index]
        return [(index, other) for other in others] + [(other, index) for other in others]

    def _cut_one_way(self, left: float) -> Tuple[float, Callable[[], None]]:
        sender, receiver = self._random.sample(range(len(self._cluster.nodes)), 2)
        return self._cut("one-way cuts", [(sender, receiver)], left)

    def _cut_pair(self, left: float) -> Tuple[float, Callable[[], None]]:
        one, other = self._random.sample(range(len(self._cluster.nodes)), 2)
        return self._cut("partial cuts", [(one, other), (other, one)], left)

    def _cut(self, kind: str, pairs: List[Tuple[int, int]], left: float) -> Tuple[float, Callable[[], None]]:
        assert isinstance(self._cluster, NetworkedCluster)
        network = self._cluster.network
        self._count(kind)
        for sender, receiver in pairs:
            network.cut(sender, receiver)

        def heal() -> None:
            for sender, receiver in pairs:
                network.heal(sender, receiver)

        return self._random.uniform(0.3, max(0.5, min(PAUSE_SECONDS_MAX, left))), heal

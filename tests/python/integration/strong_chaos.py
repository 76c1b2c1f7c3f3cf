"""Faults that look for the leader, and clients whose calls are recorded while they happen."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

import kvstore

from .chaos import Faults
from .network import NetworkedCluster
from .strong import leader_of
from .strong_history import Store

if TYPE_CHECKING:
    from .harness import Cluster

# How often a fault is meant for the leader, if somebody leads.
_LEADER_SHARE = 0.7

# How often a second fault begins while one lasts, each time there may be one.
_OVERLAP_SHARE = 0.15

# Longer than it takes to elect another one.
_PAUSE_SECONDS = (2.0, 4.0)
_DOWN_SECONDS = (0.1, 2.0)
_CUT_SECONDS = (1.5, 4.0)

# What a condition that does not hold is told as. Other conflicts would be mistakes of these tests.
_CONDITION_CODES = ("VERSION_CONFLICT", "KEY_EXISTS")

_Mend = Callable[[], None]


class ConditionError(Exception):
    """A compare-and-set found another version, or None, in place of the expected one."""

    def __init__(self, found: Optional[int]) -> None:
        super().__init__(found)
        self.found = found


def recorded(client: kvstore.Client[Any]) -> Store:
    """A client as the recorder wants it."""

    def get(key: str) -> Optional[Tuple[int, Optional[int]]]:
        entry = client.entry(key)
        return None if entry is None else (entry.value, entry.version)

    def cas(key: str, expected: Optional[int], value: int) -> int:
        condition: Dict[str, Any] = {"if_absent": True} if expected is None else {"if_version": expected}
        try:
            return client.put(key, value, **condition)
        except kvstore.ConflictError as error:
            if error.code not in _CONDITION_CODES or error.maybe_applied:
                raise
            raise ConditionError(error.current_version) from error

    return Store(get=get, put=client.put, delete=client.delete, cas=cas, incr=client.incr, conflicts=(ConditionError,))


class Pace:
    """Lets each of some workers make a call about every `seconds`, until it is stopped."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = threading.Event()

    def __call__(self) -> bool:
        """Wait for the next call; False: no more."""
        return not self._ends.wait(random.uniform(0, 2 * self._seconds))

    def stop(self) -> None:
        """No more calls."""
        self._ends.set()


class LeaderFaults(Faults):
    """Kills, pauses and cuts, most of which hit the leader; now and then two of them overlap."""

    _between = (0.3, 1.2)

    def __init__(self, cluster: Cluster, seed: int) -> None:
        super().__init__(cluster, seed)
        self.last_end = time.monotonic()
        self.timeline: List[str] = []
        self._began = time.monotonic()

    def _has_room(self, active: int) -> bool:
        # Of three nodes two are then gone, mostly: nothing can be done until one is back.
        return active == 0 or (active == 1 and self._random.random() < _OVERLAP_SHARE)

    def _kinds(self) -> List[Callable[[float], Tuple[float, _Mend]]]:
        kinds: List[Callable[[float], Tuple[float, _Mend]]] = [self._kill, self._pause]
        if isinstance(self._cluster, NetworkedCluster):
            kinds += [self._isolate, self._cut_one_way, self._cut_pair]
        return kinds

    def heal(self) -> None:
        """Mend everything, and remember when."""
        super().heal()
        self.last_end = time.monotonic()
        self._note("all is mended")

    def _aim(self) -> Tuple[int, str]:
        """A node to hit that is not hit by a signal already, and what it is."""
        leader = leader_of(self._cluster)
        index = self._random.choice([i for i in range(len(self._cluster.nodes)) if i not in self._busy])
        if leader is not None and leader not in self._busy and self._random.random() < _LEADER_SHARE:
            index = leader
        self._note(f"node {index} is hit, {leader} leads")
        return index, "of the leader" if index == leader else "of others"

    def _note(self, what: str) -> None:
        self.timeline.append(f"{time.monotonic() - self._began:7.2f} s: {what}")

    def _count(self, kind: str) -> None:
        super()._count(kind)
        self._note(kind)

    def _kill(self, _left: float) -> Tuple[float, _Mend]:
        index, what = self._aim()
        self._busy.add(index)
        self._count(f"kills {what}")
        self._cluster.kill(index)

        def restart() -> None:
            self._cluster.restart(index)
            self._busy.discard(index)

        return self._random.uniform(*_DOWN_SECONDS), restart

    def _pause(self, _left: float) -> Tuple[float, _Mend]:
        index, what = self._aim()
        self._busy.add(index)
        self._count(f"pauses {what}")
        self._cluster.pause(index)

        def resume() -> None:
            self._cluster.resume(index)
            self._busy.discard(index)

        return self._random.uniform(*_PAUSE_SECONDS), resume

    def _isolate(self, _left: float) -> Tuple[float, _Mend]:
        index, what = self._aim()
        return self._cut(f"isolations {what}", self._links_of(index), 0)

    def _cut_one_way(self, _left: float) -> Tuple[float, _Mend]:
        """Either nobody hears the node, or it hears nobody."""
        index, what = self._aim()
        says = self._random.random() < 0.5
        links = [link for link in self._links_of(index) if (link[0] == index) == says]
        return self._cut(f"one-way cuts {what}", links, 0)

    def _cut_pair(self, _left: float) -> Tuple[float, _Mend]:
        """The third node is a bridge between them."""
        index, what = self._aim()
        other = self._random.choice([i for i in range(len(self._cluster.nodes)) if i != index])
        return self._cut(f"partial cuts {what}", [(index, other), (other, index)], 0)

    def _cut(self, kind: str, pairs: List[Tuple[int, int]], left: float) -> Tuple[float, _Mend]:
        _, heal = super()._cut(kind, pairs, left)
        self._note(f"nothing arrives from -> at {', '.join(f'{one} -> {other}' for one, other in pairs)}")
        return self._random.uniform(*_CUT_SECONDS), heal

"""`node.get` and `node.put` inside a process against a Python dict under an RLock with versions and times."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, Callable, Dict, Iterator, List, Tuple

from measure import Row, compare, rate_of

import kvstore
from kvstore.cli.processes import start_cluster, stop_all

KEYS = 10_000
GETS = 300_000
PUTS = 100_000
VALUE = b"x" * 100
CONNECT_SECONDS = 20.0


class LockedDict:
    """What a program would write for itself: a dict under an RLock, with a version and a time for each value."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: Dict[str, Tuple[bytes, int, Tuple[int, int]]] = {}
        self._version = 0

    def get(self, key: str) -> Tuple[bytes, int, Tuple[int, int]] | None:
        """The value with its version and time."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: str, value: bytes) -> int:
        """Store; the new version."""
        with self._lock:
            self._version += 1
            self._entries[key] = (value, self._version, (time.time_ns() // 1_000_000, self._version))
            return self._version


def run(rounds: int) -> List[Row]:
    """Both comparisons, on a node with two connected peers in other processes."""
    with _node_with_peers() as node:
        return _compare(node, rounds)


def rates(rounds: int = 5) -> Dict[str, float]:
    """Calls a second on such a node, without anything to compare with, the median of some rounds: gets, puts, and puts
    counted until both peers have acknowledged the last of them.

    Not the best of them: with three nodes on two cores, that is the round in which the writer had a core to itself
    because the peers got none, and it was best where replication was slowest.
    """
    with _node_with_peers() as node:
        keys = [f"bench:{number:08}" for number in range(KEYS)]
        _put_rate(node, keys)
        gets, puts, replicated = [], [], []
        for _ in range(rounds):
            _until(lambda: not any(peer.unacknowledged for peer in node.status().peers))
            gets.append(_get_rate(node, keys))
        for _ in range(rounds):
            _until(lambda: not any(peer.unacknowledged for peer in node.status().peers))
            began = time.perf_counter()
            puts.append(_put_rate(node, keys))
            _until(lambda: not any(peer.unacknowledged for peer in node.status().peers))
            replicated.append(PUTS / (time.perf_counter() - began))
        median = statistics.median
        return {"get": median(gets), "put": median(puts), "replicated put": median(replicated)}


@contextmanager
def _node_with_peers() -> Iterator[kvstore.Node]:
    peers = start_cluster(2)
    try:
        with kvstore.Node(0, [peer.address for peer in peers]) as node:
            _until(lambda: sum(member.connected for member in node.members()) == len(peers) + 1)
            yield node
    finally:
        stop_all(peers)


def _compare(node: kvstore.Node, rounds: int) -> List[Row]:
    plain = LockedDict()
    keys = [f"bench:{number:08}" for number in range(KEYS)]
    for key in keys:
        node.put(key, VALUE)
        plain.put(key, VALUE)
    gets: List[Tuple[float, float]] = []
    puts: List[Tuple[float, float]] = []
    for _ in range(rounds):
        _until(lambda: not any(peer.unacknowledged for peer in node.status().peers))
        gets.append((_get_rate(node, keys), _get_rate(plain, keys)))
    # Replication of one round of puts would run into the next round of gets.
    for _ in range(rounds):
        _until(lambda: not any(peer.unacknowledged for peer in node.status().peers))
        puts.append((_put_rate(node, keys), _put_rate(plain, keys)))
    mine, theirs = zip(*gets)
    put_mine, put_theirs = zip(*puts)
    return [
        compare("in-process get, 100 B", "dict + RLock, tuple", mine, theirs, unit="/s", target=1.0),
        compare("in-process put, 2 peers", "dict + RLock, tuple", put_mine, put_theirs, unit="/s", target=0.5),
    ]


def _get_rate(store: Any, keys: List[str]) -> float:
    def gets(count: int) -> None:
        get = store.get
        for key in islice(cycle(keys), count):
            get(key)

    return rate_of(gets, GETS)


def _put_rate(store: Any, keys: List[str]) -> float:
    def puts(count: int) -> None:
        put = store.put
        for key in islice(cycle(keys), count):
            put(key, VALUE)

    return rate_of(puts, PUTS)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CONNECT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            msg = f"not within {CONNECT_SECONDS:.0f} s: the peers are connected and have acknowledged everything"
            raise TimeoutError(msg)
        threading.Event().wait(0.01)

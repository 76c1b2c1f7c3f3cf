"""Random writers and what they may expect afterwards: the oracle of the churn test.

Each key has one writer, and a writer's calls follow one another, so the stamps of a key's writes grow in the order of
its `Write`s. After the nodes have become equal a key may show any write from its last safe one on:

* safe: acknowledged by a node that was not killed since the nodes were last seen equal;
* possibly lost: acknowledged by a node that was killed since (memory dies with its process, and an acknowledgement does
  not wait for peers), or never answered;
* possibly late, when nodes are paused too: one that was never answered may be applied when its node goes on, after, and
  so above, writes that were acknowledged by others in the meantime;
* a write that failed for certain must never be seen, nor one older than the last safe write: no deleted key comes back.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set

import kvstore

from .harness import Cluster, eventually

# A call may wait until its killed node is there again; one that takes longer than this is a bug.
CALL_SECONDS = 30.0

# Stamps of different nodes on one machine are in order when the writes are this far apart.
_CLOCK_STEP_SECONDS = 0.005


class Write(NamedTuple):
    """One write of a key: its number (growing, unique in its writer), and who acknowledged it, if anybody did."""

    number: int
    is_delete: bool
    acknowledged_by: Optional[str]


# How a key looks before its first write.
NOTHING_WRITTEN = Write(number=0, is_delete=True, acknowledged_by="")


class Model:
    """What one writer knows of its keys. Not thread-safe: asked only while its writer rests."""

    def __init__(self) -> None:
        self.writes: Dict[str, List[Write]] = {}

    def record(self, key: str, write: Write) -> None:
        """A write that was, or may have been, applied."""
        self.writes.setdefault(key, []).append(write)

    def settle(self, key: str, shown: Optional[int], killed: Set[str], *, paused: bool = False) -> Optional[str]:
        """Check what equal nodes show of a key, and take it as the safe truth from here on.

        Args:
            key: The key.
            shown: The number of the write that they show; None: they have no such key.
            killed: Nodes killed since the last time.
            paused: Whether nodes were paused since.

        Returns:
            What is wrong, or None.
        """
        writes = self.writes.get(key, [])
        safe = [place for place, write in enumerate(writes) if write.acknowledged_by not in killed | {None}]
        # Without a safe write, the key may also look as if none of them had happened.
        candidates = writes[safe[-1] :] if safe else [NOTHING_WRITTEN, *writes]
        if paused and safe:
            candidates = candidates + [write for write in writes[: safe[-1]] if write.acknowledged_by is None]
        for write in candidates:
            if (shown is None and write.is_delete) or (write.number == shown and not write.is_delete):
                self.writes[key] = [Write(write.number, write.is_delete, "")]
                return None
        return f"{key}: the nodes show {shown}, allowed was one of {candidates}"


class Writer(threading.Thread):
    """Puts and deletes keys of its own at random, through one node after another."""

    def __init__(self, number: int, seed: int, keys: int, cluster: Cluster, gate: Gate) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.model = Model()
        self.keys = [f"churn/{number}/{key}" for key in range(keys)]
        self.error: Optional[BaseException] = None
        self.acknowledged = 0
        self._random = random.Random(f"{seed}/{number}")
        self._cluster, self._gate = cluster, gate
        self._clients = [kvstore.Client(node.address, timeout=CALL_SECONDS, discover=False) for node in cluster.nodes]
        self._last_number = 0

    def run(self) -> None:
        """Write until the gate says that it is over."""
        try:
            while self._gate.pass_through():
                self._write_some(self._random.randrange(len(self._clients)), self._random.randint(20, 200))
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.error = error
        finally:
            self._gate.leave()
            for client in self._clients:
                client.close()

    def _write_some(self, index: int, count: int) -> None:
        """Write through one node until `count` is reached or the node fails."""
        self._let_the_clock_step()
        for _ in range(count):
            if self._gate.is_closed or not self._write(index):
                return

    def _write(self, index: int) -> bool:
        key = self._random.choice(self.keys)
        is_delete = self._random.random() < 0.3
        self._last_number += 1
        # Taken before the call: if the node is killed and replaced meanwhile, this counts as the killed one's.
        node = self._cluster.nodes[index].node
        try:
            self._send(self._clients[index], key, is_delete=is_delete)
        except kvstore.UnavailableError as error:
            if error.maybe_applied:
                self.model.record(key, Write(self._last_number, is_delete, None))
            return False
        self.model.record(key, Write(self._last_number, is_delete, node))
        self.acknowledged += 1
        return True

    def _send(self, client: kvstore.Client[Any], key: str, *, is_delete: bool) -> None:
        if is_delete:
            client.delete(key)
        else:
            client.put(key, self._last_number)

    def _let_the_clock_step(self) -> None:
        now = time.time()
        eventually(lambda: time.time() > now + _CLOCK_STEP_SECONDS, "the clock goes on")


class Gate:
    """Lets writers run, makes all of them rest, lets them go for good."""

    def __init__(self, writers: int) -> None:
        self._changed = threading.Condition()
        self._open = True
        self._over = False
        self._running = writers

    @property
    def is_closed(self) -> bool:
        """Whether writers are to come to the gate."""
        return not self._open

    def pass_through(self) -> bool:
        """Rest here while the gate is closed; False when it is over."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or self._over)
            self._running += 1
            return not self._over

    def leave(self) -> None:
        """A writer that will not come back."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Make all writers rest."""
        with self._changed:
            self._open = False
            assert self._changed.wait_for(lambda: self._running == 0, timeout), "the writers came to rest"

    def open(self) -> None:
        """Let them go on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def end(self) -> None:
        """Let them go home."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

"""Loads a table through several nodes at once, and keeps account of which node acknowledged what."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Deque, Dict, Iterator, List, Optional, Sequence, Set

import kvstore
from kvstore.cli.exits import DEADLINE, INTERNAL, Failure

if TYPE_CHECKING:
    from kvstore.cli.progress import Advance

    from .characters import Table

# Small enough that a kill hits many batches on their way, large enough that calls cost little.
BATCH_ENTRIES = 250


class Load:
    """A table on its way into a cluster: one writer a node, all from one queue of batches.

    A batch whose node dies goes back into the queue and is written through another: writing an entry twice changes
    nothing, and an entry that nobody acknowledged must not be forgotten.
    """

    def __init__(self, table: Table, advance: Advance) -> None:
        self._queue: Deque[Table] = deque(batches(table))
        self._advance = advance
        self._total = len(table)
        # Guards everything below.
        self._changed = threading.Condition()
        self._acknowledged_by: Dict[str, Set[str]] = {}
        self._errors: Dict[str, kvstore.KVError] = {}
        self._writers: List[threading.Thread] = []
        self.seconds: float = 0.0

    @property
    def acknowledged(self) -> int:
        """Entries acknowledged so far."""
        with self._changed:
            return self._count()

    def start(self, addresses: Sequence[str]) -> None:
        """Begin to write through these nodes."""
        self._began = time.perf_counter()
        self._acknowledged_by = {address: set() for address in addresses}
        self._writers = [
            threading.Thread(target=self._write_through, args=[address], name=f"demo-{address}", daemon=True)
            for address in addresses
        ]
        for writer in self._writers:
            writer.start()

    def wait_for(self, entries: int, timeout: float) -> None:
        """Wait until so many entries are acknowledged.

        Raises:
            Failure: It takes longer than `timeout` seconds, or a node failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count() >= entries or self._errors, timeout)
            self._refuse_errors(but=None)
            if self._count() < entries:
                msg = f"only {self._count():,} of {entries:,} entries were acknowledged within {timeout:.0f} s"
                raise Failure(msg, DEADLINE)

    def finish(self, killed: str, survivor: str, timeout: float) -> None:
        """Wait for the end; what the killed node left over is written through `survivor`.

        Raises:
            Failure: It takes longer than `timeout` seconds, or another node than the killed one failed.
        """
        deadline = time.monotonic() + timeout
        for writer in self._writers:
            writer.join(max(deadline - time.monotonic(), 0.0))
            if writer.is_alive():
                msg = f"the entries were not written within {timeout:.0f} s"
                raise Failure(msg, DEADLINE)
        self._refuse_errors(but=killed)
        # A batch can come back from the killed node after the other writers have found the queue empty.
        self._write_through(survivor)
        self._refuse_errors(but=killed)
        self.seconds = time.perf_counter() - self._began

    def acknowledged_by(self, address: str) -> Set[str]:
        """The keys that this node acknowledged."""
        return self._acknowledged_by[address]

    def _write_through(self, address: str) -> None:
        with kvstore.Client(address, discover=False) as client:
            while True:
                batch = self._take()
                if batch is None:
                    return
                try:
                    client.put_many(batch)
                except kvstore.KVError as error:
                    self._give_back(address, batch, error)
                    return
                self._acknowledge(address, batch)

    def _take(self) -> Optional[Table]:
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def _give_back(self, address: str, batch: Table, error: kvstore.KVError) -> None:
        with self._changed:
            self._queue.append(batch)
            self._errors[address] = error
            self._changed.notify_all()

    def _acknowledge(self, address: str, batch: Table) -> None:
        with self._changed:
            self._acknowledged_by[address].update(batch)
            self._advance(len(batch))
            self._changed.notify_all()

    def _count(self) -> int:
        return sum(map(len, self._acknowledged_by.values()))

    def _refuse_errors(self, but: Optional[str]) -> None:
        for address, error in self._errors.items():
            if address != but:
                msg = f"{address}: {error}"
                raise Failure(msg, INTERNAL) from error


def batches(table: Table) -> Iterator[Table]:
    """The table in parts that fit into one call."""
    rows = iter(table.items())
    while True:
        batch = dict(islice(rows, BATCH_ENTRIES))
        if not batch:
            return
        yield batch

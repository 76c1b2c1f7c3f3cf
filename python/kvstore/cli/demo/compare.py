"""Are the nodes the same? Asked twice: by their digests, and entry by entry."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from itertools import zip_longest
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Set

import kvstore
from kvstore.cli.exits import DEADLINE, INTERNAL, Failure
from kvstore.cli.values import STORED, decode

if TYPE_CHECKING:
    from .characters import Table

# How often a condition is looked at: it bounds how exact the measured times are.
_LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> float:
    """Wait for a condition.

    Returns:
        The seconds it took.

    Raises:
        Failure: It did not come within `timeout` seconds; the text says what did not.
    """
    began = time.perf_counter()
    pause = threading.Event()
    while not condition():
        if time.perf_counter() - began > timeout:
            msg = f"{what} not within {timeout:.0f} s"
            raise Failure(msg, DEADLINE)
        pause.wait(_LOOK_SECONDS)
    return time.perf_counter() - began


def digests_agree(addresses: Sequence[str]) -> bool:
    """Whether all nodes hold the same number of keys and report the same digest of each partition."""
    with ExitStack() as stack:
        clients = [stack.enter_context(kvstore.Client(address, discover=False)) for address in addresses]
        if len({client.status().keys for client in clients}) > 1:
            # Digests read every record; there is no need to ask for them yet.
            return False
        return len({tuple(client.status(digests=True).digests) for client in clients}) == 1


def first_difference(addresses: Sequence[str]) -> Optional[str]:
    """Compare every entry of every node: keys, values, flags, versions, times. None when all are equal."""
    with ExitStack() as stack:
        clients = [stack.enter_context(kvstore.Client(address, codec=STORED, discover=False)) for address in addresses]
        for entries in zip_longest(*(client.scan() for client in clients)):
            if any(entry != entries[0] for entry in entries):
                shown = "; ".join(f"{address}: {entry}" for address, entry in zip(addresses, entries))
                return f"the nodes differ: {shown}"
    return None


def missing_keys(address: str, table: Table) -> Set[str]:
    """Keys of the table that the node lacks.

    Raises:
        Failure: It has a key or a value that was never written.
    """
    missing = set(table)
    with kvstore.Client(address, codec=STORED, discover=False) as client:
        for entry in client.scan():
            if table.get(entry.key) != decode(entry.value):
                msg = f"{address} has {entry.key!r} with a value that was never written: {entry}"
                raise Failure(msg, INTERNAL)
            missing.discard(entry.key)
    return missing


def conflicts(addresses: Sequence[str]) -> int:
    """Acknowledged writes that lost a race, as all nodes report them."""
    total: List[int] = []
    for address in addresses:
        with kvstore.Client(address, discover=False) as client:
            total.append(client.status().conflicts)
    return sum(total)

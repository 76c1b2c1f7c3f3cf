"""latency: how long a call takes, and how long a write takes to the other nodes, as this process sees it."""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Dict, Final, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import click

import kvstore

from .exits import DEADLINE, UNAVAILABLE, Failure
from .output import Column, print_records, text_of
from .settings import Settings, verb
from .values import Stored, encode

if TYPE_CHECKING:
    from concurrent.futures import Future

_KEY: Final = "kvstore-latency"
_CALLS: Final = 100
_ROUNDS: Final = 10
_GONE: Final = ("left", "removed")
_BAR_CELLS: Final = 40
_MATRIX_TTL: Final = 60.0
"""When a key of --matrix ends by itself, should this process be killed before it deletes it."""


class _Target(NamedTuple):
    """A target and how long calls to it took, in seconds and sorted, or why there are none."""

    address: str
    took: List[float]
    problem: Optional[str]


@verb()
@click.option("-n", "calls", type=click.IntRange(1, 1_000_000), help="Calls to each; 100, writes of --matrix: 10.")
@click.option("--members", is_flag=True, help="To every member of the cluster, not only to those of -s.")
@click.option("--hist", is_flag=True, help="Print how many calls took how long.")
@click.option("--matrix", is_flag=True, help="Print how long a write at one member takes to be seen at another.")
def latency(settings: Settings, *, calls: Optional[int], members: bool, hist: bool, matrix: bool) -> None:
    """Measure round trips to each target: one call after the other, which asks for a key that is not there.

    Times are in milliseconds and include what this client takes itself. With --matrix, a row is where a key was
    written and a column where a local read saw it, from the beginning of the write, to within a round trip; it writes
    keys of its own. Exit 3 when a target does not answer.
    """
    if matrix and hist:
        msg = "--matrix and --hist: one at a time"
        raise click.UsageError(msg)
    if matrix:
        _print_matrix(settings, _members(settings), calls or _ROUNDS)
        return
    addresses = _members(settings) if members else settings.targets
    found = [_measure(settings, address, calls or _CALLS) for address in addresses]
    if hist:
        print_records(settings, "histogram", _HIST_COLUMNS, _histograms(found))
    else:
        print_records(settings, "targets", _COLUMNS, map(_record_of, found))
    silent = [f"{target.address}: {target.problem}" for target in found if target.problem is not None]
    if silent:
        raise Failure("; ".join(silent), UNAVAILABLE)


def _members(settings: Settings) -> List[str]:
    with settings.client() as client:
        return [member.address for member in client.members() if member.state not in _GONE]


def _measure(settings: Settings, address: str, calls: int) -> _Target:
    key = f"{_KEY}/{secrets.token_hex(8)}"
    took = []
    try:
        with settings.client(address) as client:
            # The first call connects.
            client.exists(key)
            for _ in range(calls):
                began = time.perf_counter()
                client.exists(key)
                took.append(time.perf_counter() - began)
    except kvstore.KVError as error:
        return _Target(address, sorted(took), str(error))
    return _Target(address, sorted(took), None)


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The least of the values that so many are not above; `ordered` is not empty."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def _record_of(target: _Target) -> Dict[str, Any]:
    record: Dict[str, Any] = {"target": target.address, "calls": len(target.took), "problem": target.problem}
    for name, fraction in _FRACTIONS.items():
        record[name] = quantile(target.took, fraction) * 1000 if target.took else None
    return record


_FRACTIONS: Final = {"min_ms": 0.0, "p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}


def _ms_column(name: str, title: Optional[str] = None) -> Column:
    def show(record: Mapping[str, Any]) -> str:
        return "-" if record[name] is None else f"{record[name]:.3f}"

    return Column(title or name.upper().replace("_", " "), show, right=True)


_COLUMNS: Final = [
    Column("TARGET", text_of("target")),
    Column("CALLS", lambda record: f"{record['calls']:,}", right=True),
    *(_ms_column(name) for name in _FRACTIONS),
]


# ----------------------------------------------------------------------------------------------------- histogram
def histogram(took: Sequence[float]) -> List[Tuple[float, int]]:
    """How many values, in seconds, were above the bound before and not above this one; bounds are powers of 2 in us."""
    if not took:
        return []
    counts = Counter(max(0, math.ceil(math.log2(max(value * 1e6, 1.0)))) for value in took)
    return [(2.0**power / 1e6, counts[power]) for power in range(min(counts), max(counts) + 1)]


def _histograms(targets: Sequence[_Target]) -> Iterator[Mapping[str, Any]]:
    for target in targets:
        for bound, count in histogram(target.took):
            share = count / len(target.took)
            yield {"target": target.address, "up_to_ms": bound * 1000, "calls": count, "share": share}


_HIST_COLUMNS: Final = [
    Column("TARGET", text_of("target")),
    _ms_column("up_to_ms"),
    Column("CALLS", lambda record: f"{record['calls']:,}", right=True),
    Column("SHARE", lambda record: "#" * round(record["share"] * _BAR_CELLS)),
]


# -------------------------------------------------------------------------------------------------------- matrix
def _print_matrix(settings: Settings, addresses: List[str], rounds: int) -> None:
    as_json = settings.format in {"json", "jsonl"}
    columns = [Column("WRITTEN AT", text_of("written_at")), *(_ms_column(address) for address in addresses)]
    with contextlib.ExitStack() as stack:
        clients = {address: stack.enter_context(settings.client(address)) for address in addresses}
        pool = stack.enter_context(ThreadPoolExecutor(len(addresses)))
        spread = _Spread(clients, pool, settings.timeout)
        rows = ((address, spread.measure(address, rounds)) for address in addresses)
        print_records(settings, "matrix", columns, (_row(*row) if as_json else _cells(*row) for row in rows))


def _row(written_at: str, seen: Mapping[str, float]) -> Mapping[str, Any]:
    return {"written_at": written_at, "seen": [{"at": address, "p50_ms": ms} for address, ms in seen.items()]}


def _cells(written_at: str, seen: Mapping[str, float]) -> Mapping[str, Any]:
    return {"written_at": written_at, **seen}


class _Spread(NamedTuple):
    """Writes at one node and looks at all."""

    clients: Mapping[str, kvstore.Client[Stored]]
    pool: ThreadPoolExecutor
    timeout: float

    def measure(self, row: str, rounds: int) -> Dict[str, float]:
        """Milliseconds, of all rounds the median, from a write at `row` until each of the clients reads it."""
        key = f"{_KEY}/{secrets.token_hex(8)}"
        took: Dict[str, List[float]] = {address: [] for address in self.clients}
        try:
            for number in range(rounds):
                for address, seconds in self._round(row, key, encode(number)).items():
                    took[address].append(seconds)
        finally:
            self.clients[row].delete(key)
        return {address: quantile(sorted(values), 0.5) * 1000 for address, values in took.items()}

    def _round(self, row: str, key: str, value: Stored) -> Dict[str, float]:
        given_up = threading.Event()
        ends = time.perf_counter() + self.timeout
        seen: Dict[str, Future[float]] = {
            address: self.pool.submit(_seen, client, key, value, ends, given_up)
            for address, client in self.clients.items()
        }
        try:
            began = time.perf_counter()
            self.clients[row].put(key, value, ttl=_MATRIX_TTL)
            return {address: future.result() - began for address, future in seen.items()}
        finally:
            # Where the write or a reader has failed, nobody needs to wait for the others.
            given_up.set()


def _seen(client: kvstore.Client[Stored], key: str, value: Stored, ends: float, given_up: threading.Event) -> float:
    """When a local read has the value."""
    while client.get(key, read="local") != value:
        if given_up.is_set() or time.perf_counter() >= ends:
            msg = f"{client!r} has not seen the write in time"
            raise Failure(msg, DEADLINE)
    return time.perf_counter()

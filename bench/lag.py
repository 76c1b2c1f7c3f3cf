"""Replication lag of three nodes at half of the load they can take."""

from __future__ import annotations

import statistics
import threading
import time
from typing import List

from measure import Row

import kvstore
import kvstore.bench
from kvstore.cli.processes import start_cluster, stop_all

VALUE = b"x" * 100
FULL_SECONDS = 3.0
HALF_SECONDS = 3.0
BURST_SECONDS = 0.005
BATCH_MAX = 4000
TARGET_MS = 5.0


def run(rounds: int) -> List[Row]:
    """The p99 from a write to its acknowledgement by a peer, at half of the highest rate of puts."""
    nodes = start_cluster(3)
    try:
        p99s: List[float] = []
        for _ in range(rounds):
            full = _full_rate(nodes[0].address)
            with nodes[0].client() as client:
                _write_at(client, full / 2)
                p99s.append(client.status().lag.p99 * 1000)
    finally:
        stop_all(nodes)
    p99 = statistics.median(p99s)
    note = f"at {full / 2:,.0f} puts/s in bursts of {BURST_SECONDS * 1000:.0f} ms; {min(p99s):.2f}-{max(p99s):.2f} ms"
    return [
        Row("replication lag p99, half load", "-", p99, None, "ms", None, f"< {TARGET_MS:g} ms", p99 < TARGET_MS, note)
    ]


def _full_rate(address: str) -> float:
    report = kvstore.bench.run(address, "put", concurrency=64, seconds=FULL_SECONDS, value_bytes=len(VALUE))
    if report.put is None or report.first_error is not None:
        msg = f"the load failed: {report.first_error}"
        raise RuntimeError(msg)
    return report.put.per_second


def _write_at(client: kvstore.Client[bytes], rate: float) -> None:
    """Write at this rate in bursts, which is harder than an even stream."""
    burst = min(max(int(rate * BURST_SECONDS), 1), BATCH_MAX)
    keys = [f"lag:{number:08}" for number in range(100_000)]
    began = time.perf_counter()
    sent = 0
    while time.perf_counter() - began < HALF_SECONDS:
        first = sent % (len(keys) - burst)
        client.put_many(dict.fromkeys(keys[first : first + burst], VALUE))
        sent += burst
        pause = began + sent / rate - time.perf_counter()
        if pause > 0:
            threading.Event().wait(pause)

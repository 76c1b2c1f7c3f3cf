"""Figures a second, out of two looks at the metrics of a node, over the time that really passed between them.

A node does not count calls, so there are no calls a second. What it counts are keys, the transactions of strong
keyspaces, bytes from peers, and what happened to keys by themselves.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, Mapping, NamedTuple, Optional

from .output import Column, human_bytes, human_seconds

if TYPE_CHECKING:
    import kvstore

    from .values import Stored

_RATES: Final = {
    "keys_per_second": "kvstore_keys",
    "commits_per_second": "kvstore_group_revision",
    "change_bytes_per_second": 'kvstore_transferred_bytes_total{kind="changes"}',
    "state_bytes_per_second": 'kvstore_transferred_bytes_total{kind="state"}',
    "expired_per_second": "kvstore_expired_total",
    "conflicts_per_second": "kvstore_conflicts_total",
    "syncs_per_second": "kvstore_log_syncs_total",
}
_MAY_FALL: Final = ("keys_per_second",)
_UPTIME: Final = "kvstore_uptime_seconds"
_UNACKNOWLEDGED: Final = "kvstore_peer_unacknowledged"
_LAG: Final = 'kvstore_replication_lag_seconds{quantile="0.99"}'
_LAG_SAMPLES: Final = "kvstore_replication_lag_samples"


class Look(NamedTuple):
    """The metrics of a node, and when they were asked for, on a clock that only goes forward."""

    at: float
    figures: Mapping[str, float]


def look(client: kvstore.Client[Stored]) -> Look:
    """Ask for the metrics; the moment is the middle of the call."""
    began = time.monotonic()
    figures = client.metrics()
    return Look((began + time.monotonic()) / 2, figures)


def record_of(before: Look, after: Look) -> Dict[str, Any]:
    """What a line of `stat` and `top` says; a rate is None where a node has no such figure, or was restarted."""
    passed = after.at - before.at
    record: Dict[str, Any] = {
        "seconds": passed,
        "keys": int(after.figures["kvstore_keys"]),
        "bytes": int(after.figures["kvstore_bytes"]),
        "memory": int(after.figures["kvstore_memory_bytes"]),
        "behind": int(sum(value for name, value in after.figures.items() if name.startswith(_UNACKNOWLEDGED))),
        "lag_p99": after.figures[_LAG] if after.figures.get(_LAG_SAMPLES) else None,
    }
    restarted = after.figures[_UPTIME] < before.figures[_UPTIME]
    for name, series in _RATES.items():
        record[name] = None if restarted else _rate(name, before.figures.get(series), after.figures.get(series), passed)
    return record


def empty_record() -> Dict[str, Any]:
    """As `record_of`, of a node that says nothing."""
    return dict.fromkeys(("seconds", "keys", "bytes", "memory", "behind", "lag_p99", *_RATES))


def _rate(name: str, before: Optional[float], after: Optional[float], passed: float) -> Optional[float]:
    if before is None or after is None or passed <= 0:
        return None
    # A count that has fallen is one that began anew.
    return None if after < before and name not in _MAY_FALL else (after - before) / passed


def _column(title: str, name: str, show: Callable[[float], str]) -> Column:
    return Column(title, lambda record: "-" if record[name] is None else show(record[name]), right=True, field=name)


COLUMNS: Final = [
    _column("KEYS", "keys", "{:,}".format),
    _column("KEYS/S", "keys_per_second", "{:+,.0f}".format),
    _column("SIZE", "bytes", human_bytes),
    _column("MEMORY", "memory", human_bytes),
    _column("COMMITS/S", "commits_per_second", "{:,.0f}".format),
    _column("CHANGES/S", "change_bytes_per_second", human_bytes),
    _column("STATE/S", "state_bytes_per_second", human_bytes),
    _column("EXPIRED/S", "expired_per_second", "{:,.0f}".format),
    _column("CONFLICTS/S", "conflicts_per_second", "{:,.0f}".format),
    _column("SYNCS/S", "syncs_per_second", "{:,.0f}".format),
    _column("BEHIND", "behind", "{:,}".format),
    _column("LAG P99", "lag_p99", human_seconds),
]

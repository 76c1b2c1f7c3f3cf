"""The load loop, which runs in native code: a load generator in Python measures itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Literal, NamedTuple, Optional

if TYPE_CHECKING:
    from kvstore._options import Target

__all__ = ["LoadReport", "WorkReport", "run"]


class WorkReport(NamedTuple):
    """One kind of operation: how many, and how long they took in milliseconds."""

    operations: int
    errors: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class LoadReport(NamedTuple):
    """What a load run measured; `get` or `put` is None when the run had none of them."""

    seconds: float
    get: Optional[WorkReport]
    put: Optional[WorkReport]
    first_error: Optional[str]


def run(
    target: Target = "127.0.0.1:7001",
    work: Literal["get", "put", "mixed"] = "mixed",
    *,
    concurrency: int = 64,
    operations: Optional[int] = None,
    seconds: Optional[float] = None,
    value_bytes: int = 100,
    keys: int = 100_000,
    read_percent: int = 95,
    on_progress: Optional[Callable[[int], None]] = None,
) -> LoadReport:
    """Load a node and measure; ends after `operations` or `seconds`. `on_progress` gets the operations done so far."""

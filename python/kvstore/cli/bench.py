"""Load a node and measure. The loop runs in native code: a load generator in Python measures itself."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Optional

import click

import kvstore.bench

from .exits import UNAVAILABLE, Failure
from .output import Column, print_records, text_of
from .params import COUNT, DURATION
from .progress import Advance, progress
from .settings import Settings, verb

_DEFAULT_SECONDS = 10.0


def _figure(name: str, form: str) -> Column:
    return Column(name.upper().replace("_", " "), lambda record: format(record[name], form), right=True)


_COLUMNS = [
    Column("WORK", text_of("work")),
    _figure("operations", ",d"),
    _figure("per_second", ",.0f"),
    _figure("p50_ms", ".3f"),
    _figure("p90_ms", ".3f"),
    _figure("p99_ms", ".3f"),
    _figure("p999_ms", ".3f"),
    _figure("max_ms", ".2f"),
    _figure("errors", ",d"),
]


@verb()
@click.argument("work", type=click.Choice(["get", "put", "mixed"]), default="mixed")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=64, show_default=True, help="Calls at a time.")
@click.option("-n", "--operations", type=COUNT, help="Stop after so many, such as 1M.")
@click.option("-t", "--time", "seconds", type=DURATION, help="Stop after so long.  [default: 10s]")
@click.option("-d", "--value-bytes", type=COUNT, default=100, show_default=True, help="Size of the values.")
@click.option("--keys", type=COUNT, default=100_000, show_default=True, help="Different keys.")
@click.option(
    "--dist",
    "distribution",
    type=click.Choice(["uniform", "zipf"]),
    default="uniform",
    show_default=True,
    help="Each key equally often, or a few very often and most seldom.",
)
@click.option(
    "--read",
    "read_percent",
    type=click.IntRange(0, 100),
    default=95,
    show_default=True,
    help="Percentage of reads in mixed work.",
)
def bench(settings: Settings, work: Any, operations: Optional[int], seconds: Optional[float], **options: Any) -> None:
    """Load the server with WORK (default mixed) and print operations a second and latencies in milliseconds.

    It writes keys of its own into the store. Exit 3 when operations failed.
    """
    if settings.keyspace != "default":
        msg = f"bench: it loads the eventual keyspace `default` only, not {settings.keyspace!r}"
        raise kvstore.UnsupportedError(msg)
    with settings.client() as client:
        if client.status().default_consistency != "eventual":
            msg = "bench: it loads an eventual `default` only, and that of this cluster is strong"
            raise kvstore.UnsupportedError(msg)
    if operations is None and seconds is None:
        seconds = _DEFAULT_SECONDS
    with progress(settings, work, operations) as advance:
        report = kvstore.bench.run(
            settings.target,
            work,
            operations=operations,
            seconds=seconds,
            on_progress=_differences(advance),
            **settings.access(),
            **options,
        )
    print_records(settings, "work", _COLUMNS, _records(report))
    if report.first_error is not None:
        msg = f"some operations failed, the first one so: {report.first_error}"
        raise Failure(msg, UNAVAILABLE)


def _differences(advance: Advance) -> Advance:
    """Turns "so many are done" into "so many more are done"."""
    known = 0

    def on_progress(done: int) -> None:
        nonlocal known
        advance(done - known)
        known = done

    return on_progress


def _records(report: kvstore.bench.LoadReport) -> Iterator[Mapping[str, Any]]:
    for work, figures in (("get", report.get), ("put", report.put)):
        if figures is not None:
            record: Dict[str, Any] = {"work": work, **figures._asdict(), "seconds": report.seconds}
            yield record

"""monitor and hotkeys: which calls a node serves, by a sample that the node takes."""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, Mapping, Optional

import click

from kvstore.monitor import HotKeys, Monitor, SamplePage

from .exits import NOT_FOUND, Failure
from .keys import key_text
from .output import Column, human_seconds, print_records, print_stream, report_note
from .params import DURATION, SAMPLE, SHARE
from .settings import Settings, verb
from .values import escape, key_fields

_TOP_MAX = 1000
_PERCENT = 100


def _shown_key(record: Mapping[str, Any]) -> str:
    return escape(key_text(record["key"]))


_CALLS = [
    Column("KIND", lambda record: str(record["kind"])),
    Column("KEYSPACE", lambda record: escape(record["keyspace"]) or "-"),
    Column("CLIENT", lambda record: record["client"] or "-"),
    Column("BYTES", lambda record: str(record["value_bytes"]), right=True),
    Column("AGE", lambda record: human_seconds(record["age"]), right=True),
    Column("KEY", _shown_key),
]
_KEYS = [
    Column("CALLS/S", lambda record: f"{record['per_second']:.1f}", right=True),
    Column("CALLS", lambda record: str(record["calls"]), right=True),
    Column("SURPLUS", lambda record: str(record["surplus"]), right=True),
    Column("SHARE", lambda record: f"{record['share'] * _PERCENT:.1f} %", right=True),
    Column("KEYSPACE", lambda record: escape(record["keyspace"]) or "-"),
    Column("KEY", _shown_key),
]


@verb()
@click.option("--sample", type=SAMPLE, default="100/s", show_default=True, help="So many a second, or a share: 1%.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many calls.")
def monitor(settings: Settings, *, sample: Dict[str, Any], limit: Optional[int]) -> None:
    """Print calls that the contacted node serves, as they are made, until Ctrl-C: a sample of them, without values.

    Plain output is a line a call: kind, keyspace, name of the client if it is known, bytes
    of the value, age, key, with escapes for what does not print.
    The node does not wait for us: what it had to drop is told on stderr. It slows the node down a little.
    """
    with settings.client() as client, Monitor(client, timeout=settings.timeout, **sample) as listening:
        print_stream(settings, "calls", _CALLS, _calls(settings, listening, limit))


def _calls(settings: Settings, listening: Monitor, limit: Optional[int]) -> Iterator[Mapping[str, Any]]:
    left = limit
    for page in listening:
        _report_dropped(settings, page.dropped)
        for call in page.calls:
            yield _record(settings, call._asdict())
            left = None if left is None else left - 1
            if left == 0:
                return


def _record(settings: Settings, record: Dict[str, Any]) -> Dict[str, Any]:
    if settings.format in {"json", "jsonl"}:
        record.update(key_fields(record.pop("key")))
    return record


def _report_dropped(settings: Settings, dropped: int) -> None:
    if dropped:
        report_note(settings, f"{dropped:,} calls were dropped: they came faster than they are read")


@verb()
@click.option("--sample", type=SHARE, default=0.01, metavar="SHARE", help="Look at such a share of the calls.  [1%]")
@click.option("-t", "--time", "seconds", type=DURATION, default=10.0, help="Listen so long.  [default: 10s]")
@click.option("--top", type=click.IntRange(1, _TOP_MAX), default=20, show_default=True, help="Keys to print.")
def hotkeys(settings: Settings, *, sample: float, seconds: float, top: int) -> None:
    """Listen to the contacted node for a while, and print the keys that it is called for most often.

    CALLS is how often a key was in the sample, and SURPLUS by how much that may be too much; CALLS/S is for all calls,
    estimated. Scans and counts are of what their keys begin with. Exit 1 when there was no call in the sample.
    """
    counts = _Counts(top)
    with settings.client() as client, Monitor(client, timeout=settings.timeout, sample=sample) as listening:
        began = time.monotonic()
        left = seconds
        while left > 0:
            page = listening.next(left)
            if page is not None:
                counts.add(page)
            left = began + seconds - time.monotonic()
        passed = time.monotonic() - began
    records = (_record(settings, record) for record in counts.records(sample, passed))
    printed = print_records(settings, "hotkeys", _KEYS, records)
    report_note(settings, f"{counts.sampled:,} of {counts.seen:,} calls in {human_seconds(passed)} were looked at")
    _report_dropped(settings, counts.dropped)
    if not printed:
        msg = "no call was in the sample; --sample 100% looks at every call"
        raise Failure(msg, NOT_FOUND)


class _Counts:
    """What was heard so far."""

    def __init__(self, top: int) -> None:
        self.sampled = self.seen = self.dropped = 0
        self._keys = HotKeys(top)

    def add(self, page: SamplePage) -> None:
        self.sampled += len(page.calls)
        self.seen += page.seen
        self.dropped += page.dropped
        for call in page.calls:
            self._keys.add(call.keyspace, call.key)

    def records(self, sample: float, seconds: float) -> Iterator[Dict[str, Any]]:
        """The hottest first. Those that were dropped count as if they had been for the same keys."""
        told = (self.sampled / (self.sampled + self.dropped)) if self.sampled else 1.0
        for hot in self._keys.result():
            per_second = hot.calls / sample / told / seconds
            yield {**hot._asdict(), "share": hot.calls / self.sampled, "per_second": round(per_second, 3)}

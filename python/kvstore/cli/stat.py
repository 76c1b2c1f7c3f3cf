"""stat: a line a second of what a node does."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Optional

import click

from .output import print_stream
from .params import DURATION
from .rates import COLUMNS, look, record_of
from .settings import Settings, verb

if TYPE_CHECKING:
    import kvstore

    from .values import Stored


def interval_options(function: Any) -> Any:
    """What commands that look again and again take."""
    for add in (
        click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N looks.  [default: never]"),
        click.option("--interval", type=DURATION, default=1.0, help="Time between two looks.  [default: 1s]"),
    ):
        function = add(function)
    return function


@verb()
@interval_options
def stat(settings: Settings, *, count: Optional[int], interval: float) -> None:
    """Print a line a second about the contacted node until Ctrl-C: keys, bytes, and what changes a second.

    Rates are over the time that really passed between two looks, and `-` where the node was restarted in between or has
    no such figure. A node does not count calls: there are no reads and writes a second here.
    """
    with settings.client(one_of(settings)) as client:
        print_stream(settings, "stat", COLUMNS, _records(client, count, interval))


def one_of(settings: Settings) -> str:
    """The node to look at, always the same: the difference of two nodes is no rate."""
    (first, *others) = settings.targets or [settings.server]
    if not others and "://" not in first:
        return first
    with settings.client() as client:
        return client.status().address


def _records(client: kvstore.Client[Stored], count: Optional[int], interval: float) -> Iterator[Mapping[str, Any]]:
    before = look(client)
    for _ in ticks(interval, count):
        after = look(client)
        yield record_of(before, after)
        before = after


def ticks(interval: float, count: Optional[int]) -> Iterator[int]:
    """Numbers from 0 on, one an interval, in which the time that the caller takes counts; missed ones are left out."""
    pause = threading.Event()
    due = time.monotonic() + interval
    number = 0
    while count is None or number < count:
        pause.wait(max(0.0, due - time.monotonic()))
        yield number
        number += 1
        due = max(due + interval, time.monotonic())

"""A progress bar on stderr: rich's where it is installed, else a plain one; a line a quarter where nobody watches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Iterator, Optional

import click

if TYPE_CHECKING:
    from .settings import Settings

Advance = Callable[[int], None]

_BAR_CELLS = 30
_PERCENT = 100


@contextmanager
def progress(settings: Settings, label: str, total: Optional[int], *, in_logs: bool = False) -> Iterator[Advance]:
    """Show how far something is while the block runs.

    Args:
        settings: Quiet and colours.
        label: What is being done.
        total: How much there is to do; None when that is not known.
        in_logs: Without a terminal, print a line at each quarter instead of nothing.

    Yields:
        A function to call with how much more is done; any thread may call it.
    """
    if settings.quiet or not (sys.stderr.isatty() or in_logs):
        yield lambda _amount: None
    elif not sys.stderr.isatty():
        yield _Lines(label, total).advance
    else:
        with _rich_bar(settings, label, total) or _plain_bar(label, total) as advance:
            yield advance


class _Lines:
    """Says in a log how far it is, a quarter at a time."""

    def __init__(self, label: str, total: Optional[int]) -> None:
        self._label, self._total, self._done, self._said = label, total or 0, 0, 0

    def advance(self, amount: int) -> None:
        self._done += amount
        quarter = 4 * self._done // self._total if self._total else 0
        if quarter > self._said:
            self._said = quarter
            click.echo(f"{self._label}: {25 * quarter} %", err=True)


def _rich_bar(settings: Settings, label: str, total: Optional[int]) -> Optional[_Bar]:
    try:
        from rich.console import Console  # noqa: PLC0415 - optional, and slow to import
        from rich.progress import (  # noqa: PLC0415 - as above
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True, no_color=not settings.color))
    task = bar.add_task(label, total=total)
    return _Bar(bar.start, bar.stop, lambda amount: bar.advance(task, amount))


def _plain_bar(label: str, total: Optional[int]) -> _Bar:
    done = 0

    def draw(amount: int) -> None:
        nonlocal done
        done += amount
        share = min(done / total, 1.0) if total else 0.0
        cells = "#" * int(share * _BAR_CELLS)
        click.echo(f"\r{label} [{cells:<{_BAR_CELLS}}] {int(share * _PERCENT):3d} % {done:,}", nl=False, err=True)

    return _Bar(lambda: draw(0), lambda: click.echo("", err=True), draw)


class _Bar:
    """Start and stop as a `with` block around a way to advance."""

    def __init__(self, start: Callable[[], None], stop: Callable[[], None], advance: Advance) -> None:
        self._start, self._stop, self._advance = start, stop, advance

    def __enter__(self) -> Advance:
        self._start()
        return self._advance

    def __exit__(self, *_details: object) -> None:
        self._stop()

"""`top` as a screen with keys, where textual is installed. Only `top` imports this, when it needs it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Iterator, List, Mapping, Optional, Sequence

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Footer, Static

from .screen import leave, title_of
from .top_looks import Looks, Seen
from .values import escape

if TYPE_CHECKING:
    from .output import Column
    from .settings import Settings
    from .top import Watched

_STEPS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Intervals that keys choose from."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# Handled by textual, which does not give them back.
_OF_TEXTUAL: Final = (signal.SIGTSTP, signal.SIGCONT)
_NO_COLOR: Final = "NO_COLOR"


def show(
    settings: Settings, watched: Watched, columns: Sequence[Column], interval: float, count: Optional[int]
) -> None:
    """Show the members until a key or a signal ends it, or `count` looks are over; then the last one stays.

    Raises:
        KVError: The first look failed.
        KeyboardInterrupt: Ctrl-C.
    """
    with Looks(watched, interval, count) as looks, _signals_kept():
        screen = asyncio.run(_run(settings, looks, columns))
    if screen.error is not None:
        raise screen.error
    if screen.signal == signal.SIGINT:
        raise KeyboardInterrupt
    if screen.signal is not None:
        # What it would have done without the screen.
        signal.raise_signal(screen.signal)
    if screen.return_code:
        msg = "the screen failed"
        raise RuntimeError(msg)
    if screen.is_over:
        leave(settings, columns, screen.records)


async def _run(settings: Settings, looks: Looks, columns: Sequence[Column]) -> _Screen:
    # Made here, because on Python 3.8 its locks belong to the loop that runs then.
    screen = _screen_of(settings, looks, columns)
    await screen.run_async()
    return screen


def _screen_of(settings: Settings, looks: Looks, columns: Sequence[Column]) -> _Screen:
    """The screen, with colours or without."""
    # textual asks this variable alone, when the screen is made; and it takes an empty one for a wish.
    before = os.environ.pop(_NO_COLOR, None)
    try:
        if not settings.color:
            os.environ[_NO_COLOR] = "1"
        return _Screen(looks, columns, is_quiet=settings.quiet, ansi_color=not settings.color)
    finally:
        os.environ.pop(_NO_COLOR, None)
        if before is not None:
            os.environ[_NO_COLOR] = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _OF_TEXTUAL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Screen(App[None]):
    """A line about the cluster, a table of the members, their problems, and what the keys do."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #title { height: 1; text-style: bold; }
    #notes { height: auto; max-height: 30%; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[List[Any]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back"),
        Binding("r", "reverse", "Reverse"),
        Binding("p", "pause", "Pause"),
        Binding("plus,equals_sign", "step(1)", "Slower", key_display="+"),
        Binding("minus", "step(-1)", "Faster", key_display="-"),
        # Before anything that has the focus, for which it may mean to copy.
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
    ]

    def __init__(self, looks: Looks, columns: Sequence[Column], *, is_quiet: bool, ansi_color: bool) -> None:
        super().__init__(ansi_color=ansi_color)
        self.records: Sequence[Mapping[str, Any]] = []
        self.error: Optional[BaseException] = None
        """What ended it, if something went wrong."""
        self.signal: Optional[int] = None
        """The same of a signal; Ctrl-C is SIGINT."""
        self.is_over = False
        """All looks are over."""
        self._looks = looks
        self._columns = columns
        self._is_quiet = is_quiet
        self._at = ""
        self._trouble: Optional[BaseException] = None
        self._sorted: Optional[int] = None
        self._is_descending = False
        # Not looked up later: a look may still be told while they go away.
        self._title = Static(id="title")
        self._table: DataTable[Text] = DataTable(cursor_type="none", fixed_columns=1)
        self._notes = Static(id="notes")

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield from (self._title, self._table, self._notes, Footer())

    def on_mount(self) -> None:
        """Begin to look."""
        self._table.add_columns(*[column.title for column in self._columns])
        self._table.focus()
        self._show_title()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end_by, number)
        self._looks.start(lambda seen: self.call_later(self._take, seen))

    # ----------------------------------------------------------------------------------------------- what is seen
    def _take(self, seen: Seen) -> None:
        if seen.is_last:
            self.error, self.is_over = seen.error, seen.error is None
            self.exit()
            return
        self._trouble = seen.error
        if seen.records is not None:
            self.records = seen.records
            self._at = f"{title_of(seen.records)}  {seen.headline}"
        self._show()

    def _show(self) -> None:
        self._show_title()
        self._show_records()
        notes = [f"{record['address']}: {record['problem']}" for record in self.records if record["problem"]]
        if self._trouble is not None:
            notes.append(str(self._trouble))
        self._notes.update(Text("\n".join(map(escape, [] if self._is_quiet else notes))))

    def _show_title(self) -> None:
        parts = [self._at or "asking the members", f"every {self._looks.interval:g} s"]
        if self._sorted is not None:
            parts.append(f"by {self._columns[self._sorted].title}")
        if self._looks.is_paused:
            parts.append("paused")
        self._title.update(Text("  ".join(parts), no_wrap=True, overflow="ellipsis"))

    def _show_records(self) -> None:
        """Rows stay where they are and get other contents, so that nothing scrolls away."""
        table, records = self._table, self._in_order()
        for number, column in enumerate(table.ordered_columns):
            arrow = (" ▼" if self._is_descending else " ▲") if number == self._sorted else ""
            column.label = Text(self._columns[number].title + arrow)
        while table.row_count > len(records):
            table.remove_row(str(table.row_count - 1))
        for number in range(table.row_count, len(records)):
            table.add_row(*[_cell(column, records[number]) for column in self._columns], key=str(number))
        for place, column in zip(table.ordered_columns, self._columns):
            cells = [_cell(column, record) for record in records]
            # The widest alone decides how wide the column is; asking each would take quadratic time.
            widest = max(cells, key=len, default=None)
            for number, cell in enumerate(cells):
                table.update_cell(str(number), place.key, cell, update_width=cell is widest)

    def _in_order(self) -> List[Mapping[str, Any]]:
        if self._sorted is None:
            return list(self.records)
        column = self._columns[self._sorted]

        def value(record: Mapping[str, Any]) -> Any:
            return record[column.field] if column.field else column.show(record)

        known = [record for record in self.records if value(record) is not None]
        unknown = [record for record in self.records if value(record) is None]
        return [*sorted(known, key=value, reverse=self._is_descending), *unknown]

    # ----------------------------------------------------------------------------------------------- what keys do
    def action_sort(self, step: int) -> None:
        """Go to the next column, or the one before; there is one more place, where nothing is sorted."""
        places = len(self._columns) + 1
        place = (0 if self._sorted is None else self._sorted + 1) + step
        self._sort_by(place % places - 1 if place % places else None)

    def on_data_table_header_selected(self, event: Any) -> None:
        """A click at the head of a column; another one turns the order round."""
        if event.column_index == self._sorted:
            self.action_reverse()
        else:
            self._sort_by(event.column_index)

    def _sort_by(self, number: Optional[int]) -> None:
        self._sorted = number
        # Of figures the largest are what one looks for.
        self._is_descending = number is not None and self._columns[number].right
        self._show()
        # Once the table has its new widths.
        self.call_after_refresh(self._scroll_to, number or 0)

    def _scroll_to(self, number: int) -> None:
        table = self._table
        ends = [0]
        for column in table.ordered_columns:
            ends.append(ends[-1] + column.get_render_width(table))
        left, right, fixed = ends[number], ends[number + 1], ends[1]
        if left - fixed < table.scroll_x or right > table.scroll_x + table.size.width:
            table.scroll_to(x=max(0, left - fixed), animate=False)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._is_descending = not self._is_descending
        self._show()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self._looks.set_paused(is_paused=not self._looks.is_paused)
        self._show_title()

    def action_step(self, step: int) -> None:
        """Look less often, or more often."""
        now = self._looks.interval
        further = [each for each in _STEPS if each > now] if step > 0 else [each for each in _STEPS[::-1] if each < now]
        self._looks.set_interval(further[0] if further else now)
        self._show_title()

    def action_interrupt(self) -> None:
        """As Ctrl-C without a screen."""
        self._end_by(signal.SIGINT)

    def _end_by(self, number: int) -> None:
        self.signal = number
        self.exit()


def _cell(column: Column, record: Mapping[str, Any]) -> Text:
    style = "red" if not record["answers"] else "yellow" if record["state"] != "ready" else ""
    return Text(column.show(record), style=style, justify="right" if column.right else "left")

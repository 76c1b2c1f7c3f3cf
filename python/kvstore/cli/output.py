"""Printing: a table for people, tab-separated lines for pipes, JSON (a contract: `schema` 1) for programs."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import click

from .values import SCHEMA, escape

if TYPE_CHECKING:
    from .settings import Settings

# Rows whose widths are looked at together: a longer table goes on with new widths instead of waiting for its end.
_TABLE_ROWS = 1000
_GAP = "  "
# Of a table whose rows come one by one: the least width of a cell, and the rows under a title.
_STREAM_CELL = 9
_STREAM_ROWS = 20


class Column(NamedTuple):
    """A column of a table: its title and what it shows of a record."""

    title: str
    show: Callable[[Mapping[str, Any]], str]
    right: bool = False
    field: Optional[str] = None
    """Of a record: what orders rows by this column; None is the text that is shown."""


def to_json_text(record: Mapping[str, Any]) -> str:
    """A record on one line of ASCII: it survives every terminal, pipe and locale."""
    return json.dumps(record, separators=(",", ":"))


def print_records(
    settings: Settings, name: str, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]
) -> int:
    """Print records as they come, under `name` in JSON; returns how many they were."""
    printers = {"json": _print_json, "jsonl": _print_jsonl}
    if settings.format in printers:
        return printers[settings.format](name, records)
    if settings.format == "table":
        return _print_table(settings, columns, records)
    return _print_plain(columns, records)


def print_stream(
    settings: Settings, name: str, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]
) -> None:
    """As `print_records`, for records that come slowly: a table shows each at once, and its title again and again."""
    if settings.format != "table":
        print_records(settings, name, columns, records)
        return
    titles = [column.title for column in columns]
    widths = [max(len(title), _STREAM_CELL) for title in titles]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for number, record in enumerate(records):
        if number % _STREAM_ROWS == 0:
            line = _line(columns, titles, widths, width)
            click.echo(click.style(line, bold=True) if settings.color else line)
        click.echo(_line(columns, [column.show(record) for column in columns], widths, width))


def print_record(settings: Settings, record: Mapping[str, Any], plain: str) -> None:
    """Print one record: JSON where asked for, else the given text."""
    if settings.format in {"json", "jsonl"}:
        click.echo(to_json_text({"schema": SCHEMA, **record}))
    else:
        click.echo(plain)


def print_bytes(data: bytes) -> None:
    """Write exactly these bytes to stdout."""
    click.echo(data, nl=False)


def _print_json(name: str, records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    click.echo(f'{{"schema":{SCHEMA},{json.dumps(name)}:[', nl=False)
    for count, record in enumerate(records, start=1):
        bare = {field: value for field, value in record.items() if field != "schema"}
        click.echo(("" if count == 1 else ",") + "\n" + to_json_text(bare), nl=False)
    click.echo("]}")
    return count


def _print_jsonl(_name: str, records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 - it outlives the loop
        click.echo(to_json_text({"schema": SCHEMA, **record}))
    return count


def _print_plain(columns: Sequence[Column], records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for count, record in enumerate(records, start=1):  # noqa: B007 - it outlives the loop
        click.echo("\t".join(column.show(record) for column in columns))
    return count


def _print_table(settings: Settings, columns: Sequence[Column], records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = ([column.show(record) for column in columns] for record in records)
    for chunk in _chunks(rows, _TABLE_ROWS):
        for line in table_lines(columns, chunk, width=width, title=count == 0, color=settings.color):
            click.echo(line)
        count += len(chunk)
    return count


def table_lines(
    columns: Sequence[Column],
    rows: List[List[str]],
    *,
    width: Optional[int] = None,
    title: bool = True,
    color: bool = False,
) -> Iterator[str]:
    """The lines of an aligned table; the last column is cut where it would not fit into `width`."""
    titles = [column.title for column in columns]
    widths = [max(len(cell) for cell in cells) for cells in zip(titles, *rows)]
    if title:
        line = _line(columns, titles, widths, width)
        yield click.style(line, bold=True) if color else line
    for row in rows:
        yield _line(columns, row, widths, width)


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], width: Optional[int]) -> str:
    padded = (
        cell.rjust(size) if column.right else cell.ljust(size) for column, cell, size in zip(columns, cells, widths)
    )
    line = _GAP.join(padded).rstrip()
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def _chunks(rows: Iterable[List[str]], size: int) -> Iterator[List[List[str]]]:
    iterator = iter(rows)
    while True:
        chunk = list(islice(iterator, size))
        if not chunk:
            return
        yield chunk


def human_bytes(count: float) -> str:
    """A size for people, such as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - the base of the units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_seconds(seconds: float) -> str:
    """A time span for people, such as `2d 4h` or `12.5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m {int(seconds % 60)}s"


def text_of(field: str) -> Callable[[Mapping[str, Any]], str]:
    """Shows a field of a record as it is."""

    def show(record: Mapping[str, Any]) -> str:
        value = record[field]
        return "" if value is None else str(value)

    return show


def report_note(settings: Settings, text: str) -> None:
    """A line on stderr that is no result and no error."""
    if not settings.quiet:
        click.echo(escape(text), err=True)

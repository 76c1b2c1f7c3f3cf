"""A table that is shown again and again."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final, List, Mapping, Sequence

import click

from .output import Column, report_note, table_lines
from .values import escape

if TYPE_CHECKING:
    from .settings import Settings

_CLEAR: Final = "\x1b[H\x1b[J"


def draw(
    settings: Settings, columns: Sequence[Column], records: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()
) -> None:
    """A table of members: over the one before on a terminal, whose lower end it never crosses, and below it elsewhere.

    Notes are below the table on a terminal, and on stderr elsewhere.
    """
    title, rows = title_of(records), _rows(columns, records)
    if not sys.stdout.isatty():
        click.echo("\n".join([title, *table_lines(columns, rows, color=settings.color), ""]))
        for note in notes:
            report_note(settings, note)
        return
    width, height = shutil.get_terminal_size()
    lines = [title[:width], *table_lines(columns, rows, width=width, color=settings.color)]
    lines += [escape(note)[:width] for note in notes if not settings.quiet]
    if len(lines) >= height:
        lines = [*lines[: height - 2], f"... {len(lines) - height + 2} more"]
    click.echo(_CLEAR + "\n".join(lines))


def leave(settings: Settings, columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> None:
    """A table on a terminal whose lower end it may cross: it is the last one, and stays there."""
    width = shutil.get_terminal_size().columns
    table = table_lines(columns, _rows(columns, records), width=width, color=settings.color)
    click.echo("\n".join([title_of(records)[:width], *table]))


def title_of(records: Sequence[Mapping[str, Any]]) -> str:
    """When it is, and how many members answer."""
    answering = sum(record["answers"] for record in records)
    return f"{time.strftime('%H:%M:%S')}  {answering} of {len(records)} members answer"


def _rows(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> List[List[str]]:
    return [[column.show(record) for column in columns] for record in records]

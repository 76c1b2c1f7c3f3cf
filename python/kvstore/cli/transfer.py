"""Export and import: every entry with its exact key, value, flags and expiry, in a file that a text editor opens."""

from __future__ import annotations

import datetime as dt
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import click

import kvstore

from .exits import USAGE, Failure
from .formats import FORMATS, Row, read_rows, write_rows
from .keys import key_argument, key_text
from .output import print_record
from .progress import Advance, progress
from .settings import Settings, verb

if TYPE_CHECKING:
    from .values import Stored

# Entries written in one call, and the bytes after which it is sent: well inside the bounds of a batch.
_BATCH_ENTRIES = 1000
_BATCH_BYTES = 1024 * 1024

# Entries with an expiry are written one by one, so many at a time.
_WRITERS = 16


@verb("export")
@click.argument("file", metavar="FILE|-")
@click.option("--prefix", default="", help="Only keys that begin with it.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the file's name, else jsonl]")
def export_entries(settings: Settings, file: str, prefix: str, form: Optional[str]) -> None:
    """Write all entries to FILE, or to stdout for `-`.

    FILE appears only when it is complete. Keys and values keep their exact bytes, flags and expiry.
    """
    with settings.client() as client, _whole_file(file) as out:
        total = client.count(key_argument(prefix))
        with progress(settings, "export", total) as advance:
            rows = _counted(map(_row_of, client.scan(key_argument(prefix))), advance)
            number = write_rows(out, rows, form or _format_of(file))
    if file != "-" and not settings.quiet:
        print_record(settings, {"exported": number, "file": file}, f"{number} entries written to {file}")


@verb("import")
@click.argument("file", metavar="FILE|-")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the file's name, else jsonl]")
def import_entries(settings: Settings, file: str, form: Optional[str]) -> None:
    """Write the entries of FILE, or of stdin for `-`, into the store.

    Existing keys get the imported values. Entries that have expired since the export are left out.
    """
    with ExitStack() as stack:
        client = stack.enter_context(settings.client())
        source = stack.enter_context(_opened(file))
        size = None if file == "-" else Path(file).stat().st_size
        advance = stack.enter_context(progress(settings, "import", size))
        totals = _import_rows(client, read_rows(source, form or _format_of(file), file), advance)
    record = {"imported": totals.written, "expired": totals.expired, "file": file}
    expired = f", {totals.expired} expired since the export left out" if totals.expired else ""
    if not settings.quiet:
        print_record(settings, record, f"{totals.written} entries imported{expired}")


class _Totals(NamedTuple):
    written: int
    expired: int


def _import_rows(client: kvstore.Client[Stored], rows: Iterable[Tuple[Row, int]], advance: Advance) -> _Totals:
    written = expired = 0
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="kvstore-import") as pool:
        for batch, size in _batches(rows):
            now = dt.datetime.now(dt.timezone.utc)
            alive = [row for row in batch if row.expires is None or row.expires > now]
            _write(client, pool, alive, now)
            written += len(alive)
            expired += len(batch) - len(alive)
            advance(size)
    return _Totals(written, expired)


def _batches(rows: Iterable[Tuple[Row, int]]) -> Iterator[Tuple[List[Row], int]]:
    """Batches of rows in their order, each with how much of the file it covers."""
    batch: List[Row] = []
    covered = weight = 0
    for row, size in rows:
        row_weight = len(row.key) + len(row.value.payload)
        if batch and (len(batch) == _BATCH_ENTRIES or weight + row_weight > _BATCH_BYTES):
            yield batch, covered
            batch, covered, weight = [], 0, 0
        batch.append(row)
        covered += size
        weight += row_weight
    if batch:
        yield batch, covered


def _write(client: kvstore.Client[Stored], pool: ThreadPoolExecutor, rows: List[Row], now: dt.datetime) -> None:
    # The last line wins where a file names a key twice, as if the lines were written one after the other.
    last: Dict[bytes, Row] = {row.key: row for row in rows}
    client.put_many({key_text(key): row.value for key, row in last.items() if row.expires is None})

    def put(row: Row) -> None:
        assert row.expires is not None  # noqa: S101 - only such rows are handed to it
        client.put(row.key, row.value, ttl=max((row.expires - now).total_seconds(), 0.001))

    # list() waits for all and raises what one of them raised.
    list(pool.map(put, [row for row in last.values() if row.expires is not None]))


def _row_of(entry: kvstore.Entry[Stored]) -> Row:
    return Row(entry.key_bytes, entry.value, entry.expires)


def _counted(rows: Iterable[Row], advance: Advance) -> Iterator[Row]:
    for row in rows:
        yield row
        advance(1)


def _format_of(file: str) -> str:
    return "csv" if file.lower().endswith(".csv") else "jsonl"


@contextmanager
def _whole_file(file: str) -> Iterator[IO[str]]:
    """A text file to write that gets its name when the block has ended without an error."""
    if file == "-":
        yield sys.stdout
        return
    partial = Path(f"{file}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as out:
            yield out
        partial.replace(file)
    except OSError as error:
        if isinstance(error, kvstore.KVError):
            raise
        msg = f"cannot write {file}: {error.strerror or error}"
        raise Failure(msg, USAGE) from error
    finally:
        if partial.exists():
            partial.unlink()


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    if file == "-":
        yield sys.stdin
        return
    try:
        source = Path(file).open(encoding="utf-8", newline="")  # noqa: SIM115 - closed below
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror or error}"
        raise click.UsageError(msg) from error
    with source:
        yield source

"""Acknowledged writes that lost: conflicts ls, conflicts restore."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Dict, Final, Iterable, Iterator, List, Mapping, Optional

import click

from .exits import NOT_FOUND, Failure
from .keys import key_argument, key_text
from .output import Column, print_record, print_records, report_note
from .params import parse_duration
from .settings import Settings, verb
from .values import entry_to_json, escape, key_fields, shown

if TYPE_CHECKING:
    import kvstore

    from .values import Stored

_VALUE_WIDTH: Final = 40


class Since(click.ParamType):
    """A moment: an ISO 8601 time, or a duration such as `10m`, which means so long ago."""

    name = "since"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> dt.datetime:
        """The moment; a usage error says what one looks like."""
        if isinstance(value, dt.datetime):
            return value
        seconds = parse_duration(str(value))
        if seconds is not None:
            return dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=seconds)
        try:
            moment = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is no duration such as 10m, and no time such as 2026-01-31T12:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)


_since = click.option(
    "--since", type=Since(), metavar="TIME|DURATION", help="Only those noticed since then, such as 10m.  [default: all]"
)


@click.group()
def conflicts() -> None:
    """List acknowledged writes that lost against concurrent ones, and write them again."""


@verb("ls")
@click.argument("prefix", default="")
@_since
def list_conflicts(settings: Settings, prefix: str, since: Optional[dt.datetime]) -> None:
    """Print the conflicts of keys that begin with PREFIX, the newest first.

    WHERE is the node that had acknowledged the lost write; `(deleted)` stands for a delete.
    """
    with settings.client() as client:
        found = client.conflicts(key_argument(prefix), since=since)
        records = map(_to_json if settings.format in {"json", "jsonl"} else _to_row, found)
        print_records(settings, "conflicts", _COLUMNS, records)
        _note_missing(settings, client)


_COLUMNS = [
    Column("KEY", lambda record: escape(key_text(record["key"]))),
    Column("LOST", lambda record: _side(record["lost"])),
    Column("WON", lambda record: _side(record["won"])),
    Column("WHEN", lambda record: str(record["when"])),
    Column("WHERE", lambda record: str(record["where"])),
]


def _side(entry: Optional[kvstore.Entry[Stored]]) -> str:
    return "(deleted)" if entry is None else shown(entry.value, _VALUE_WIDTH)


def _to_row(conflict: kvstore.Conflict[Stored]) -> Mapping[str, Any]:
    sides = {"lost": conflict.lost, "won": conflict.won}
    return {"key": conflict.key_bytes, **sides, "when": _when(conflict), "where": conflict.where}


def _to_json(conflict: kvstore.Conflict[Stored]) -> Mapping[str, Any]:
    sides = {"lost": _side_to_json(conflict.lost), "won": _side_to_json(conflict.won)}
    return {**key_fields(conflict.key_bytes), **sides, "when": _when(conflict), "where": conflict.where}


def _side_to_json(entry: Optional[kvstore.Entry[Stored]]) -> Optional[Dict[str, Any]]:
    if entry is None:
        return None
    return {name: value for name, value in entry_to_json(entry).items() if name not in {"schema", "key", "key_base64"}}


def _when(conflict: kvstore.Conflict[Stored]) -> str:
    return conflict.when.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds")


@verb("restore")
@click.argument("key", required=False)
@click.option("--all", "every", is_flag=True, help="Restore every key that has a conflict.")
@_since
def restore(settings: Settings, key: Optional[str], since: Optional[dt.datetime], *, every: bool) -> None:
    """Write again what was last lost of KEY; exit 1 when there is nothing.

    Of several conflicts of one key the newest is restored. The value keeps its exact bytes and flags, and what is left
    of its time to live; a delete that was lost deletes again.
    """
    if (key is None) != every:
        msg = "give one KEY, or --all"
        raise click.UsageError(msg)
    wanted = None if key is None else key_argument(key)
    with settings.client() as client:
        found = client.conflicts(b"" if wanted is None else wanted, since=since)
        newest = _newest_by_key(found if wanted is None else (each for each in found if each.key_bytes == wanted))
        restored = sum(_restore(settings, client, conflict) for conflict in newest)
        _note_missing(settings, client)
    if not settings.quiet:
        print_record(settings, {"restored": restored}, str(restored))
    if not restored and not every:
        msg = f"no conflict of this key can be restored: {key}"
        raise Failure(msg, NOT_FOUND)


def _newest_by_key(found: Iterable[kvstore.Conflict[Stored]]) -> Iterator[kvstore.Conflict[Stored]]:
    done = set()
    for conflict in found:
        if conflict.key_bytes not in done:
            done.add(conflict.key_bytes)
            yield conflict


def _restore(settings: Settings, client: kvstore.Client[Stored], conflict: kvstore.Conflict[Stored]) -> bool:
    if conflict.lost is not None and conflict.lost.ttl == 0:
        report_note(settings, f"{key_text(conflict.key_bytes)}: what was lost has expired")
        return False
    client.restore(conflict)
    return True


def _note_missing(settings: Settings, client: kvstore.Client[Stored]) -> None:
    """Each node tells of its own conflicts: those of one that is away cannot be seen now."""
    away: List[str] = [member.address for member in client.members() if not member.connected]
    if away:
        report_note(settings, f"not connected, so its conflicts are missing: {', '.join(away)}")


conflicts.add_command(list_conflicts)
conflicts.add_command(restore)

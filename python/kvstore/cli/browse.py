"""Many keys at once: scan, keys, count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, Optional

import click

from .keys import key_argument, key_text
from .output import Column, print_bytes, print_record, print_records
from .settings import Settings, verb
from .values import Stored, entry_to_json, escape, key_fields, shown

if TYPE_CHECKING:
    import kvstore


def _shown_key(key: bytes) -> str:
    return escape(key_text(key))


_COLUMNS = [
    Column("KEY", lambda record: _shown_key(record["entry"].key_bytes)),
    Column("VALUE", lambda record: shown(record["entry"].value)),
]


@verb()
@click.argument("prefix", default="")
@click.option("--start", help="The first key wanted.")
@click.option("--end", help="The first key not wanted any more.")
@click.option("--limit", type=click.IntRange(min=1), help="Entries at most.")
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
def scan(settings: Settings, prefix: str, **options: Any) -> None:
    """Print the entries whose keys begin with PREFIX, in bytewise key order.

    Plain output is a line an entry, `key<TAB>value`, with escapes for what does not print.
    """
    with settings.client() as client:
        entries = client.scan(key_argument(prefix), **_range(options))
        if settings.format == "raw":
            for entry in entries:
                print_bytes(entry.value.payload + b"\n")
        else:
            print_records(settings, "entries", _COLUMNS, _records(settings, entries))


def _range(options: Mapping[str, Any]) -> Mapping[str, Any]:
    bounds = {name: key_argument(options[name]) for name in ("start", "end") if options[name] is not None}
    return {**bounds, "limit": options["limit"], "reverse": options["reverse"]}


def _records(settings: Settings, entries: Iterator[kvstore.Entry[Stored]]) -> Iterator[Mapping[str, Any]]:
    for entry in entries:
        yield entry_to_json(entry) if settings.format in {"json", "jsonl"} else {"entry": entry}


@verb()
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), help="Keys at most.")
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
def keys(settings: Settings, prefix: str, limit: Optional[int], *, reverse: bool) -> None:
    """Print the keys that begin with PREFIX, in bytewise order."""
    column = Column("KEY", lambda record: _shown_key(record["bytes"]))
    as_json = settings.format in {"json", "jsonl"}
    with settings.client() as client:
        found = map(key_argument, client.keys(key_argument(prefix), limit=limit, reverse=reverse))
        records: Iterator[Mapping[str, Any]] = map(key_fields, found) if as_json else ({"bytes": key} for key in found)
        print_records(settings, "keys", [column], records)


@verb()
@click.argument("prefix", default="")
def count(settings: Settings, prefix: str) -> None:
    """Print how many keys begin with PREFIX."""
    with settings.client() as client:
        number = client.count(key_argument(prefix))
    print_record(settings, {"count": number}, str(number))

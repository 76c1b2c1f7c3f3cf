"""bigkeys: where the bytes of a keyspace are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping

import click

from kvstore.survey import survey

from .keys import key_argument, key_text
from .output import Column, human_bytes, print_records, report_note
from .params import SHARE
from .settings import Settings, verb
from .values import escape, key_fields

if TYPE_CHECKING:
    from kvstore.survey import Survey

_TOP_MAX = 1000


def _shown(record: Mapping[str, Any]) -> str:
    name: bytes = record["name"]
    return escape(key_text(name)) if name else "(no prefix)"


_COLUMNS = [
    Column("KIND", lambda record: str(record["kind"])),
    Column("BYTES", lambda record: str(record["bytes"]), right=True),
    Column("KEYS", lambda record: str(record["keys"]), right=True),
    Column("KEY", _shown),
]


@verb()
@click.argument("prefix", default="")
@click.option("--top", type=click.IntRange(1, _TOP_MAX), default=20, show_default=True, help="Lines of each kind.")
@click.option("--sample", type=SHARE, default=1.0, metavar="SHARE", help="Count such a share of the keys.  [100%]")
def bigkeys(settings: Settings, prefix: str, *, top: int, sample: float) -> None:
    """Print the largest values of the keys that begin with PREFIX, and which prefixes take most.

    A line with `value` is a key and the bytes of its value; one with `fold` stands for all keys that begin so, up to
    the next "/" or ":", and has the bytes of keys and values. The contacted node looks at each of its keys; it sends
    no values. With --sample a share of the keys counts, always the same ones, and all figures are of those.
    """
    with settings.client() as client:
        found = survey(client, key_argument(prefix), top=top, sample=sample)
    as_json = settings.format in {"json", "jsonl"}
    records = map(_to_json, _records(found)) if as_json else _records(found)
    print_records(settings, "bigkeys", _COLUMNS, records)
    report_note(
        settings,
        f"{found.keys:,} of {found.visited:,} keys counted, {human_bytes(found.total_bytes)} of keys and values",
    )


def _records(found: Survey) -> Iterator[Dict[str, Any]]:
    values = ({"kind": "value", "name": key, "keys": 1, "bytes": size} for key, size in found.largest)
    folds = ({"kind": "fold", "name": prefix, "keys": keys, "bytes": size} for prefix, keys, size in found.folds)
    return itertools.chain(values, folds)


def _to_json(record: Dict[str, Any]) -> Dict[str, Any]:
    return {"kind": record["kind"], **key_fields(record["name"]), "keys": record["keys"], "bytes": record["bytes"]}

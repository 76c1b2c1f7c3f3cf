"""ls: keys as if they were in directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, NamedTuple, Optional

import click

from .keys import key_argument, key_text
from .output import Column, print_records
from .settings import Settings, verb
from .values import Stored, escape, key_fields

if TYPE_CHECKING:
    import kvstore

_SEPARATORS = b"/:"

# Keys fetched at a time: what a fold with many keys costs, for the rest of it is jumped over.
_PAGE = 100


class Name(NamedTuple):
    """A key, or what all keys of a fold begin with."""

    name: bytes
    is_fold: bool


@verb()
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), help="Lines at most.")
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
def ls(settings: Settings, prefix: str, limit: Optional[int], *, reverse: bool) -> None:
    """Print the keys that begin with PREFIX, those with a further "/" or ":" folded into one line that ends there.

    `ls` shows `user:`, `ls user:` what is below it. Folds are not counted: `count user:` does that.
    """
    columns = [Column("NAME", lambda record: escape(key_text(record["name"].name)))]
    with settings.client() as client:
        names = _names(client, key_argument(prefix), limit, reverse=reverse)
        print_records(settings, "names", columns, _records(settings, names))


def _records(settings: Settings, names: Iterator[Name]) -> Iterator[Mapping[str, Any]]:
    for name in names:
        as_json = settings.format in {"json", "jsonl"}
        yield {**key_fields(name.name), "fold": name.is_fold} if as_json else {"name": name}


def _names(client: kvstore.Client[Stored], prefix: bytes, limit: Optional[int], *, reverse: bool) -> Iterator[Name]:
    left = limit
    start: Optional[bytes] = None
    end: Optional[bytes] = None
    last: Optional[Name] = None
    while True:
        found = client.keys(prefix, start=start, end=end, limit=_PAGE, reverse=reverse)
        page: List[bytes] = [key_argument(key) for key in found]
        for key in page:
            name = fold(key, prefix)
            if name == last:
                continue
            yield name
            last = name
            left = None if left is None else left - 1
            if left == 0:
                return
        if last is None or len(page) < _PAGE:
            return
        start, end = (None, last.name) if reverse else (_after(last), None)


def _after(name: Name) -> bytes:
    """The first key behind it. Separators are not 255, so there always is a next prefix."""
    return name.name[:-1] + bytes([name.name[-1] + 1]) if name.is_fold else name.name + b"\0"


def fold(key: bytes, prefix: bytes) -> Name:
    """The key up to the first separator after the prefix, or all of it."""
    for place in range(len(prefix), len(key)):
        if key[place] in _SEPARATORS:
            return Name(key[: place + 1], is_fold=True)
    return Name(key, is_fold=False)

"""One key at a time: get, put, add, incr, delete, exists, touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Tuple

import click

from .exits import NOT_FOUND, MissingKeyError
from .output import print_bytes, print_record, print_records
from .params import DURATION, VALUE_KINDS, VERSION, read_value
from .settings import Settings, verb
from .values import Stored, decode, encode, entry_to_json, int_to_json, key_fields, shown

if TYPE_CHECKING:
    import kvstore


def key_argument(text: str) -> bytes:
    """A key as it came from the shell, byte for byte."""
    return text.encode("utf-8", "surrogateescape")


def key_text(key: bytes) -> str:
    """A key as text that `key_argument` turns back exactly."""
    return key.decode("utf-8", "surrogateescape")


@verb()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
def get(settings: Settings, keys: Tuple[str, ...]) -> None:
    """Print the value of each KEY; exit 1 when one is missing.

    Plain output is the value and a newline; `-o raw` is the stored bytes and nothing else.
    """
    with settings.client() as client:
        found = [(key, client.entry(key_argument(key))) for key in keys]
    entries = [entry for _, entry in found if entry is not None]
    if settings.format in {"json", "jsonl"} and len(keys) > 1:
        print_records(settings, "entries", [], (entry_to_json(entry) for entry in entries))
    else:
        for entry in entries:
            _print_value(settings, entry)
    missing = [key for key, entry in found if entry is None]
    if missing:
        raise MissingKeyError(missing[0])


def _print_value(settings: Settings, entry: kvstore.Entry[Stored]) -> None:
    if settings.format == "raw":
        print_bytes(entry.value.payload)
    elif settings.format in {"json", "jsonl"}:
        print_record(settings, entry_to_json(entry), "")
    elif settings.format == "plain" and isinstance(decode(entry.value), (bytes, str)):
        print_bytes(entry.value.payload + b"\n")
    else:
        click.echo(shown(entry.value))


@verb()
@click.argument("key")
@click.argument("value")
@click.option("--ttl", type=DURATION, help="Time to live, such as 30s, 10m or 1h30m.  [default: for ever]")
@click.option(
    "--as", "kind", type=click.Choice(VALUE_KINDS), help="What VALUE is.  [default: str; bytes from a file or stdin]"
)
@click.option("--if-absent", is_flag=True, help="Only if there is no such key; exit 4 when there is.")
@click.option("--if-version", type=VERSION, metavar="N", help="Only if it has this version; exit 4 when not.")
@click.option("--lease", "lease_id", type=VERSION, metavar="ID", help="It vanishes with this lease, see `lease grant`.")
def put(settings: Settings, key: str, value: str, kind: Optional[str], **options: Any) -> None:
    """Store VALUE under KEY and print its version.

    VALUE is a text, `-` for stdin, `@FILE` for a file's bytes; `@@text` is a text that starts with `@`. Conditions and
    leases are for strong keyspaces.
    """
    stored, lease_id = encode(read_value(value, kind)), options.pop("lease_id")
    with settings.client() as client:
        lease = None if lease_id is None else client.find_lease(lease_id)
        version = client.put(key_argument(key), stored, lease=lease, **options)
    if not settings.quiet:
        print_record(settings, {**key_fields(key_argument(key)), "version": str(version)}, str(version))


@verb()
@click.argument("key")
@click.argument("value")
@click.option("--ttl", type=DURATION, help="Time to live.  [default: for ever]")
@click.option("--as", "kind", type=click.Choice(VALUE_KINDS), help="What VALUE is, as for put.")
@click.pass_context
def add(
    ctx: click.Context, settings: Settings, key: str, value: str, *, ttl: Optional[float], kind: Optional[str]
) -> None:
    """Store VALUE unless KEY is there: `true` and exit 0, or `false` and exit 1. For strong keyspaces."""
    stored = encode(read_value(value, kind))
    with settings.client() as client:
        added = client.add(key_argument(key), stored, ttl=ttl)
    if not settings.quiet:
        print_record(settings, {**key_fields(key_argument(key)), "added": added}, "true" if added else "false")
    ctx.exit(0 if added else NOT_FOUND)


@verb()
@click.argument("key")
@click.argument("by", type=int, default=1)
@click.option("--initial", type=int, default=0, help="What a missing key counts as.  [default: 0]")
@click.option("--ttl", type=DURATION, help="Time to live of a key that this makes.  [default: for ever]")
def incr(settings: Settings, key: str, by: int, *, initial: int, ttl: Optional[float]) -> None:
    """Add BY (default 1) to the integer at KEY and print the sum. For strong keyspaces.

    A negative BY comes after `--`.
    """
    with settings.client() as client:
        number = client.incr(key_argument(key), by, initial=initial, ttl=ttl)
    print_record(settings, {**key_fields(key_argument(key)), "value": int_to_json(number)}, str(number))


@verb()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("--if-version", type=VERSION, metavar="N", help="Only if it has this version; exit 4 when not.")
def delete(settings: Settings, keys: Tuple[str, ...], if_version: Optional[int]) -> None:
    """Remove each KEY; exit 1 when one was not there."""
    with settings.client() as client:
        existed = [(key, client.delete(key_argument(key), if_version=if_version)) for key in keys]
    deleted = sum(was_there for _, was_there in existed)
    if not settings.quiet:
        print_record(settings, {"deleted": deleted}, str(deleted))
    for key, was_there in existed:
        if not was_there:
            raise MissingKeyError(key)


@verb()
@click.argument("key")
@click.pass_context
def exists(ctx: click.Context, settings: Settings, key: str) -> None:
    """Say whether KEY is there: `true` and exit 0, or `false` and exit 1."""
    with settings.client() as client:
        there = client.exists(key_argument(key))
    if not settings.quiet:
        print_record(settings, {**key_fields(key_argument(key)), "exists": there}, "true" if there else "false")
    ctx.exit(0 if there else NOT_FOUND)


@verb()
@click.argument("key")
@click.option("--ttl", type=DURATION, help="Time to live from now.  [default: for ever]")
def touch(settings: Settings, key: str, ttl: Optional[float]) -> None:
    """Give KEY another time to live, keeping its value; exit 1 when it is not there."""
    with settings.client() as client:
        if not client.touch(key_argument(key), ttl):
            raise MissingKeyError(key)

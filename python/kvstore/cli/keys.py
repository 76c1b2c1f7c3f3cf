"""One key at a time: get, put, delete, exists, touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

import click

from .exits import NOT_FOUND, MissingKeyError
from .output import print_bytes, print_record, print_records
from .params import DURATION, VALUE_KINDS, read_value
from .settings import Settings, verb
from .values import Stored, decode, encode, entry_to_json, shown

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
def put(settings: Settings, key: str, value: str, ttl: Optional[float], kind: Optional[str]) -> None:
    """Store VALUE under KEY and print its version.

    VALUE is a text, `-` for stdin, `@FILE` for a file's bytes; `@@text` is a text that starts with `@`.
    """
    stored = encode(read_value(value, kind))
    with settings.client() as client:
        version = client.put(key_argument(key), stored, ttl=ttl)
    if not settings.quiet:
        print_record(settings, {"key": key, "version": str(version)}, str(version))


@verb()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
def delete(settings: Settings, keys: Tuple[str, ...]) -> None:
    """Remove each KEY; exit 1 when one was not there."""
    with settings.client() as client:
        existed = [(key, client.delete(key_argument(key))) for key in keys]
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
        print_record(settings, {"key": key, "exists": there}, "true" if there else "false")
    ctx.exit(0 if there else NOT_FOUND)


@verb()
@click.argument("key")
@click.option("--ttl", type=DURATION, help="Time to live from now.  [default: for ever]")
def touch(settings: Settings, key: str, ttl: Optional[float]) -> None:
    """Give KEY another time to live, keeping its value; exit 1 when it is not there."""
    with settings.client() as client:
        if not client.touch(key_argument(key), ttl):
            raise MissingKeyError(key)

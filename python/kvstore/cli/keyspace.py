"""keyspace: which there are, and how they come and go."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING

import click

from .output import Column, print_record, print_records
from .settings import Settings, verb

if TYPE_CHECKING:
    from kvstore.status import Consistency


@click.group()
def keyspace() -> None:
    """List, create and drop keyspaces; -k says which one the other commands work with."""


@verb("ls")
def list_keyspaces(settings: Settings) -> None:
    """Print the keyspaces: name, consistency, keys and bytes, the last two approximate in an eventual one."""
    columns = [
        Column("KEYSPACE", lambda record: str(record["name"])),
        Column("CONSISTENCY", lambda record: str(record["consistency"])),
        Column("KEYS", lambda record: str(record["keys"]), right=True),
        Column("BYTES", lambda record: str(record["bytes"]), right=True),
    ]
    with settings.client() as client:
        found = client.keyspaces()
    print_records(settings, "keyspaces", columns, (info._asdict() for info in found))


@verb()
@click.argument("name")
@click.option(
    "--consistency",
    type=click.Choice(["eventual", "strong"]),
    default="strong",
    show_default=True,
    help="eventual: each node takes writes by itself; strong: a majority agrees on each.",
)
@click.option(
    "--keep-conflicts",
    type=click.IntRange(0, 2**64 - 1),
    default=10_000,
    show_default=True,
    help="Of an eventual one: how many conflicts each node remembers.",
)
@click.option("--exist-ok", is_flag=True, help="One of the same consistency that is there already will do.")
def create(settings: Settings, name: str, *, consistency: Consistency, keep_conflicts: int, exist_ok: bool) -> None:
    """Create the keyspace NAME; exit 4 when it is there."""
    with settings.client() as client:
        client.create_keyspace(name, consistency=consistency, keep_conflicts=keep_conflicts, exist_ok=exist_ok)
    if not settings.quiet:
        print_record(settings, {"name": name, "consistency": consistency}, f"created {name}")


@verb()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(settings: Settings, name: str, *, yes: bool) -> None:
    """Drop the keyspace NAME with all its keys and locks. Asks on a terminal, and wants --yes elsewhere."""
    if not yes:
        if not sys.stdin.isatty():
            msg = f"this would drop {name} with all its keys: say --yes"
            raise click.UsageError(msg)
        click.confirm(f"Drop {name} with all its keys?", abort=True, err=True)
    with settings.client() as client:
        client.drop_keyspace(name)
    if not settings.quiet:
        print_record(settings, {"name": name, "dropped": True}, f"dropped {name}")


def _also_as(command: click.Command, name: str) -> click.Command:
    other = copy.copy(command)
    other.name, other.hidden = name, True
    return other


for _each in (list_keyspaces, _also_as(list_keyspaces, "list"), create, drop):
    keyspace.add_command(_each)

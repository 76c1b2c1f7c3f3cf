"""watch: what happens to keys, as it happens."""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Any, Dict, Final, List, Optional

import click

from .exits import NOT_RUN, SIGNALLED, Failure
from .keys import key_argument, key_text
from .output import to_json_text
from .settings import Settings, verb
from .values import SCHEMA, Stored, entry_to_json, escape, key_fields, shown

if TYPE_CHECKING:
    import kvstore

_NUL: Final = b"\0"


class _Position(click.ParamType):
    """A position as `watch -o jsonl` prints it."""

    name = "position"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> bytes:
        """The bytes; a usage error when it is no base64."""
        try:
            return base64.b64decode(str(value), validate=True)
        except binascii.Error as error:
            self.fail(f"no base64: {error}", param, ctx)


class _Command(click.ParamType):
    """A command and its arguments, in the quoting of a shell."""

    name = "command"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> List[str]:
        """Its words; a usage error when there is none, or a quote is left open."""
        try:
            words = shlex.split(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return words or self.fail("an empty command", param, ctx)


@verb()
@click.argument("key", required=False)
@click.option("--prefix", help="Watch the keys that begin with it, instead of one KEY or all.")
@click.option("--since", type=_Position(), help="Go on after this position, as `-o jsonl` printed it.")
@click.option("--initial", is_flag=True, help="Print what is there first.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
@click.option("--exec", "command", type=_Command(), metavar="CMD", help="Run CMD for each event, and print nothing.")
def watch(
    settings: Settings,
    key: Optional[str],
    prefix: Optional[str],
    limit: Optional[int],
    command: Optional[List[str]],
    **options: Any,
) -> None:
    """Print what happens to KEY, to the keys under a prefix or to all keys, until Ctrl-C.

    Plain output is a line an event, `type<TAB>key<TAB>value`; JSON is a line an event too, with the position after it.

    With --exec, CMD gets that line of JSON on stdin, and its type and key as KVSTORE_EVENT and KVSTORE_EVENT_KEY. It is
    run without a shell, once an event, one after the other. When it fails the watch ends with its exit code, and says
    from where to go on.
    """
    left = limit
    with settings.client() as client, client.watch(
        None if key is None else key_argument(key), prefix=None if prefix is None else key_argument(prefix), **options
    ) as changes:
        position = changes.position
        for event in changes:
            if command is None:
                _print(settings, event)
            else:
                _run(command, event, position)
            position = event.position
            left = None if left is None else left - 1
            if left == 0:
                return


def _print(settings: Settings, event: kvstore.Event[Stored]) -> None:
    as_json = settings.format in {"json", "jsonl"}
    click.echo(to_json_text(_record(event)) if as_json else _line(event))


def _run(command: List[str], event: kvstore.Event[Stored], before: bytes) -> None:
    """Run the command for an event; a Failure with its exit code and the position before the event if it fails."""
    environment = {**os.environ, "KVSTORE_EVENT": event.type}
    environment.pop("KVSTORE_EVENT_KEY", None)
    # The environment cannot hold every key. The JSON has it in any case.
    if _NUL not in event.key_bytes:
        environment["KVSTORE_EVENT_KEY"] = os.fsdecode(event.key_bytes)
    line = to_json_text(_record(event)).encode("ascii") + b"\n"
    try:
        code = subprocess.run(command, input=line, env=environment, check=False).returncode  # noqa: S603 - no shell
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror or error}"
        raise Failure(msg, NOT_RUN) from error
    if code:
        code = code if code > 0 else SIGNALLED - code
        what = f"{event.type} {escape(key_text(event.key_bytes))}"
        msg = f"{command[0]} ended with {code} at {what}; to begin with it again: --since {_encoded(before)}"
        raise Failure(msg, code)


def _encoded(position: bytes) -> str:
    return base64.b64encode(position).decode("ascii")


def _record(event: kvstore.Event[Stored]) -> Dict[str, Any]:
    position = _encoded(event.position)
    record: Dict[str, Any] = {"schema": SCHEMA, "event": event.type, "initial": event.initial, "position": position}
    if event.revision is not None:
        record["revision"] = str(event.revision)
    if event.entry is None:
        return {**record, **key_fields(event.key_bytes), "version": str(event.version)}
    return {**record, **entry_to_json(event.entry)}


def _line(event: kvstore.Event[Stored]) -> str:
    value = "" if event.entry is None else shown(event.entry.value)
    return "\t".join([event.type, escape(key_text(event.key_bytes)), value])

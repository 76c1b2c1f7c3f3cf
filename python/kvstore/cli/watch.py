"""watch: what happens to keys, as it happens."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Dict, Optional

import click

from .keys import key_argument, key_text
from .output import to_json_text
from .settings import Settings, verb
from .values import SCHEMA, Stored, entry_to_json, escape, key_fields, shown

if TYPE_CHECKING:
    import kvstore


class _Position(click.ParamType):
    """A position as `watch -o jsonl` prints it."""

    name = "position"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> bytes:
        """The bytes; a usage error when it is no base64."""
        try:
            return base64.b64decode(str(value), validate=True)
        except binascii.Error as error:
            self.fail(f"no base64: {error}", param, ctx)


@verb()
@click.argument("key", required=False)
@click.option("--prefix", help="Watch the keys that begin with it, instead of one KEY or all.")
@click.option("--since", type=_Position(), help="Go on after this position, as `-o jsonl` printed it.")
@click.option("--initial", is_flag=True, help="Print what is there first.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
def watch(settings: Settings, key: Optional[str], prefix: Optional[str], limit: Optional[int], **options: Any) -> None:
    """Print what happens to KEY, to the keys under a prefix or to all keys, until Ctrl-C.

    Plain output is a line an event, `type<TAB>key<TAB>value`; JSON is a line an event too, with the position after it.
    """
    as_json = settings.format in {"json", "jsonl"}
    left = limit
    with settings.client() as client, client.watch(
        None if key is None else key_argument(key), prefix=None if prefix is None else key_argument(prefix), **options
    ) as changes:
        for event in changes:
            click.echo(to_json_text(_record(event)) if as_json else _line(event))
            left = None if left is None else left - 1
            if left == 0:
                return


def _record(event: kvstore.Event[Stored]) -> Dict[str, Any]:
    position = base64.b64encode(event.position).decode("ascii")
    record: Dict[str, Any] = {"schema": SCHEMA, "event": event.type, "initial": event.initial, "position": position}
    if event.revision is not None:
        record["revision"] = str(event.revision)
    if event.entry is None:
        return {**record, **key_fields(event.key_bytes), "version": str(event.version)}
    return {**record, **entry_to_json(event.entry)}


def _line(event: kvstore.Event[Stored]) -> str:
    value = "" if event.entry is None else shown(event.entry.value)
    return "\t".join([event.type, escape(key_text(event.key_bytes)), value])

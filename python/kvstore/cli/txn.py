"""txn: compare, then write all or nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Final, List, Mapping, Optional, Tuple

import click

import kvstore

from .exits import NOT_FOUND
from .keys import key_argument
from .output import print_record, to_json_text
from .params import parse_duration
from .settings import Settings, verb
from .values import Stored, decode, encode, from_json, int_to_json, to_json

if TYPE_CHECKING:
    Step = Mapping[str, Any]

_FIELDS: Final = {
    "compare": {"key", "version", "absent", "present", "value", "type", "flags"},
    "put": {"put", "value", "type", "flags", "ttl"},
    "delete": {"delete"},
    "get": {"get"},
    "incr": {"incr", "by"},
}
_INT64_MAX: Final = 2**63 - 1


@verb()
@click.argument("file", metavar="FILE|-")
@click.pass_context
def txn(ctx: click.Context, settings: Settings, file: str) -> None:
    """Do what the JSON of FILE says, all or nothing, in a strong keyspace; exit 1 when a comparison fails.

    \b
    {"compare": [{"key": "a", "version": "17"}, {"key": "b", "absent": true},
                 {"key": "c", "value": "text"}, {"key": "d", "present": true}],
     "then":    [{"put": "a", "value": 5, "ttl": "10m"}, {"incr": "n", "by": 2}, {"get": "c"}],
     "else":    [{"get": "a"}, {"delete": "d"}]}

    All three may be left out. Values are as in `export`: with "type" where the value alone does not say it.
    """  # noqa: D301 - the escape is click's: leave this paragraph as it is
    compare, then, otherwise = _parse(_read(file))

    def run(attempt: kvstore.Txn[Stored]) -> Tuple[bool, List[Dict[str, Any]]]:
        # The first that fails decides: nothing is read that does not matter.
        holds = all(_holds(step, attempt.entry(key_argument(step["key"]))) for step in compare)
        return holds, [_do(attempt, step) for step in (then if holds else otherwise)]

    with settings.client() as client:
        holds, results = client.transact(run)
    lines = ["true" if holds else "false", *map(to_json_text, results)]
    print_record(settings, {"holds": holds, "results": results}, "\n".join(lines))
    ctx.exit(0 if holds else NOT_FOUND)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {file}: {error}"
        raise click.UsageError(msg) from error


def _parse(text: str) -> Tuple[List[Step], List[Step], List[Step]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        msg = f"no JSON: {error}"
        raise click.UsageError(msg) from error
    if not isinstance(document, dict) or not set(document) <= {"compare", "then", "else"}:
        msg = 'an object with "compare", "then" and "else" is wanted'
        raise click.UsageError(msg)
    compare = [_checked("compare", step) for step in document.get("compare", [])]
    branches = [[_checked(_kind(step), step) for step in document.get(name, [])] for name in ("then", "else")]
    return compare, branches[0], branches[1]


def _kind(step: Any) -> str:
    kinds = [kind for kind in ("put", "delete", "get", "incr") if isinstance(step, dict) and kind in step]
    if len(kinds) != 1:
        msg = f"{json.dumps(step)}: one of put, delete, get or incr is wanted"
        raise click.UsageError(msg)
    return kinds[0]


def _checked(kind: str, step: Any) -> Step:
    """A step whose fields are all known, and that can be done: before anything is asked of a node."""
    key = step.get("key" if kind == "compare" else kind) if isinstance(step, dict) else None
    if not isinstance(key, str) or not set(step) <= _FIELDS[kind]:
        msg = f"{json.dumps(step)}: a {kind} has a key, and of the fields {', '.join(sorted(_FIELDS[kind]))}"
        raise click.UsageError(msg)
    conditions = [name for name in ("version", "absent", "present", "value") if name in step]
    if kind == "compare" and len(conditions) != 1:
        msg = f"{json.dumps(step)}: one of version, absent, present or value is wanted"
        raise click.UsageError(msg)
    try:
        if "value" in step:
            from_json(step)
        int(step.get("version", 1)), int(step.get("by", 1))
        _ttl(step)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{json.dumps(step)}: {error}"
        raise click.UsageError(msg) from error
    checked: Step = step
    return checked


def _ttl(step: Step) -> Optional[float]:
    if step.get("ttl") is None:
        return None
    seconds = parse_duration(str(step["ttl"]))
    if seconds is None or seconds <= 0:
        msg = f"{step['ttl']!r} is no duration such as 500ms, 5s or 10m"
        raise ValueError(msg)
    return seconds


def _holds(step: Step, entry: Optional[kvstore.Entry[Stored]]) -> bool:
    if "version" in step:
        return entry is not None and entry.version == int(step["version"])
    if "value" in step:
        return entry is not None and entry.value == from_json(step)
    return (entry is None) == bool(step.get("absent", not step.get("present")))


def _do(attempt: kvstore.Txn[Stored], step: Step) -> Dict[str, Any]:
    kind = _kind(step)
    key = key_argument(step[kind])
    found = attempt.get(key)
    if kind == "put":
        attempt.put(key, from_json(step), ttl=_ttl(step))
        return {"put": step[kind]}
    if kind == "delete":
        attempt.delete(key)
        return {"delete": step[kind], "existed": found is not None}
    if kind == "get":
        return {"get": step[kind], **({"missing": True} if found is None else to_json(found))}
    number = _sum(step[kind], found, int(step.get("by", 1)))
    attempt.put(key, encode(number))
    return {"incr": step[kind], "value": int_to_json(number)}


def _sum(key: str, found: Optional[Stored], by: int) -> int:
    value = 0 if found is None else decode(found)
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"key {key!r}: the value is no integer"
        raise kvstore.CodecError(msg, code="NOT_AN_INTEGER")
    if not -_INT64_MAX - 1 <= value + by <= _INT64_MAX:
        msg = f"key {key!r}: the sum does not fit into 64 bits"
        raise kvstore.LimitError(msg, code="OVERFLOW")
    return value + by

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
from .values import Stored, encode, from_json, int_to_json, to_json

if TYPE_CHECKING:
    Step = Mapping[str, Any]

_FIELDS: Final = {
    "compare": {"key", "version", "absent", "present", "value", "type", "flags"},
    "put": {"put", "value", "type", "flags", "ttl"},
    "delete": {"delete"},
    "get": {"get"},
    "incr": {"incr", "by"},
}
_ATTEMPTS: Final = 16


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

    All three may be left out. Values are as in `export`: with "type" where the value alone does not say it. `incr`
    leaves the time to live and the lease of a key as they are.
    """  # noqa: D301 - the escape is click's: leave this paragraph as it is
    compare, then, otherwise = _parse(_read(file))

    with settings.client() as client:
        holds, results = _transact(client, compare, then, otherwise)
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
    except (ValueError, TypeError, KeyError, OverflowError) as error:
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


def _transact(
    client: kvstore.Client[Stored], compare: List[Step], then: List[Step], otherwise: List[Step]
) -> Tuple[bool, List[Dict[str, Any]]]:
    """Whether the comparisons hold, and what came of the steps; again when others were faster."""
    for _ in range(_ATTEMPTS):
        done = _try(client, compare, then, otherwise)
        if done is not None:
            return done
    msg = f"txn: something that it compares or gets was changed in each of {_ATTEMPTS} attempts; try again"
    raise kvstore.ConflictError(msg, code="VERSION_CONFLICT")


def _try(
    client: kvstore.Client[Stored], compare: List[Step], then: List[Step], otherwise: List[Step]
) -> Optional[Tuple[bool, List[Dict[str, Any]]]]:
    """None: what it compares has changed before it was done."""
    try:
        # A batch, and no transact(): its increments are the store's own, and leave ttl and lease of a key as they are.
        with client.batch(atomic=True) as batch:
            holds = _compare(client, batch, compare)
            steps = then if holds else otherwise
            pending = [_add(batch, step) for step in steps]
    except kvstore.ConflictError as error:
        if error.maybe_applied or error.code not in {"VERSION_CONFLICT", "KEY_EXISTS"}:
            raise
        return None
    return holds, [_result(step, each.result()) for step, each in zip(steps, pending)]


def _compare(client: kvstore.Client[Stored], batch: kvstore.Batch[Stored], compare: List[Step]) -> bool:
    """Whether all hold; the batch requires that what decided is still there when it is done."""
    seen: Dict[bytes, Optional[kvstore.Entry[Stored]]] = {}
    for step in compare:
        key = key_argument(step["key"])
        if key not in seen:
            entry = seen[key] = client.entry(key, read="linearizable")
            batch.require(key, version=None if entry is None else entry.version, absent=entry is None)
        # The first that fails decides: nothing is read that does not matter.
        if not _holds(step, seen[key]):
            return False
    return True


def _add(batch: kvstore.Batch[Stored], step: Step) -> kvstore.Pending[Any]:
    kind = _kind(step)
    key = key_argument(step[kind])
    if kind == "put":
        return batch.put(key, from_json(step), ttl=_ttl(step))
    if kind == "delete":
        return batch.delete(key)
    return batch.get(key) if kind == "get" else batch.incr(key, int(step.get("by", 1)))


def _result(step: Step, answer: Any) -> Dict[str, Any]:
    kind = _kind(step)
    if kind == "put":
        return {"put": step[kind]}
    if kind == "delete":
        return {"delete": step[kind], "existed": answer}
    if kind == "incr":
        return {"incr": step[kind], "value": int_to_json(answer)}
    # What an increment before it has made comes as the number itself.
    found = encode(answer) if isinstance(answer, int) else answer
    return {"get": step[kind], **({"missing": True} if found is None else to_json(found))}

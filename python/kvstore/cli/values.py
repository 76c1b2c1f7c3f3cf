"""Values as they are stored, and how they look: the command line decodes by the flags and never guesses.

A value keeps its exact bytes on every way in and out. It is written by its type where that gives back the same bytes
and flags, and as base64 with its flags where it would not.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
from typing import Any, Dict, Final, Mapping, NamedTuple, Optional, Tuple, Union

import kvstore

SCHEMA: Final = 1

_TYPE_BY_FLAGS: Final = {0: "bytes", 1: "str", 2: "int", 3: "float", 4: "bool", 5: "json"}

# What a double holds exactly; JSON readers round larger integers.
_EXACT_INT_MAX: Final = 2**53


class Stored(NamedTuple):
    """A value as the store keeps it."""

    payload: bytes
    flags: int


class _StoredCodec:
    """Hands values through as they are."""

    def encode(self, value: Stored) -> Tuple[bytes, int]:
        return value.payload, value.flags

    def decode(self, payload: bytes, flags: int) -> Stored:
        return Stored(payload, flags)


STORED: Final = _StoredCodec()


def encode(value: Any) -> Stored:
    """The stored form of a Python value, as `put` would store it."""
    return Stored(*kvstore.AUTO.encode(value))


def decode(stored: Stored) -> Any:
    """The Python value, or the bytes themselves where the flags say nothing to this version."""
    if stored.flags not in _TYPE_BY_FLAGS:
        return stored.payload
    try:
        return kvstore.AUTO.decode(stored.payload, stored.flags)
    except kvstore.CodecError:
        return stored.payload


def to_json(stored: Stored) -> Dict[str, Any]:
    """`type` and `value`, and `flags` where the type alone does not say them: what `from_json` turns back exactly."""
    kind = _TYPE_BY_FLAGS.get(stored.flags)
    value = decode(stored)
    if kind is None or kind == "bytes" or not _is_exact(value, stored):
        text = base64.b64encode(stored.payload).decode("ascii")
        return {"type": "bytes", "value": text} if kind == "bytes" else _opaque(text, stored.flags)
    if kind == "int":
        return {"type": kind, "value": int_to_json(value)}
    if kind == "float" and not math.isfinite(value):
        return {"type": kind, "value": str(value)}
    return {"type": kind, "value": value}


def int_to_json(number: int) -> Union[int, str]:
    """A text where a reader of JSON would round it."""
    return str(number) if abs(number) > _EXACT_INT_MAX else number


def _opaque(text: str, flags: int) -> Dict[str, Any]:
    return {"type": "raw", "value": text, "flags": flags}


def _is_exact(value: Any, stored: Stored) -> bool:
    try:
        return encode(value) == stored
    except kvstore.CodecError:
        return False


def from_json(record: Mapping[str, Any]) -> Stored:
    """The stored form of a record with `value` and perhaps `type` and `flags`; without `type`, the value's own.

    Raises:
        ValueError: The record's value does not fit its type; CodecError is one of them.
    """
    kind, value = record.get("type"), record.get("value")
    if kind is None:
        return encode(value)
    if kind == "raw":
        return Stored(from_base64(value), _integer("flags", record["flags"]))
    if kind == "bytes":
        return Stored(from_base64(value), 0)
    converters = {
        "int": lambda given: _integer("value", given),
        "float": float,
        "str": _only(str),
        "bool": _only(bool),
        "json": lambda same: same,
    }
    if kind not in converters:
        msg = f"unknown type {kind!r}"
        raise ValueError(msg)
    return encode(converters[kind](value))


def _integer(name: str, value: Any) -> int:
    try:
        return int(value)
    except OverflowError as error:
        msg = f"{name}: {value!r} is no integer"
        raise ValueError(msg) from error


def _only(kind: type) -> Any:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            msg = f"{value!r} is no {kind.__name__}"
            raise ValueError(msg)  # noqa: TRY004 - one exception for every record that cannot be read
        return value

    return check


def from_base64(text: Any) -> bytes:
    """The bytes; ValueError when it is no base64."""
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        msg = f"no base64: {error}"
        raise ValueError(msg) from error


def key_fields(key: bytes) -> Dict[str, str]:
    """`key` for text, `key_base64` for a key that is no UTF-8."""
    try:
        return {"key": key.decode("utf-8")}
    except UnicodeDecodeError:
        return {"key_base64": base64.b64encode(key).decode("ascii")}


def entry_to_json(entry: kvstore.Entry[Stored]) -> Dict[str, Any]:
    """An entry as every JSON output shows it, and as import reads it."""
    record: Dict[str, Any] = {"schema": SCHEMA, **key_fields(entry.key_bytes), **to_json(entry.value)}
    record["version"] = str(entry.version)
    record["ttl"] = None if entry.ttl is None else round(entry.ttl, 3)
    if entry.expires is not None:
        record["expires"] = entry.expires.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds")
    return record


def shown(stored: Stored, width: Optional[int] = None) -> str:
    """One line for people, without control characters, cut to `width` if given."""
    text = escape(as_text(stored))
    if width is not None and len(text) > width:
        return text[: max(width - 1, 0)] + "…"
    return text


def as_text(stored: Stored) -> str:
    """The value as text: strings and bytes as they are (what is no UTF-8 as hex escapes), the others as JSON."""
    value = decode(stored)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def escape(text: str) -> str:
    """The text on one line: what does not print (and could drive a terminal) becomes an escape."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")

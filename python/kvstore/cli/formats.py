"""The files of export and import: JSON lines and CSV.

A line of JSON is what `scan -o jsonl` prints: `key` (or `key_base64` for bytes that are no UTF-8), `type` and `value`,
`flags` where the type does not say them, `expires` for entries that end. Import also takes lines written by hand:
`{"key": "a", "value": [1, 2], "ttl": 60}`. A CSV file has the same fields as columns, with JSON for what is no text.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import json
from typing import IO, Any, Callable, Dict, Final, Iterable, Iterator, Mapping, NamedTuple, Optional, Tuple

import kvstore

from .exits import USAGE, Failure
from .output import to_json_text
from .values import SCHEMA, Stored, from_base64, from_json, key_fields, to_json

FORMATS: Final = ("jsonl", "csv")
_COLUMNS: Final = ("key", "key_base64", "type", "value", "flags", "expires")

# CSV readers refuse fields over 128 KiB unless told otherwise; a value of 1 MiB has 1.4 MB in base64.
_CSV_FIELD_BYTES_MAX: Final = 16 * 1024 * 1024


class Row(NamedTuple):
    """What a file says of an entry."""

    key: bytes
    value: Stored
    expires: Optional[dt.datetime]


def write_rows(out: IO[str], rows: Iterable[Row], form: str) -> int:
    """Write rows; how many they were."""
    return _write_csv(out, rows) if form == "csv" else _write_jsonl(out, rows)


def read_rows(source: IO[str], form: str, name: str) -> Iterator[Tuple[Row, int]]:
    """Rows of a file, each with how many of its characters it took.

    Raises:
        Failure: A line cannot be read; the text says which and why.
    """
    lines = _Counter(source)
    records = _csv_records(lines) if form == "csv" else _jsonl_records(lines)
    while True:
        before = lines.characters
        try:
            record = next(records, None)
            if record is None:
                return
            row = _row_of(record)
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            msg = f"{name}, line {lines.number}: {what}"
            raise Failure(msg, USAGE) from error
        yield row, lines.characters - before


class _Counter:
    """Hands lines on and knows how many there were."""

    def __init__(self, source: IO[str]) -> None:
        self._source = iter(source)
        self.number = 0
        self.characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._source)
        self.number += 1
        self.characters += len(line)
        return line


def _write_jsonl(out: IO[str], rows: Iterable[Row]) -> int:
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - it outlives the loop
        record: Dict[str, Any] = {"schema": SCHEMA, **key_fields(row.key), **to_json(row.value)}
        if row.expires is not None:
            record["expires"] = _timestamp(row.expires)
        out.write(to_json_text(record) + "\n")
    return count


def _jsonl_records(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        if line.strip():
            record = json.loads(line)
            if not isinstance(record, dict):
                msg = "not a JSON object"
                raise ValueError(msg)
            yield record


def _write_csv(out: IO[str], rows: Iterable[Row]) -> int:
    count = 0
    writer = csv.DictWriter(out, _COLUMNS, restval="")
    writer.writeheader()
    for count, row in enumerate(rows, start=1):  # noqa: B007 - it outlives the loop
        record = {**_plain_text_key(row.key), **_plain_text_value(row.value)}
        if row.expires is not None:
            record["expires"] = _timestamp(row.expires)
        writer.writerow(record)
    return count


def _plain_text_key(key: bytes) -> Dict[str, str]:
    # CSV readers stop at a NUL, and spreadsheets do worse.
    return {"key_base64": base64.b64encode(key).decode("ascii")} if b"\0" in key else key_fields(key)


def _plain_text_value(stored: Stored) -> Dict[str, Any]:
    record = to_json(stored)
    if not isinstance(record["value"], str) or record["type"] == "json":
        return {**record, "value": json.dumps(record["value"])}
    if "\0" in record["value"] or not _is_utf8(record["value"]):
        text = base64.b64encode(stored.payload).decode("ascii")
        return {"type": "raw", "value": text, "flags": stored.flags}
    return record


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _csv_records(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(_CSV_FIELD_BYTES_MAX)
    reader = csv.DictReader(lines)
    if not {"value"} <= set(reader.fieldnames or ()):
        msg = f"the first line must name the columns, such as {','.join(_COLUMNS)}"
        raise ValueError(msg)
    for fields in reader:
        record: Dict[str, Any] = {name: text for name, text in fields.items() if text or name == "value"}
        kind = record.setdefault("type", "str")
        if kind in {"json", "bool"}:
            record["value"] = json.loads(record["value"])
        yield record


def _row_of(record: Mapping[str, Any]) -> Row:
    schema = record.get("schema", SCHEMA)
    if schema != SCHEMA:
        msg = f"schema {schema!r} is unknown to kvstore {kvstore.__version__}"
        raise ValueError(msg)
    key = from_base64(record["key_base64"]) if "key_base64" in record else _key_bytes(record["key"])
    return Row(key, from_json(record), _expiry(record))


def _key_bytes(key: Any) -> bytes:
    if not isinstance(key, str) or not key:
        msg = f"key {key!r} is no text, or empty"
        raise ValueError(msg)
    return key.encode("utf-8")


def _expiry(record: Mapping[str, Any]) -> Optional[dt.datetime]:
    if record.get("expires"):
        return _parse_timestamp(str(record["expires"]))
    if record.get("ttl") is not None:
        return _end_of(record["ttl"])
    return None


def _end_of(ttl: Any) -> dt.datetime:
    try:
        return dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=float(ttl))
    except (ValueError, OverflowError) as error:
        msg = f"ttl: {ttl!r} is no number of seconds, or too many"
        raise ValueError(msg) from error


def _timestamp(when: dt.datetime) -> str:
    return when.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds")


def _parse_timestamp(text: str) -> dt.datetime:
    parse: Callable[[str], dt.datetime] = dt.datetime.fromisoformat
    when = parse(text[:-1] + "+00:00" if text.endswith("Z") else text)
    return when if when.tzinfo else when.replace(tzinfo=dt.timezone.utc)

"""Kinds of arguments: durations such as `10m`, sizes, values from the command line, a file or stdin."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, Final, Optional

import click

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

_COUNT_UNITS: Final = {"": 1, "k": 1_000, "m": 1_000_000}
_COUNT: Final = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")

_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_SHARE_MIN: Final = 0.000001

VALUE_KINDS: Final = ("str", "bytes", "int", "json")


class Duration(click.ParamType):
    """Seconds as a float, written as `1.5`, `500ms`, `10m` or `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        """The seconds; a usage error says what a duration looks like."""
        if isinstance(value, (int, float)):
            return float(value)
        seconds = parse_duration(str(value))
        if seconds is None or seconds <= 0:
            self.fail(f"{value!r} is no duration such as 500ms, 5s, 10m, 1h30m or 2d", param, ctx)
        return seconds


class Count(click.ParamType):
    """A number of things, written as `500`, `20k` or `1M`."""

    name = "count"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        """The number; a usage error says what it looks like."""
        if isinstance(value, int):
            return value
        match = _COUNT.fullmatch(str(value))
        count = int(float(match[1]) * _COUNT_UNITS[match[2].lower()]) if match else 0
        if count <= 0:
            self.fail(f"{value!r} is no number such as 500, 20k or 1M", param, ctx)
        return count


class Share(click.ParamType):
    """A share of all, over 0 and up to 1, written as `1%` or `0.01`."""

    name = "share"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        """The share as a float; a usage error says what it looks like."""
        if isinstance(value, float):
            return value
        share = parse_share(str(value))
        if share is None:
            self.fail(f"{value!r} is no share such as 1%, 0.5% or 100%", param, ctx)
        return share


VERSION: Final = click.IntRange(1, 2**64 - 1)
"""What counts versions and leases: 64 bits, never 0."""

DURATION: Final = Duration()
COUNT: Final = Count()
SHARE: Final = Share()


class Sample(click.ParamType):
    """How to sample calls: a share such as `1%`, or so many a second, such as `100/s`."""

    name = "sample"

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Dict[str, Any]:
        """As `Monitor` takes it; a usage error says what it looks like."""
        if isinstance(value, dict):
            return value
        text = str(value)
        if text.endswith("/s"):
            return {"per_second": COUNT.convert(text[:-2], param, ctx)}
        share = parse_share(text)
        return {"sample": share} if share else self.fail(f"{text!r} is no sample such as 1% or 100/s", param, ctx)


SAMPLE: Final = Sample()


def parse_share(text: str) -> Optional[float]:
    """From 0.000001 to 1, or None when the text is no share."""
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    return share if _SHARE_MIN <= share <= 1 else None


def parse_duration(text: str) -> Optional[float]:
    """Seconds, or None when the text is no duration. A number without a unit is seconds."""
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else _sum_of_parts(text)
    except ValueError:
        return None


def _sum_of_parts(text: str) -> Optional[float]:
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


def read_value(argument: str, kind: Optional[str]) -> Any:
    """The value meant by VALUE: the text itself, `-` for stdin, `@file` for a file, `@@text` for a text with an @.

    Args:
        argument: VALUE as given.
        kind: One of `VALUE_KINDS`; None means str for a text and bytes for stdin and files.

    Returns:
        What to store.

    Raises:
        click.UsageError: The value cannot be read, or is not of that kind.
    """
    data = _data_of(argument)
    if data is None:
        text = argument[1:] if argument.startswith("@@") else argument
        return _of_kind(text.encode("utf-8", "surrogateescape"), kind or "str")
    return _of_kind(data, kind or "bytes")


def _data_of(argument: str) -> Optional[bytes]:
    if argument == "-":
        return sys.stdin.buffer.read()
    if argument.startswith("@") and not argument.startswith("@@"):
        try:
            return Path(argument[1:]).read_bytes()
        except OSError as error:
            msg = f"cannot read {argument[1:]}: {error.strerror or error}"
            raise click.UsageError(msg) from error
    return None


def _of_kind(data: bytes, kind: str) -> Any:
    if kind == "bytes":
        return data
    try:
        text = data.decode("utf-8")
        if kind == "int":
            return int(text)
        return json.loads(text) if kind == "json" else text
    except ValueError as error:
        msg = f"the value is no {kind}: {error}"
        raise click.UsageError(msg) from error

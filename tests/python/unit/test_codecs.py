from __future__ import annotations

import collections
import contextlib
import datetime as dt
import enum
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvstore
from kvstore import AUTO, BYTES, JSON, TEXT, CodecError

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
values = json_values | st.binary() | st.floats(allow_nan=False)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not True, and not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@given(values)
def test_auto_values_come_back_as_they_went_in(value: Any) -> None:
    assert same(AUTO.decode(*AUTO.encode(value)), value)


@given(json_values)
def test_json_values_come_back(value: Any) -> None:
    assert same(JSON.decode(*JSON.encode(value)), value)


@given(text)
def test_text_comes_back(value: str) -> None:
    assert TEXT.decode(*TEXT.encode(value)) == value


@given(st.binary(max_size=64), st.integers(0, 2**32 - 1))
def test_no_stored_bytes_raise_anything_but_codec_error(payload: bytes, flags: int) -> None:
    for codec in (AUTO, BYTES, TEXT, JSON):
        with contextlib.suppress(CodecError):
            codec.decode(payload, flags)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (b"raw", (b"raw", 0)),
        ("text", (b"text", 1)),
        (1, (b"\x01" + bytes(7), 2)),
        (-1, (b"\xff" * 8, 2)),
        (2**63 - 1, (b"\xff" * 7 + b"\x7f", 2)),
        (2**63, (b"9223372036854775808", 5)),
        (1.0, (b"\x00\x00\x00\x00\x00\x00\xf0?", 3)),
        (True, (b"\x01", 4)),
        (False, (b"\x00", 4)),
        (None, (b"null", 5)),
        ({"ü": [1, None]}, ('{"ü":[1,null]}'.encode(), 5)),
    ],
)
def test_the_stored_form_is_fixed(value: Any, encoded: Any) -> None:
    assert AUTO.encode(value) == encoded


def test_nan_is_kept_as_a_value_of_its_own() -> None:
    value = AUTO.decode(*AUTO.encode(float("nan")))
    assert value != value  # noqa: PLR0124  # that is what NaN does


@pytest.mark.parametrize("value", [bytearray(b"xyz"), memoryview(b"xyz"), memoryview(b"x.y.z.")[::2]])
def test_bytes_like_values_come_back_as_bytes(value: Any) -> None:
    assert AUTO.decode(*AUTO.encode(value)) == b"xyz"


class Color(str, enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
        {1: "x"},
        {"x": {None: 1}},
        [(1,)],
        [float("nan")],
        {"x": float("inf")},
        [b"bytes"],
        Color.RED,
        Number.ONE,
        collections.OrderedDict(x=1),
        object(),
        1j,
        "\ud800",
        ["\ud800"],
    ],
    ids=repr,
)
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(CodecError, match=r"^value: "):
        AUTO.encode(value)


def test_a_value_inside_itself_is_refused() -> None:
    value: Any = []
    value.append(value)
    with pytest.raises(CodecError, match="nested deeper"):
        AUTO.encode(value)


def test_deep_values_are_refused_before_the_stack_ends() -> None:
    value: Any = None
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CodecError, match="nested deeper"):
        AUTO.encode(value)
    # Python itself would recurse to free it on old versions.
    while value:
        value = value.pop()
    with pytest.raises(CodecError):
        AUTO.decode(b"[" * 100_000, 5)


def test_a_codec_that_returns_nonsense_is_named(node: kvstore.Node) -> None:
    class Nonsense:
        def encode(self, value: Any) -> Any:
            return value

        def decode(self, payload: bytes, flags: int) -> Any:
            raise AssertionError

        def __str__(self) -> str:
            return "Nonsense"

    with pytest.raises(CodecError, match=r"encode\(\) of the codec Nonsense"):
        node.with_options(codec=Nonsense()).put("k", 1)


@pytest.mark.parametrize("codec", [AUTO, BYTES, TEXT, JSON], ids=repr)
def test_codecs_pickle_as_themselves(codec: Any) -> None:
    assert pickle.loads(pickle.dumps(codec)) is codec

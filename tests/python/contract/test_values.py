"""Values, codecs and views."""

from __future__ import annotations

from typing import Any

import pytest

import kvstore

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**70,
    0.5,
    float("inf"),
    "",
    "ünï",
    b"",
    b"\xff\x00",
    [1, [2, None]],
    {"a": {"b": [True]}},
]


def test_values_come_back_as_they_went_in(store: Any) -> None:
    items = {f"types/{number:02}": value for number, value in enumerate(VALUES)}
    for key, value in items.items():
        store.put(key, value)
    for found in (items, store.get_many(items), {entry.key: entry.value for entry in store.scan()}):
        assert [(type(value), value) for value in found.values()] == [(type(value), value) for value in VALUES]
    for key, value in items.items():
        back = store.get(key)
        assert (type(back), back) == (type(value), value)


REFUSED = {"tuple": (1, 2), "set": {1, 2}, "int key": {1: "x"}, "object": object(), "surrogate": "\ud800"}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_would_not_come_back_is_refused(store: Any, value: Any) -> None:
    with pytest.raises(kvstore.CodecError, match=r"^value: "):
        store.put("k", value)
    with pytest.raises(kvstore.CodecError, match=r"^value: "):
        store.put_many({"a": 1, "k": value})
    assert store.count() == 0


class Reversed:
    """A codec of a user."""

    def encode(self, value: str) -> Any:
        return value[::-1].encode(), 300

    def decode(self, payload: bytes, flags: int) -> str:
        assert flags == 300
        return payload.decode()[::-1]


def test_codecs_of_users_get_their_flags_back(store: Any) -> None:
    view = store.with_options(codec=Reversed())
    view.put("k", "abc")
    view.put_many({"l": "def"})
    assert view.get("k") == "abc"
    assert view.entry("k").flags == 300
    assert view.get_many(["k", "l"]) == {"k": "abc", "l": "def"}
    assert [entry.value for entry in view.scan()] == ["abc", "def"]
    with view.batch() as batch:
        batch.put("m", "ghi")
        value = batch.get("m")
    assert value.result() == "ghi"
    assert view.pop("m") == "ghi"
    with pytest.raises(kvstore.CodecError, match="flags 300") as caught:
        store.get("k")
    assert caught.value.payload == b"cba"
    assert store.with_options(codec=kvstore.BYTES).get("k") == b"cba"


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (kvstore.AUTO, {"a": [1]}),
        (kvstore.BYTES, b"\x00raw"),
        (kvstore.TEXT, "text"),
        (kvstore.JSON, [1, {"b": None}]),
        (kvstore.PICKLE, {(1, 2): {3}}),
    ],
    ids=repr,
)
def test_every_codec_is_taken(store: Any, codec: Any, value: Any) -> None:
    view = store.with_options(codec=codec)
    view.put("k", value)
    assert view.get("k") == value
    with view.watch(initial=True) as watch:
        assert watch.next(60).entry.value == value


def test_a_view_has_defaults_of_its_own(store: Any) -> None:
    view = store.with_options(codec=kvstore.TEXT, timeout=20, read="local")
    view.put("k", "text")
    assert view.get("k") == store.get("k") == "text"
    with pytest.raises(kvstore.CodecError):
        view.put("k", 1)
    assert "view of" in repr(view)
    # An option that is not given stays.
    assert view.with_options(timeout=10).get("k") == "text"
    with pytest.raises(kvstore.CodecError):
        view.with_options(timeout=10).put("k", 1)


def test_a_view_of_a_keyspace_is_that_keyspace(store: Any, place: Any) -> None:
    store.put("k", "here")
    assert store.keyspace(place.keyspace).get("k") == "here"
    assert store.info().name == place.keyspace
    assert store.info().consistency == place.engine
    assert (store.info().keys, store.info().conflicts) == (1, 0)
    assert place.keyspace in [info.name for info in store.keyspaces()]
    other = store.create_keyspace("other", consistency="strong", exist_ok=True)
    try:
        assert other.get("k") is None
        other.put("k", "there")
        assert store.get("k") == "here"
    finally:
        store.drop_keyspace("other")
    with pytest.raises(kvstore.InvalidArgumentError) as caught:
        store.keyspace("missing").get("k")
    assert caught.value.code == "UNKNOWN_KEYSPACE"


def test_nothing_was_lost(store: Any) -> None:
    store.put("k", 1)
    store.put("k", 2)
    assert list(store.conflicts()) == []

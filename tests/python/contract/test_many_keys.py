"""Calls about many keys: together, by prefix, and page by page."""

from __future__ import annotations

from typing import Any

import pytest

import kvstore

MIB = 1024 * 1024


def test_many_keys_take_one_call(store: Any) -> None:
    assert store.put_many({"a": 1, b"b": 2, "c": 3}) is None
    assert store.get_many(iter(["a", b"b", "missing"])) == {"a": 1, "b": 2}
    assert store.delete_many(["a", "missing", "c"]) == 2
    assert store.count() == 1
    store.put_many({})
    assert store.get_many([]) == {}
    assert store.delete_many([]) == 0


def test_many_keys_get_one_time_to_live(store: Any) -> None:
    store.put_many({"a": 1, "b": 2}, ttl=60)
    assert all(50 < store.entry(key).ttl <= 60 for key in "ab")


def test_a_bad_item_leaves_nothing_of_all(store: Any) -> None:
    for items in ({"a": 1, "b": object()}, {"a": 1, "": 2}, {"a": 1, "k" * 8193: 2}):
        with pytest.raises(kvstore.InvalidArgumentError):
            store.put_many(items)
    assert store.count() == 0


def test_keys_are_deleted_by_their_prefix(store: Any) -> None:
    store.put_many({f"p:{number:04}": number for number in range(1500)})
    store.put("q", 1)
    assert store.delete_prefix("p:") == 1500
    assert list(store.keys()) == ["q"]
    assert store.delete_prefix(b"q") == 1
    assert store.delete_prefix("") == 0


@pytest.fixture
def numbers(store: Any) -> Any:
    store.put_many({f"n:{number:04}": number for number in range(2500)})
    store.put_many({"a": -1, "z": -2})
    return store


def test_a_scan_gives_each_key_once_in_order(numbers: Any) -> None:
    assert [entry.value for entry in numbers.scan("n:")] == list(range(2500))
    assert [entry.value for entry in numbers.scan("n:", reverse=True)] == list(range(2499, -1, -1))
    keys = list(numbers.keys())
    assert (keys[0], keys[-1], len(keys)) == ("a", "z", 2502)
    assert numbers.count() == 2502
    assert numbers.count(b"n:") == 2500


@pytest.mark.parametrize("page_size", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_do_not_show(numbers: Any, page_size: int, reverse: Any) -> None:
    found = [entry.value for entry in numbers.scan(start="n:0100", end="n:0150", page_size=page_size, reverse=reverse)]
    assert sorted(found) == list(range(100, 150))
    assert found == sorted(found, reverse=reverse)


@pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001, 5000])
def test_a_limit_is_exact(numbers: Any, limit: int) -> None:
    assert len(list(numbers.scan("n:", limit=limit))) == min(limit, 2500)
    assert list(numbers.keys("n:", limit=limit)) == [f"n:{number:04}" for number in range(min(limit, 2500))]


def test_empty_ranges_are_empty(numbers: Any) -> None:
    assert list(numbers.keys("missing")) == []
    assert list(numbers.keys(start="b", end="a")) == []
    assert list(numbers.keys("n:", start="o")) == []
    assert numbers.count("missing") == 0


def test_a_scan_is_lazy_and_sees_what_is_written_ahead_of_it(store: Any) -> None:
    store.put_many({"a": 1, "b": 2})
    entries = store.scan(page_size=1)
    assert next(entries).key == "a"
    store.put("c", 3)
    assert [entry.key for entry in entries] == ["b", "c"]


def test_bad_pages_are_refused_at_once(store: Any) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^page_size: "):
        store.scan(page_size=0)
    for call in (store.scan, store.keys):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^limit: "):
            call(limit=-1)


def test_more_than_fits_into_a_message_is_read_all_the_same(store: Any) -> None:
    values = {f"big:{number}": bytes([number]) * MIB for number in range(6)}
    for key, value in values.items():
        store.put(key, value)
    assert {entry.key: entry.value for entry in store.scan()} == values
    assert [entry.key for entry in store.scan(reverse=True, limit=2)] == ["big:5", "big:4"]

"""Bounds: their edge passes, what is beyond is refused by name, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

import kvstore

KEY_BYTES_MAX = 8 * 1024
VALUE_BYTES_MAX = 1024 * 1024
# Operations of one call that writes.
BATCH_MAX = {"eventual": 4096, "strong": 10_000}


def test_the_largest_key_and_value_pass(store: Any) -> None:
    store.put("k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX)
    assert store.get("k" * KEY_BYTES_MAX) == b"v" * VALUE_BYTES_MAX
    for key in (b"\x00", b"\xff"):
        store.put(key, 1)
        assert store.get(key) == 1


def test_what_is_too_large_is_named(store: Any) -> None:
    store.put("k", "small")
    long_key = "k" * (KEY_BYTES_MAX + 1)
    refused = [
        (lambda: store.put(long_key, 1), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.get(long_key), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.delete(long_key), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.touch(long_key, 1), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.get_many([long_key]), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.delete_many([long_key]), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.put_many({long_key: 1}), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.watch(long_key), "key", "KEY_TOO_LONG"),
        (lambda: store.put("k", b"v" * (VALUE_BYTES_MAX + 1)), "value.*1048577.*1048576", "VALUE_TOO_LARGE"),
    ]
    for call, text, code in refused:
        with pytest.raises(kvstore.LimitError, match=text) as caught:
            call()
        assert caught.value.code == code
        assert not caught.value.maybe_applied
        assert not caught.value.retryable
    assert [entry.value for entry in store.scan()] == ["small"]


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_a_number_out_of_range_is_named(host: kvstore.Node, store: Any, engine: str, number: int) -> None:
    refused = [
        (lambda: store.watch(buffer=number), "buffer"),
        (lambda: list(store.scan(limit=1 << 70, page_size=number)), "page_size"),
        (lambda: host.create_keyspace("never", keep_conflicts=number), "keep_conflicts"),
    ]
    if engine == "strong":
        refused += [
            (lambda: store.put("k", 1, if_version=number), "if_version"),
            (lambda: store.delete("k", if_version=number), "if_version"),
            (lambda: store.find_lease(number), "lease_id"),
        ]
    for call, name in refused:
        with pytest.raises(kvstore.InvalidArgumentError, match=f"^{name}: {number}"):
            call()
    for no_number in (1.5, "1"):
        with pytest.raises(TypeError, match="buffer is an int, not"):
            store.watch(buffer=no_number)


def test_an_empty_key_is_none(store: Any) -> None:
    for call in (store.get, store.delete, store.exists, store.entry, store.pop, lambda key: store.put(key, 1)):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^key: must not be empty") as caught:
            call("")
        assert caught.value.code == "KEY_EMPTY"
    for call in (store.get_many, store.delete_many):
        with pytest.raises(kvstore.InvalidArgumentError, match="must not be empty"):
            call(["a", ""])
    assert store.count() == 0


def test_a_call_writes_as_many_keys_as_its_engine_takes(store: Any, engine: str) -> None:
    most = BATCH_MAX[engine]
    many = {f"many/{number}": number for number in range(most)}
    store.put_many(many)
    assert store.count() == most
    for call in (lambda: store.put_many({**many, "one more": 1}), lambda: store.delete_many([*many, "one more"])):
        with pytest.raises(kvstore.LimitError) as caught:
            call()
        assert caught.value.code == "BATCH_TOO_LARGE"
        assert store.count() == most
    assert store.delete_many(many) == most


def test_a_call_reads_4096_keys(store: Any) -> None:
    many = [f"many/{number}" for number in range(4096)]
    store.put_many({many[0]: 1, many[-1]: 2})
    assert store.get_many(many) == {many[0]: 1, many[-1]: 2}
    with pytest.raises(kvstore.LimitError, match="4097") as caught:
        store.get_many([*many, "one more"])
    assert caught.value.code == "BATCH_TOO_LARGE"


def test_a_call_writes_no_more_than_four_mebibytes(store: Any) -> None:
    with pytest.raises(kvstore.LimitError) as caught:
        store.put_many({str(number): b"v" * VALUE_BYTES_MAX for number in range(5)})
    assert caught.value.code == "BATCH_TOO_LARGE"
    assert store.count() == 0

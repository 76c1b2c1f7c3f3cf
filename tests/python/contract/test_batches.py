"""Batches: calls that are sent together."""

from __future__ import annotations

from typing import Any, Callable, List

import pytest

import kvstore


def test_a_batch_is_sent_at_its_end(store: Any) -> None:
    store.put("old", 1)
    with store.batch() as batch:
        before, version = batch.get("new"), batch.put("new", 2, ttl=60)
        after, gone, missing = batch.get("new"), batch.delete("old"), batch.delete("missing")
        with pytest.raises(kvstore.ClosedError):
            before.result()
    assert all(isinstance(pending, kvstore.Pending) for pending in (before, version, after, gone, missing))
    assert (before.result(), after.result(), gone.result(), missing.result()) == (None, 2, True, False)
    assert store.entry("new").version == version.result()
    assert store.entry("new").ttl > 50
    assert not store.exists("old")
    with pytest.raises(kvstore.ClosedError):
        batch.put("late", 1)


def test_an_empty_batch_does_nothing(store: Any) -> None:
    with store.batch():
        pass
    assert store.count() == 0


def test_an_exception_inside_sends_nothing(store: Any) -> None:
    def fail() -> None:
        with store.batch() as batch:
            pending.append(batch.put("k", 1))
            raise ZeroDivisionError

    pending: Any = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not store.exists("k")
    with pytest.raises(kvstore.ClosedError):
        pending[0].result()


def test_a_bad_operation_is_refused_where_it_stands(store: Any) -> None:
    with store.batch() as batch:
        good = batch.put("good", 1)
        with pytest.raises(kvstore.CodecError):
            batch.put("k", object())
        with pytest.raises(kvstore.InvalidArgumentError):
            batch.put("", 1)
        with pytest.raises(kvstore.InvalidArgumentError):
            batch.put("k", 1, ttl=0)
    assert good.result() == store.entry("good").version
    assert store.count() == 1


def test_operations_are_done_in_order(store: Any) -> None:
    with store.batch() as batch:
        answers = []
        for number in range(50):
            batch.put("k", number)
            answers.append(batch.get("k"))
    assert [answer.result() for answer in answers] == list(range(50))


def test_operations_belong_inside_the_block(store: Any) -> None:
    batch = store.batch()
    operations: List[Callable[[], Any]] = [
        lambda: batch.get("k"),
        lambda: batch.put("k", 1),
        lambda: batch.delete("k"),
        lambda: batch.incr("k"),
        lambda: batch.require("k", absent=True),
    ]
    for operation in operations:
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^batch: .* inside its `with` block"):
            operation()
    with batch:
        version = batch.put("k", 2)
    assert store.entry("k").version == version.result()
    for operation in operations:
        with pytest.raises(kvstore.ClosedError) as caught:
            operation()
        assert caught.value.code == "SENT"

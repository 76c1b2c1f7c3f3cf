"""What is of eventual keyspaces alone; what it shares with strong ones is in tests/python/contract."""

from __future__ import annotations

from typing import Any, Callable

import pytest

import kvstore


def test_there_is_an_eventual_keyspace_from_the_start(store: Any) -> None:
    store["k"] = 1
    assert store.info() == kvstore.KeyspaceInfo("default", "eventual", 1, store.status().bytes, 0)
    assert store.info() in store.keyspaces()
    assert store.keyspace("default")["k"] == 1
    assert store.create_keyspace("default", exist_ok=True)["k"] == 1
    for consistency in ("eventual", "strong"):
        with pytest.raises(kvstore.KeyExistsError, match="default"):
            store.create_keyspace("default", consistency=consistency)
    for call in (store.drop_keyspace, store.create_keyspace):
        with pytest.raises(kvstore.DeniedError, match="system"):
            call("system")
    with pytest.raises(kvstore.InvalidArgumentError, match="default"):
        store.drop_keyspace("default")
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^consistency: "):
        store.create_keyspace("k", consistency="weak")


def test_a_keyspace_is_eventual_unless_something_else_is_said(store: Any) -> None:
    made = store.create_keyspace("k")
    made["here"] = 1
    assert "'k'" in repr(made)
    assert [(info.name, info.consistency, info.keys) for info in store.keyspaces()] == [
        ("default", "eventual", 0),
        ("k", "eventual", 1),
    ]
    assert store.get("here") is None
    assert made.info() == store.keyspaces()[1]
    store.drop_keyspace("k")
    assert [info.name for info in store.keyspaces()] == ["default"]


def test_each_operation_of_a_batch_has_an_error_of_its_own(store: Any) -> None:
    class Picky:
        def encode(self, value: Any) -> Any:
            return bytes(value, "ascii"), 300

        def decode(self, payload: bytes, flags: int) -> Any:
            if payload == b"bad":
                msg = "bad"
                raise kvstore.CodecError(msg)
            return payload.decode()

    picky = store.with_options(codec=Picky())
    with picky.batch() as batch:
        batch.put("a", "good")
        batch.put("b", "bad")
        good, bad = batch.get("a"), batch.get("b")
    assert good.result() == "good"
    with pytest.raises(kvstore.CodecError, match="bad"):
        bad.result()


def test_status_tells_what_is_held(store: Any, until: Callable[[Callable[[], bool]], None]) -> None:
    store.put_many({"a": 1, "b": 2})
    store.delete("b")
    status = store.status(digests=True)
    assert (status.keys, status.tombstones, status.healthy) == (1, 1, True)
    # It founds its group by itself, in a moment.
    until(lambda: store.status().role == "leader")
    assert store.status().leader == status.id
    assert status.version == kvstore.__version__
    assert sum(digest.records for digest in status.digests) == 1
    assert (status.divergences, status.refused_writes, status.held_back_by) == (0, 0, ())
    assert store.status().digests == ()
    assert [(member.id, member.connected) for member in store.members()] == [(status.id, True)]
    assert store.ping() >= 0

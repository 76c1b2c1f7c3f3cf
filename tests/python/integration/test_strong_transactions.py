"""Transactions and batches of strong keyspaces: all or nothing, and nothing seen half-done."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List

import pytest

import kvstore


def move(strong: Any, source: str, target: str) -> None:
    def step(txn: Any) -> None:
        left = txn.get(source)
        if left > 0:
            txn.put(source, left - 1)
            txn.put(target, txn.get(target) + 1)

    strong.transact(step, attempts=200)


def test_what_is_moved_is_never_seen_twice_or_nowhere(strong: Any) -> None:
    accounts = ["a", "b", "c"]
    strong.put_many(dict.fromkeys(accounts, 100))
    sums: List[int] = []
    done = threading.Event()

    def audit() -> None:
        while not done.is_set():
            sums.append(sum(strong.transact(lambda txn: [txn.get(account) for account in accounts])))
            sums.append(sum(strong.get_many(accounts).values()))

    auditor = threading.Thread(target=audit)
    auditor.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(move, strong, *pair) for _ in range(10) for pair in ("ab", "bc", "ca")]
            for job in jobs:
                job.result()
    finally:
        done.set()
        auditor.join()
    assert set(sums) == {300}


def test_a_transaction_sees_one_moment_and_its_own_writes(strong: Any) -> None:
    strong.put_many({"a": 1, "b": 1})
    runs = []

    def step(txn: Any) -> Any:
        runs.append(len(runs))
        before = txn.get("a")
        if len(runs) == 1:
            # Another one, between the two reads: the second read does not see it, and the first run is in vain.
            strong.put_many({"a": 2, "b": 2})
        assert (before, txn.get("b")) == ((1, 1) if len(runs) == 1 else (2, 2))
        txn.put("a", {"new": before})
        assert txn.get("a") == {"new": before}
        txn.delete("b")
        assert txn.get("b") is None
        assert txn.entry("b").value == before
        return before

    assert strong.transact(step) == 2
    assert runs == [0, 1]
    assert (strong["a"], strong.get("b")) == ({"new": 2}, None)


def test_a_transaction_that_only_reads_changes_nothing(strong: Any) -> None:
    strong["k"] = 1
    version = strong.entry("k").version
    assert strong.transact(lambda txn: (txn.get("k"), txn.get("missing"))) == (1, None)
    assert strong.entry("k").version == version


def test_an_error_inside_a_transaction_writes_nothing(strong: Any) -> None:
    def step(txn: Any) -> None:
        txn.put("k", 1)
        msg = "stop"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="stop"):
        strong.transact(step)
    assert not strong.exists("k")


def test_attempts_run_out(strong: Any) -> None:
    runs = []

    def step(txn: Any) -> None:
        runs.append(txn.get("k"))
        strong.incr("k")
        txn.put("k", 0)

    with pytest.raises(kvstore.ConflictError, match="3 attempts"):
        strong.transact(step, attempts=3)
    assert runs == [None, 1, 2]
    with pytest.raises(kvstore.ConflictError, match="2 attempts"):
        strong.update("k", lambda _: strong.incr("k"), attempts=2)
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^attempts: "):
        strong.update("k", lambda value: value, attempts=0)
    assert strong["k"] == 5


def test_no_update_is_lost_among_threads(strong: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: strong.update("k", lambda old: [*(old or []), n], attempts=500), range(40)))
    assert sorted(strong["k"]) == list(range(40))


def test_the_versions_of_a_transaction_are_one(strong: Any) -> None:
    with strong.batch(atomic=True) as batch:
        a, b = batch.put("a", 1), batch.put("b", 2, ttl=60)
        number = batch.incr("n", 5)
        sums = batch.get("n")
        gone = batch.delete("missing")
        early, late = batch.get("c"), batch.put("c", 3)
        after = batch.get("c")
    assert a.result() == b.result() == late.result() == strong.entry("a").version == strong.entry("n").version
    assert (number.result(), sums.result(), gone.result()) == (5, 5, False)
    assert (early.result(), after.result()) == (None, 3)
    assert strong.entry("b").ttl > 50


def test_a_batch_does_nothing_unless_its_requirements_hold(strong: Any) -> None:
    version = strong.put("k", 1)

    def attempt(key: str, **required: Any) -> None:
        with strong.batch(atomic=True) as batch:
            batch.require(key, **required)
            batch.put("done", key)
            batch.get("k")

    for key, required in (("k", {"absent": True}), ("k", {"version": version + 1}), ("l", {}), ("l", {"version": 1})):
        with pytest.raises(kvstore.ConflictError) as caught:
            attempt(key, **required)
        assert caught.value.key == key
        assert caught.value.current_version == (version if key == "k" else None)
        assert not strong.exists("done")
    for key, required in (("k", {"version": version}), ("k", {}), ("l", {"absent": True})):
        attempt(key, **required)
        assert strong.pop("done") == key
    with strong.batch(atomic=True) as batch, pytest.raises(kvstore.InvalidArgumentError, match=r"^version: "):
        batch.require("k", version=1, absent=True)


def test_a_failed_operation_fails_the_batch(strong: Any) -> None:
    strong["text"] = "x"

    def send() -> None:
        with strong.batch() as batch:
            batch.put("k", 1)
            batch.incr("text")

    with pytest.raises(kvstore.CodecError):
        send()
    assert not strong.exists("k")


def test_the_asyncio_twins_do_the_same(host: kvstore.Node) -> None:
    async def main(db: Any) -> None:
        strong = await db.create_keyspace("aio-transactions", consistency="strong", exist_ok=True)
        await strong.delete_prefix("")
        assert await strong.add("n", 1)
        assert not await strong.add("n", 1)

        async def step(txn: Any) -> int:
            number: int = await txn.get("n")
            txn.put("n", number + 1)
            return number

        seen = await asyncio.gather(*(strong.transact(step, attempts=200) for _ in range(8)))
        assert sorted(seen) == list(range(1, 9))
        await asyncio.gather(*(strong.update("n", lambda n: n + 1, attempts=200) for _ in range(8)))
        assert await strong.incr("n") == 18
        async with strong.batch(atomic=True) as batch:
            batch.require("n", version=(await strong.entry("n")).version)
            n, gone = batch.get("n"), batch.delete("n")
        assert (n.result(), gone.result()) == (18, True)
        assert await strong.pop("n", None) is None
        assert await strong.info() in await db.keyspaces()
        assert [entry.key async for entry in strong.scan()] == []
        await db.drop_keyspace("aio-transactions")

    async def both() -> None:
        async with kvstore.AsyncClient(host.address) as db:
            await main(db)
        async with host.async_client() as db:
            await main(db)

    asyncio.run(both())

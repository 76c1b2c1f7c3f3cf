"""Leases, locks and elections: one holder at a time, and what the store refuses to one that has lost."""

from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List

import pytest

import kvstore
from kvstore._core import StrongRequests

from .harness import DEADLINE_SECONDS, eventually

# The life of a lease that a test lets end by itself, or has renewed: a third of it passes before it is renewed, and a
# process of a busy machine may stand still for that long.
BRIEF_SECONDS = 2.0


def end(strong: Any, claim: Any) -> None:
    """End the lease of a lock or election behind its back."""
    strong._run(StrongRequests.revoke(claim._lease))


def test_what_hangs_on_a_lease_ends_with_it(strong: Any) -> None:
    with strong.lease(10) as lease:
        strong.put("a", 1, lease=lease)
        strong.put("b", 1, lease=lease)
        assert lease.alive
        assert 5 < lease.ttl <= 10
        assert lease.refresh() > 5
        assert strong.entry("a").ttl is None
        assert strong.count() == 2
    assert strong.count() == 0
    assert not lease.alive
    assert lease.ttl == 0
    lease.revoke()
    with pytest.raises(kvstore.LockLostError):
        lease.refresh()
    with pytest.raises(kvstore.LockLostError):
        strong.put("a", 1, lease=lease)
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^lease: "):
        strong.put("a", 1, lease=lease, ttl=1)


def test_a_lease_is_found_by_its_id(strong: Any) -> None:
    with strong.lease(30, keep_alive=False) as lease:
        strong.put("a", 1, lease=lease)
        found = strong.find_lease(lease.id)
        assert (found.id, found.alive) == (lease.id, True)
        info = found.info()
        assert (info.id, info.ttl, info.places) == (lease.id, 30, 1)
        assert 20 < info.remaining <= 30
        kept = strong.find_lease(lease.id, keep_alive=True)
        assert kept.ttl > 20
        strong.put("b", 1, lease=found)
    assert strong.count() == 0
    for call in (lambda: strong.find_lease(lease.id), found.info, found.refresh):
        with pytest.raises(kvstore.LockLostError) as caught:
            call()
        assert caught.value.code == "LEASE_LOST"
    with pytest.raises(kvstore.LockLostError):
        kept.revoke()


def test_all_leases_are_listed_the_oldest_first(strong: Any) -> None:
    with strong.lease(30, keep_alive=False) as first, strong.lease(60, keep_alive=False) as second:
        strong.put("a", 1, lease=second)
        own = [info for info in strong.leases() if info.id in (first.id, second.id)]
        assert [(info.id, info.ttl, info.places) for info in own] == [(first.id, 30, 0), (second.id, 60, 1)]
        assert 20 < own[0].remaining <= 30
        with strong.lock("l"):
            holder = [info for info in strong.leases() if info.id > second.id]
            assert [info.places for info in holder] == [1]
    assert not {first.id, second.id} & {info.id for info in strong.leases()}


def test_more_leases_than_a_page_holds_are_all_listed(strong: Any) -> None:
    with ThreadPoolExecutor(64) as pool:
        granted = list(pool.map(lambda _: strong.lease(60, keep_alive=False), range(1_001)))
        own = sorted(lease.id for lease in granted)
        assert [info.id for info in strong.leases() if own[0] <= info.id <= own[-1]] == own
        list(pool.map(kvstore.Lease.revoke, granted))


def test_a_lease_that_is_not_kept_alive_ends_by_itself(strong: Any) -> None:
    lease = strong.lease(BRIEF_SECONDS, keep_alive=False)
    strong.put("a", 1, lease=lease)
    assert lease.refresh() > 0.1
    eventually(lambda: not strong.exists("a"), "the key is gone")
    assert not lease.alive
    with pytest.raises(kvstore.LockLostError):
        lease.refresh()
    with pytest.raises(kvstore.LockLostError), lease:
        pass


def test_a_lease_that_is_kept_alive_outlives_its_time(strong: Any) -> None:
    with strong.lease(BRIEF_SECONDS) as lease:
        strong.put("a", 1, lease=lease)
        ends = time.monotonic() + 3 * BRIEF_SECONDS
        eventually(lambda: time.monotonic() > ends, "three times its time has passed")
        assert lease.alive
        assert strong.exists("a")


def test_a_lease_lasts_as_long_as_its_object(strong: Any) -> None:
    lease = strong.lease(BRIEF_SECONDS)
    strong.put("a", 1, lease=lease)
    del lease
    gc.collect()
    eventually(lambda: not strong.exists("a"), "nobody keeps it alive")


def test_a_lock_has_one_holder_at_a_time(strong: Any) -> None:
    inside: List[int] = []
    tokens: List[int] = []

    def work(number: int) -> None:
        with strong.lock("l", ttl=5) as lock:
            inside.append(number)
            assert inside == [number]
            assert lock.held
            tokens.append(lock.fencing_token)
            strong["count"] = (strong.get("count") or 0) + 1
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(18)))
    assert strong["count"] == 18
    assert tokens == sorted(set(tokens))


def test_a_lock_that_is_held_is_waited_for_as_long_as_wanted(strong: Any) -> None:
    # They live for longer than anybody waits: whoever gets one got it back from the other.
    first, second = strong.lock("l", ttl=300), strong.lock("l", ttl=300, timeout=0.1)
    assert first.acquire()
    assert not second.acquire(timeout=0)
    assert not second.acquire()
    assert not second.held
    start = time.monotonic()
    with pytest.raises(kvstore.DeadlineError, match="another holds it"), second:
        pass
    # Far less than the other one goes on holding it.
    assert time.monotonic() - start < 20
    with pytest.raises(kvstore.InvalidArgumentError, match="not held"):
        _ = second.fencing_token
    with pytest.raises(kvstore.InvalidArgumentError, match="already"):
        first.acquire()
    first.release()
    first.release()
    assert second.acquire(timeout=DEADLINE_SECONDS)
    second.release()
    with strong.lock("other") as other, strong.lock("l", timeout=DEADLINE_SECONDS) as lock:
        assert other.held
        assert lock.held


def test_who_asks_first_has_it_first(strong: Any) -> None:
    first = strong.lock("l")
    assert first.acquire()
    leases = [strong.lease(30) for _ in range(3)]
    for lease in leases:
        assert strong._run(strong._requests.acquire("l", lease.id, b"", wait=True)) is None
    last = strong.lock("l")
    assert not last.acquire(timeout=0.05)
    first.release()
    tokens = []
    for lease in leases:
        others = [other for other in leases if other is not lease and other.alive]
        tokens.append(strong._run(strong._requests.await_lock("l", lease.id, 20_000)))
        assert all(strong._run(strong._requests.await_lock("l", other.id, 1)) is None for other in others)
        lease.revoke()
    assert tokens == sorted(tokens)
    assert first._token is None
    with last:
        assert last.fencing_token > tokens[-1]


def test_a_lost_lock_is_noticed_and_refused_by_the_store(strong: Any) -> None:
    lock = strong.lock("l", ttl=3)
    lost = threading.Event()
    lock.on_lost(lost.set)
    told: List[str] = []

    def hold() -> None:
        with lock:
            view = lock.scope()
            token = lock.fencing_token
            assert view.put("k", 1) > token
            end(strong, lock)
            # The store knows before the holder does.
            for write in (
                lambda: view.put("k", 2),
                lambda: view.put_many({"k": 2}),
                lambda: view.delete("k"),
                lambda: view.incr("n"),
                lambda: view.update("k", lambda _: 2),
                lambda: view.transact(lambda txn: txn.put("k", 2)),
                lambda: view.add("m", 1),
                lambda: view.touch("k", 1),
                lambda: view.delete_many(["k"]),
                lambda: view.delete_prefix(""),
                lambda: view.pop("k"),
            ):
                with pytest.raises(kvstore.LockLostError) as caught:
                    write()
                assert caught.value.code == "LOCK_LOST"
                assert not caught.value.retryable
            assert view.get("k") == 1
            with strong.lock("l", timeout=DEADLINE_SECONDS) as other:
                assert other.fencing_token > token
                assert other.scope(strong.with_options(codec=kvstore.BYTES)).put("k", b"other")
            assert lost.wait(DEADLINE_SECONDS)
            lock.on_lost(lambda: told.append("late"))
            assert not lock.held
            assert lock.fencing_token == token

    with pytest.raises(kvstore.LockLostError):
        hold()
    eventually(lambda: told == ["late"], "who asks late is told too")
    assert strong["k"] == b"other"
    assert not strong.exists("n")


def fail_after(call: Any, *args: Any) -> None:
    call(*args)
    raise ZeroDivisionError


def test_giving_a_lock_back_is_no_loss(strong: Any) -> None:
    lost: List[str] = []
    # It is renewed every ten seconds, and only then a loss would be noticed.
    lock = strong.lock("l", ttl=30)
    lock.on_lost(lambda: lost.append("lost"))
    with lock:
        pass
    with pytest.raises(ZeroDivisionError), lock:
        fail_after(end, strong, lock)
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "kvstore-lost"], "nobody waits any more")
    # The first time it was given back, the second time it was lost behind its back but nobody had noticed yet.
    assert lost == []


def test_a_loss_is_told_once(strong: Any) -> None:
    told: List[str] = []
    lock = strong.lock("l", ttl=BRIEF_SECONDS)
    lock.on_lost(lambda: told.append("lost"))
    for _ in range(2):
        assert lock.acquire()
        end(strong, lock)
        eventually(lambda: not lock.held, "it is lost")
        with pytest.raises(kvstore.InvalidArgumentError, match="give it back first"):
            lock.acquire()
        with pytest.raises(kvstore.LockLostError):
            lock.release()
        eventually(lambda: not [t for t in threading.enumerate() if t.name == "kvstore-lost"], "nobody waits any more")
    assert told == ["lost"]


def test_an_error_inside_says_more_than_that_of_the_end(host: kvstore.Node) -> None:
    client = kvstore.Client(host.address, "aio-locks")
    client.create_keyspace("aio-locks", consistency="strong", exist_ok=True)
    with pytest.raises(ZeroDivisionError), client.lock("l"), client.lease(5):
        fail_after(client.close)


def test_a_scope_is_of_its_keyspace(strong: Any, host: kvstore.Node) -> None:
    lock = strong.lock("l")
    with pytest.raises(kvstore.InvalidArgumentError, match="not held"):
        lock.scope()
    with lock:
        other = host.create_keyspace("other", consistency="strong", exist_ok=True)
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^store: "):
            lock.scope(other)
        with pytest.raises(kvstore.UnsupportedError):
            lock.scope(host)
        with strong.lock("m") as inner:
            both = inner.scope(lock.scope())
            both["k"] = 1
            end(strong, lock)
            with pytest.raises(kvstore.LockLostError, match="'l'"):
                both["k"] = 2
        with pytest.raises(kvstore.LockLostError):
            lock.release()
    assert strong["k"] == 1


def test_a_lock_that_nobody_has_any_more_is_free(strong: Any) -> None:
    lock = strong.lock("l", ttl=300)
    assert lock.acquire()
    locks = [lock]
    del lock
    with pytest.warns(ResourceWarning, match="was not given back"):
        locks.clear()
    with strong.lock("l", timeout=DEADLINE_SECONDS):
        pass


def test_a_wait_that_is_interrupted_leaves_the_line(strong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = strong.lock("l", ttl=300), strong.lock("l", ttl=300)
    assert first.acquire()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(second, "_await", interrupt)
    with pytest.raises(KeyboardInterrupt):
        second.acquire()
    first.release()
    with strong.lock("l", timeout=DEADLINE_SECONDS):
        pass


def test_one_leads_until_it_resigns(strong: Any) -> None:
    first, second = strong.election("boss"), strong.election("boss")
    assert first.leader() is None
    assert first.campaign("node-1")
    assert first.is_leader
    assert second.leader().value == b"node-1"
    assert second.leader().key == "boss"
    assert not second.campaign("node-2", timeout=0)
    with ThreadPoolExecutor(1) as pool:
        campaign = pool.submit(second.campaign, b"node-2", 20)
        first.resign()
        assert campaign.result()
    assert (first.is_leader, second.is_leader) == (False, True)
    assert first.leader().value == b"node-2"
    second.scope()["k"] = 1
    end(strong, second)
    with pytest.raises(kvstore.LockLostError):
        second.resign()
    with strong.election("boss") as third:
        assert third.is_leader
        assert third.leader().value == b""
    assert third.leader() is None


def test_a_forked_child_does_not_have_what_its_parent_holds() -> None:
    code = """
import os, sys, kvstore
node = kvstore.Node().start()
db = kvstore.Client(node.address)
jobs = db.create_keyspace("jobs", consistency="strong")
with jobs.lock("l") as lock, jobs.lease(10) as lease:
    pid = os.fork()
    if pid == 0:
        refused = 0
        for call in (lambda: lock.held, lambda: lease.alive, lock.release, lease.revoke):
            try:
                call()
            except kvstore.ForkedError:
                refused += 1
        # Its own client works, and whoever has the token may write.
        jobs["child"] = refused
        other = jobs.lock("l")
        os._exit(0 if refused == 4 and not other.acquire(timeout=0) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert lock.held and lease.alive
    assert jobs["child"] == 4
    lock.scope().put("parent", 1)
node.stop()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_held_is_no_value(strong: Any) -> None:
    with strong.lock("l") as lock, strong.lease(5) as lease:
        for held in (lock, lease, strong.election("e")):
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(held)
        assert f"token {lock.fencing_token}" in repr(lock)


def test_the_asyncio_twins_do_the_same(host: kvstore.Node) -> None:
    async def main(db: Any) -> None:
        strong = await db.create_keyspace("aio-locks", consistency="strong", exist_ok=True)
        inside: List[int] = []

        async def work(number: int) -> None:
            async with strong.lock("l", ttl=5) as lock:
                inside.append(number)
                await lock.scope().incr("n")
                assert inside == [number]
                inside.remove(number)

        await asyncio.gather(*map(work, range(10)))
        assert await strong.pop("n") == 10
        lock = strong.lock("l")
        assert await lock.acquire()
        waits = asyncio.ensure_future(strong.lock("l", ttl=300).acquire())
        done, _ = await asyncio.wait({waits}, timeout=0.2)
        assert not done
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        await lock.release()
        async with strong.lock("l", timeout=DEADLINE_SECONDS):
            pass
        async with strong.lease(10) as lease:
            await strong.put("k", 1, lease=lease)
            assert await lease.refresh() > 5
        assert not await strong.exists("k")
        with pytest.raises(kvstore.InvalidArgumentError, match="not granted"):
            await strong.put("k", 1, lease=strong.lease(10))
        async with strong.election("e") as election:
            assert election.is_leader
            assert (await election.leader()).value == b""

    async def both() -> None:
        async with kvstore.AsyncClient(host.address) as db:
            await main(db)
        async with host.async_client() as db:
            await main(db)

    asyncio.run(both())

"""Clients: many threads, many tasks, cancelled calls, lost nodes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List

import pytest

import kvstore

from .harness import Cluster, eventually

THREADS = 8
TASKS = 256


def test_eight_threads_share_one_client(trio: Cluster) -> None:
    with trio.client(0) as client:
        start = threading.Barrier(THREADS)

        def work(thread: int) -> None:
            start.wait(10)
            for number in range(300):
                key = f"threads/{thread}/{number}"
                client.put(key, [thread, number])
                assert client.get(key) == [thread, number]

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        assert client.count("threads/") == THREADS * 300
    trio.wait_equal()


def _put_from_tasks(address: str) -> None:
    async def main() -> None:
        async with kvstore.AsyncClient(address) as client:
            for number in range(20):
                await asyncio.gather(*(client.put(f"mixed/{number}/{task}", number) for task in range(8)))

    asyncio.run(main())


def _put_and_get(client: kvstore.Client[Any], key: str) -> None:
    for turn in range(100):
        client.put(key, turn)
        assert client.get(key) == turn


def _look(watch: kvstore.Watch[Any], last: int) -> List[int]:
    told: List[int] = []
    for event in watch:
        assert event.entry is not None
        told.append(event.entry.value)
        if told[-1] == last:
            break
    return told


def test_everybody_is_answered_beside_a_thread_that_calls_one_by_one(trio: Cluster) -> None:
    """It does the work of the clients itself while it is alone, and leaves it when it is not."""
    with trio.client(0) as client, client.watch(prefix="mixed/alone") as watch, ThreadPoolExecutor(3) as pool:
        watching = pool.submit(_look, watch, 4)
        for turn in range(5):
            for number in range(300):
                assert client.count(f"mixed/none/{number}") == 0
            # What follows comes after calls that this thread has driven, and nobody drives now.
            client.put("mixed/alone", turn)
            others = [
                pool.submit(_put_from_tasks, trio.address(0)),
                pool.submit(_put_and_get, client, f"mixed/calls/{turn}"),
            ]
            for number in range(300):
                client.get(f"mixed/none/{number}")
            for other in others:
                other.result(20)
        told = watching.result(20)
    assert told == sorted(set(told))


def test_256_tasks_share_one_async_client(trio: Cluster) -> None:
    async def task(client: kvstore.AsyncClient, number: int) -> None:
        for turn in range(10):
            await client.put(f"tasks/{number}", [number, turn])
            assert await client.get(f"tasks/{number}") == [number, turn]

    async def main() -> int:
        async with kvstore.AsyncClient(trio.address(1)) as client:
            await asyncio.gather(*(task(client, number) for number in range(TASKS)))
            return await client.count("tasks/")

    assert asyncio.run(main()) == TASKS


def test_cancelled_calls_leave_the_others_their_own_answers(trio: Cluster) -> None:
    async def main() -> None:
        async with kvstore.AsyncClient(trio.address(0)) as client:
            await client.put_many({f"cancel/{number}": number for number in range(TASKS)})
            for _ in range(10):
                calls = [asyncio.ensure_future(client.get(f"cancel/{number}")) for number in range(TASKS)]
                await asyncio.sleep(0)
                for call in calls[::2]:
                    call.cancel()
                answers = await asyncio.gather(*calls, return_exceptions=True)
                for number, answer in enumerate(answers):
                    # One that was answered before it was cancelled has its own answer too.
                    assert answer == number or (number % 2 == 0 and isinstance(answer, asyncio.CancelledError))
            assert await client.get("cancel/7") == 7

    asyncio.run(main())


def test_a_wait_for_that_times_out_does_not_shift_later_answers(cluster: Cluster) -> None:
    cluster.start(1)

    async def main() -> None:
        async with kvstore.AsyncClient(cluster.address(0)) as client:
            await client.put_many({f"shift/{number}": number for number in range(100)})
            cluster.pause(0)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.get("shift/0"), 0.2)
            cluster.resume(0)
            assert [await client.get(f"shift/{number}") for number in range(100)] == list(range(100))

    asyncio.run(main())


def test_a_call_to_a_silent_node_ends_at_its_deadline_and_says_what_is_unknown(cluster: Cluster) -> None:
    cluster.start(1)
    with cluster.client(0) as client:
        client.put("silent", "before")
        cluster.pause(0)
        with pytest.raises(kvstore.DeadlineError) as read:
            client.get("silent", timeout=0.3)
        with pytest.raises(kvstore.DeadlineError) as write:
            client.put("silent", "perhaps", timeout=0.3)
        assert not read.value.maybe_applied
        assert write.value.maybe_applied
        cluster.resume(0)
        eventually(lambda: client.get("silent") in {"before", "perhaps"}, "it answers again")


def test_a_client_with_two_targets_survives_the_first(cluster: Cluster) -> None:
    cluster.start(2)
    with kvstore.Client([cluster.address(0), cluster.address(1)], discover=False) as client:
        client.put("failover", 1)
        cluster.wait_value(1, "failover", 1)
        cluster.kill(0)
        assert client.get("failover") == 1
        client.put("failover", 2)
        assert client.get("failover") == 2


def test_a_write_under_way_when_its_node_dies_is_unknown_or_done(cluster: Cluster) -> None:
    cluster.start(2)
    errors: List[kvstore.KVError] = []
    done: List[int] = []
    over = threading.Event()
    with kvstore.Client([cluster.address(0), cluster.address(1)], discover=False) as client:

        def write() -> None:
            try:
                while not over.is_set():
                    client.put("dying", len(done))
                    done.append(len(done))
            except kvstore.KVError as error:
                errors.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: len(done) > 50, "writes are under way")
        cluster.kill(0)
        before = len(done)
        # The kill may fall between two puts: then none is in doubt, and the next ones go to the other node.
        eventually(
            lambda: bool(errors) or len(done) > before + 50, "the writer has learned of it, or goes on elsewhere"
        )
        over.set()
        writer.join(30)
        assert not writer.is_alive()
        assert all(error.maybe_applied and isinstance(error, kvstore.UnavailableError) for error in errors)


def test_nobody_there_is_unavailable_and_names_the_target(cluster: Cluster) -> None:
    gone = cluster.add()
    gone.kill()
    with kvstore.Client(gone.address, timeout=0.5) as client, pytest.raises(kvstore.UnavailableError) as caught:
        client.get("k")
    assert gone.address in str(caught.value)
    assert not caught.value.maybe_applied


def test_a_closed_client_says_so(trio: Cluster) -> None:
    client = trio.client(0)
    client.put("closed", 1)
    client.close()
    client.close()
    with pytest.raises(kvstore.ClosedError):
        client.get("closed")

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import pathlib
import subprocess
import sys
import threading
import weakref
from typing import Any, Awaitable, Callable, List, Tuple

import pytest

import kvstore
from kvstore import AsyncClient

ROOT = pathlib.Path(__file__).resolve().parents[3]
Main = Callable[[Any], Awaitable[Any]]


def run(node: kvstore.Node, main: Main) -> Any:
    async def session() -> Any:
        async with AsyncClient(node.address) as db:
            return await main(db)

    return asyncio.run(session())


def test_every_call_works_as_its_twin(node: kvstore.Node) -> None:
    async def main(db: Any) -> None:
        assert await db.put("k", {"n": 1}, ttl=3600) > 0
        assert await db.get("k") == {"n": 1}
        assert await db.get("missing", 7) == 7
        assert (await db.entry("k")).ttl > 3500
        assert await db.exists("k")
        await db.put_many({"l": 1, "m": 2})
        assert await db.get_many(["k", "l", "x"]) == {"k": {"n": 1}, "l": 1}
        assert [entry.key async for entry in db.scan(page_size=2)] == ["k", "l", "m"]
        assert [key async for key in db.keys(reverse=True, limit=2)] == ["m", "l"]
        assert await db.count() == 3
        assert await db.touch("k", None)
        assert await db.delete("k")
        assert await db.delete_many(["l", "m"]) == 2
        assert await db.ping() > 0
        assert (await db.status()).id == node.id
        assert (await db.members())[0].id == node.id
        assert await db.with_options(codec=kvstore.TEXT).put("t", "x") > 0
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^key: "):
            await db.get("")
        with pytest.raises(kvstore.UnsupportedError):
            await db.put("k", 1, if_absent=True)

    run(node, main)


def test_a_node_serves_its_own_process_without_a_socket(node: kvstore.Node) -> None:
    async def main() -> Any:
        async with node.async_client() as db:
            await db.put("k", 1)
            return [entry.value async for entry in db.scan()]

    assert asyncio.run(main()) == [1]


def test_a_node_starts_and_stops_without_blocking_the_loop() -> None:
    async def main() -> None:
        async with kvstore.Node() as node:
            assert node.running
            async with AsyncClient(node.address) as db:
                await db.put("k", 1)
        assert not node.running

    asyncio.run(main())


def test_a_node_that_is_killed_ends_the_calls_that_ask_its_group(free_address: str) -> None:
    async def main() -> None:
        # It waits for the group, which it never finds.
        node = kvstore.Node(peers=[free_address]).start()
        call = asyncio.ensure_future(node.async_client().keyspace("nowhere").get("k", timeout=None))
        for _ in range(3):
            await asyncio.sleep(0)
        node._kill()
        with pytest.raises(kvstore.ClosedError) as caught:
            await asyncio.wait_for(call, 60)
        assert not caught.value.maybe_applied

    asyncio.run(main())


def test_256_tasks_get_each_its_own_answer(node: kvstore.Node) -> None:
    node.put_many({str(number): number for number in range(256)})

    async def main(db: Any) -> None:
        async def reader(number: int) -> None:
            for _ in range(20):
                assert await db.get(str(number)) == number

        await asyncio.gather(*map(reader, range(256)))

    run(node, main)


def test_whatever_a_codec_raises_ends_its_call_and_no_other(node: kvstore.Node) -> None:
    class Ends:
        def encode(self, value: str) -> Tuple[bytes, int]:
            return value.encode(), 300

        def decode(self, payload: bytes, _flags: int) -> str:
            if payload == b"stop":
                next(iter(()))
            return payload.decode()

    async def main(db: Any) -> None:
        view = db.with_options(codec=Ends())
        await view.put_many({"a": "1", "b": "stop", "c": "3"})
        calls = [asyncio.ensure_future(view.get(key)) for key in "abc"]
        await asyncio.wait(calls, timeout=60)
        assert [calls[0].result(), calls[2].result()] == ["1", "3"]
        with pytest.raises(kvstore.CodecError, match="StopIteration") as caught:
            calls[1].result()
        assert isinstance(caught.value.__cause__, StopIteration)

    run(node, main)


def test_cancelled_calls_leave_the_others_their_answers(node: kvstore.Node) -> None:
    node.put_many({str(number): number for number in range(200)})

    async def main(db: Any) -> None:
        for _ in range(10):
            tasks = [asyncio.ensure_future(db.get(str(number))) for number in range(200)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                # A task that had its answer before it was cancelled may keep it, but never another's.
                assert outcome == number or (number % 2 == 0 and isinstance(outcome, asyncio.CancelledError))
        assert await db.get("7") == 7

    run(node, main)


def test_one_client_serves_several_loops(node: kvstore.Node) -> None:
    node["k"] = 1
    db = AsyncClient(node.address)
    found = []

    async def main() -> None:
        found.append([await db.get("k") for _ in range(50)])

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1] * 50] * 4
    asyncio.run(db.aclose())


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
def test_a_loop_that_was_closed_with_calls_under_way_is_freed(
    node: kvstore.Node, free_address: str, until: Callable[[Callable[[], bool]], None]
) -> None:
    async def begin(tasks: List[Any]) -> None:
        # One that waits for an answer, and two that wait for a change.
        calls = (silent.get("k"), db.watch().next(), local.watch().next())
        tasks += [asyncio.ensure_future(call) for call in calls]
        assert await db.get("k") == await local.get("k") == 1
        for _ in range(3):
            await asyncio.sleep(0)

    async def end() -> None:
        for client in (db, local):
            assert await client.get("k") == 1
        with pytest.raises(kvstore.KVError):
            await silent.get("k", timeout=0.01)
        for client in (db, local, silent):
            await client.aclose()

    def open_files() -> int:
        return sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir())

    node["k"] = 1
    db, silent, local = AsyncClient(node.address), AsyncClient(free_address, timeout=None), node.async_client()
    loops, before = [], open_files()
    for _ in range(10):
        loop, tasks = asyncio.new_event_loop(), []
        loop.run_until_complete(begin(tasks))
        loop.close()
        for task in tasks:
            # That they never end is what this is about.
            task._log_destroy_pending = False
        loops.append(weakref.ref(loop))
        del loop, tasks, task
    asyncio.run(end())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 10
    # Connections of watches end in the background.
    until(lambda: open_files() < before + 10)


def test_a_closed_client_says_so(node: kvstore.Node) -> None:
    async def main() -> None:
        db = AsyncClient(node.address)
        await db.get("k")
        await db.aclose()
        await db.aclose()
        with pytest.raises(kvstore.ClosedError):
            await db.get("k")

    asyncio.run(main())


def test_closing_ends_the_calls_in_flight(free_address: str) -> None:
    async def main() -> None:
        db = AsyncClient(free_address, timeout=None)
        call = asyncio.ensure_future(db.get("k"))
        await asyncio.sleep(0)
        await db.aclose()
        with pytest.raises(kvstore.ClosedError):
            await call

    asyncio.run(main())


def test_a_deadline_ends_a_call(free_address: str) -> None:
    async def main() -> None:
        async with AsyncClient(free_address, timeout=0.1) as db:
            with pytest.raises(kvstore.KVError) as caught:
                await db.get("k")
            assert caught.value.retryable

    asyncio.run(main())


def test_only_an_unclosed_used_client_warns(node: kvstore.Node) -> None:
    AsyncClient(node.address)

    async def main() -> None:
        await AsyncClient(node.address).get("k")

    with pytest.warns(ResourceWarning, match="unclosed AsyncClient"):
        asyncio.run(main())


def test_the_twin_is_what_the_script_makes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_aio.py"), "--check"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout == b""


OPERATORS = {"__getitem__", "__setitem__", "__delitem__", "__contains__"}


def test_the_twins_have_the_same_methods_and_arguments() -> None:
    twins = {name: name[5:] for name in kvstore.__all__ if name.startswith("Async") and name != "AsyncWatch"}
    for blocking, twin in ((getattr(kvstore, old), getattr(kvstore, new)) for new, old in twins.items()):
        names = {name for name in vars(blocking) if not name.startswith("_")} - {"close", "map"}
        assert names <= set(vars(twin))
        for name in names:
            if isinstance(vars(blocking)[name], property):
                continue
            ours, theirs = (str(inspect.signature(getattr(cls, name))).partition(" -> ")[0] for cls in (blocking, twin))
            assert ours == theirs.replace("Async", "").replace("Awaitable[R]", "R"), name
        assert not OPERATORS & set(vars(twin))


def test_no_call_that_waits_was_left_unawaited() -> None:
    for path in (ROOT / "python" / "kvstore" / "aio").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("_run", "run")
            ):
                assert id(node) in awaited, f"{path}:{node.lineno}"

"""`Client` with 64 threads and `AsyncClient` with 64 tasks against redis-py (with hiredis) and Redis, over loopback.

Server and client are processes of their own on both sides. Neither server writes to a disk.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import Any, Awaitable, Callable, Iterator, List, Tuple

from measure import Row, absent, compare

import kvstore
from kvstore.cli.processes import NodeProcess

try:
    import hiredis  # noqa: F401 - redis-py uses it where it is installed
    import redis
    import redis.asyncio
except ImportError:
    redis = None

CALLERS = 64
KEYS = 10_000
VALUE = b"x" * 100
ROUND_SECONDS = 1.5
START_SECONDS = 10.0


def run(rounds: int) -> List[Row]:
    """Threads and tasks, get and put."""
    why = _what_is_missing()
    if why:
        return absent("Client, 64 threads or tasks", "redis-py", ">= 3", why)
    with ExitStack() as stack:
        port = stack.enter_context(_redis())
        node = stack.enter_context(NodeProcess.start())
        _fill(node.address, port)
        return [*_threads(node.address, port, rounds), *asyncio.run(_tasks(node.address, port, rounds))]


def _what_is_missing() -> str:
    if shutil.which("redis-server") is None:
        return "no redis-server on the PATH: apt-get install redis-server"
    return "no redis-py with hiredis: pip install 'redis[hiredis]'" if redis is None else ""


def _key(number: int) -> str:
    return f"bench:{number % KEYS:08}"


def _fill(address: str, port: int) -> None:
    with kvstore.Client(address) as ours, redis.Redis(port=port) as theirs:
        for first in range(0, KEYS, 1000):
            items = {_key(number): VALUE for number in range(first, first + 1000)}
            ours.put_many(items)
            theirs.mset(items)


def _threads(address: str, port: int, rounds: int) -> List[Row]:
    with kvstore.Client(address) as ours, redis.Redis(port=port) as theirs:
        gets: List[Tuple[float, float]] = []
        puts: List[Tuple[float, float]] = []
        for _ in range(rounds):
            gets.append((_thread_rate(ours.get), _thread_rate(theirs.get)))
            puts.append(
                (_thread_rate(lambda key: ours.put(key, VALUE)), _thread_rate(lambda key: theirs.set(key, VALUE)))
            )
    return [_row("get, 64 threads", gets), _row("put, 64 threads", puts)]


def _thread_rate(call: Callable[[str], Any]) -> float:
    """Calls a second of CALLERS threads that call for ROUND_SECONDS."""
    done = [0] * CALLERS
    start = threading.Barrier(CALLERS + 1)
    over = threading.Event()

    def caller(index: int) -> None:
        start.wait()
        number = index * 100
        while not over.is_set():
            call(_key(number))
            number += 1
        done[index] = number - index * 100

    threads = [threading.Thread(target=caller, args=[index]) for index in range(CALLERS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    threading.Event().wait(ROUND_SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


async def _tasks(address: str, port: int, rounds: int) -> List[Row]:
    theirs = redis.asyncio.Redis(port=port)
    gets: List[Tuple[float, float]] = []
    puts: List[Tuple[float, float]] = []
    async with kvstore.AsyncClient(address) as ours:
        for _ in range(rounds):
            gets.append((await _task_rate(ours.get), await _task_rate(theirs.get)))
            puts.append(
                (
                    await _task_rate(lambda key: ours.put(key, VALUE)),
                    await _task_rate(lambda key: theirs.set(key, VALUE)),
                )
            )
    await theirs.aclose()
    return [_row("get, 64 asyncio tasks", gets), _row("put, 64 asyncio tasks", puts)]


async def _task_rate(call: Callable[[str], Awaitable[Any]]) -> float:
    began = time.perf_counter()

    async def caller(index: int) -> int:
        number = index * 100
        while time.perf_counter() - began < ROUND_SECONDS:
            await call(_key(number))
            number += 1
        return number - index * 100

    done = await asyncio.gather(*(caller(index) for index in range(CALLERS)))
    return sum(done) / (time.perf_counter() - began)


def _row(work: str, rounds: List[Tuple[float, float]]) -> Row:
    ours, theirs = zip(*rounds)
    return compare(f"Client {work}", "redis-py + hiredis", ours, theirs, unit="/s", target=3.0)


@contextmanager
def _redis() -> Iterator[int]:
    """A Redis server that keeps nothing; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until_it_answers(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _until_it_answers(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if time.monotonic() > deadline:
            msg = f"redis-server did not listen within {START_SECONDS:.0f} s"
            raise TimeoutError(msg)
        threading.Event().wait(0.05)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True

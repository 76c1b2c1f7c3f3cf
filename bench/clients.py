"""`Client` with 64 threads and with one, `AsyncClient` with 256 tasks, against redis-py (with hiredis) over loopback.

Server and client are processes of their own on both sides. Neither server writes to a disk. The last row is a call that
a node of this process answers at once: what an await costs.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
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

THREADS = 64
TASKS = 256
ALONE_CALLS = 5_000
LOCAL_CALLS = 20_000
LOCAL_TARGET_US = 10.0
KEYS = 10_000
VALUE = b"x" * 100
ROUND_SECONDS = 1.5
START_SECONDS = 10.0


def run(rounds: int) -> List[Row]:
    """Threads and tasks, get and put."""
    why = _what_is_missing()
    if why:
        return absent("Client, threads and tasks", "redis-py", ">= 3", why)
    with ExitStack() as stack:
        port = stack.enter_context(_redis())
        node = stack.enter_context(NodeProcess.start())
        _fill(node.address, port)
        return [
            *_threads(node.address, port, rounds),
            _alone(node.address, port, rounds),
            *asyncio.run(_tasks(node.address, port, rounds)),
            _local(rounds),
        ]


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
    """Calls a second of THREADS threads that call for ROUND_SECONDS."""
    done = [0] * THREADS
    start = threading.Barrier(THREADS + 1)
    over = threading.Event()

    def caller(index: int) -> None:
        start.wait()
        number = index * 100
        while not over.is_set():
            call(_key(number))
            number += 1
        done[index] = number - index * 100

    threads = [threading.Thread(target=caller, args=[index]) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    threading.Event().wait(ROUND_SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def _alone(address: str, port: int, rounds: int) -> Row:
    """One thread that waits for each answer: the median time of a get."""
    with kvstore.Client(address) as ours, redis.Redis(port=port) as theirs:
        pairs = [(_median_us(ours.get), _median_us(theirs.get)) for _ in range(rounds)]
    mine, others = zip(*pairs)
    ratio = statistics.median(other / us for us, other in pairs)
    note = f"ratios {min(other / us for us, other in pairs):.2f}-{max(other / us for us, other in pairs):.2f}"
    return Row(
        "Client get, one thread, median",
        "redis-py + hiredis",
        statistics.median(mine),
        statistics.median(others),
        "us",
        ratio,
        ">= 1",
        ratio >= 1,
        note,
    )


def _median_us(call: Callable[[str], Any]) -> float:
    took: List[float] = []
    for number in range(ALONE_CALLS):
        began = time.perf_counter()
        call(_key(number))
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def _local(rounds: int) -> Row:
    """Awaits one after the other, of reads that a node of this process answers at once."""
    with kvstore.Node() as node:
        node.start()
        node.put("k", VALUE)
        figures = [asyncio.run(_await_us(node)) for _ in range(rounds)]
    us = statistics.median(figures)
    note = f"{min(figures):.1f}-{max(figures):.1f} us"
    name = "await of a local get that is answered at once"
    return Row(name, "-", us, None, "us", None, f"< {LOCAL_TARGET_US:g} us", us < LOCAL_TARGET_US, note)


async def _await_us(node: kvstore.Node) -> float:
    async with node.async_client() as client:
        await client.get("k")
        began = time.perf_counter()
        for _ in range(LOCAL_CALLS):
            await client.get("k")
        return (time.perf_counter() - began) / LOCAL_CALLS * 1e6


async def _tasks(address: str, port: int, rounds: int) -> List[Row]:
    # By default it refuses more than a hundred calls at a time.
    theirs = redis.asyncio.Redis(port=port, max_connections=TASKS)
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
    return [_row(f"get, {TASKS} asyncio tasks", gets), _row(f"put, {TASKS} asyncio tasks", puts)]


async def _task_rate(call: Callable[[str], Awaitable[Any]]) -> float:
    began = time.perf_counter()

    async def caller(index: int) -> int:
        number = index * 100
        while time.perf_counter() - began < ROUND_SECONDS:
            await call(_key(number))
            number += 1
        return number - index * 100

    done = await asyncio.gather(*(caller(index) for index in range(TASKS)))
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

"""A program that gives up calls at random and checks that no other gets their answers: cancelled.py ADDRESS CALLS SEED.

Each key has one value, which names it, and each counter one step: an answer that belongs to another call shows. Tasks
on loops of both kinds are cancelled at any moment, threads run out of time; clients are shared by loops, or not.
"""

from __future__ import annotations

import asyncio
import gc
import pathlib
import random
import sys
import threading
from typing import Any, Awaitable, Callable, Dict, List

import uvloop

import kvstore

KEYS = 200
TASKS_AT_ONCE = 150
SLICES = (0.0001, 0.0005, 0.002, 0.02, 5.0)


def value_of(number: int) -> Dict[str, Any]:
    return {"of": number, "text": "x" * (number * 7 % 97)}


def key_of(number: int) -> str:
    return f"key/{number}"


class WrongError(Exception):
    """An answer that no such call can have."""


def check(what: str, answer: object, expected: object) -> None:
    if answer != expected:
        msg = f"{what}: {answer!r:.200} instead of {expected!r:.200}"
        raise WrongError(msg)


class Asker:
    """Makes calls and judges their answers; each call has a counter of its own."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self.random = random.Random(seed)
        self._counted = 0

    def draw(self, db: Any, strong: Any) -> Callable[[], Awaitable[None]]:
        number = self.random.randrange(KEYS)
        several = [self.random.randrange(KEYS + 20) for _ in range(self.random.randrange(1, 20))]
        self._counted += 1
        counter, step = f"{self._name}/{self._counted}", self.random.randrange(1, 1_000_000)

        async def get() -> None:
            check("get", await db.get(key_of(number)), value_of(number))

        async def get_missing() -> None:
            check("get of nothing", await db.get(f"missing/{number}", number), number)

        async def put() -> None:
            version = await db.put(key_of(number), value_of(number))
            if (await db.entry(key_of(number))).version < version:
                msg = f"put: {version} is no version of {number}"
                raise WrongError(msg)

        async def entry() -> None:
            found = await db.entry(key_of(number))
            check("entry", (found.key, found.value), (key_of(number), value_of(number)))

        async def get_many() -> None:
            expected = {key_of(each): value_of(each) for each in several if each < KEYS}
            check("get_many", await db.get_many([key_of(each) for each in several]), expected)

        async def incr() -> None:
            check("incr", await strong.incr(counter, step), step)

        async def delete() -> None:
            check("delete", int(await db.delete(f"missing/{number}")), 0)

        return self.random.choice([get, get, get, get_missing, put, entry, get_many, incr, delete])


async def give_up_at_random(asker: Asker, stores: List[Any], calls: int) -> Dict[str, int]:
    counts = {"answered": 0, "cancelled": 0}
    while calls > 0:
        calls -= TASKS_AT_ONCE
        tasks = [asyncio.ensure_future(asker.draw(*asker.random.choice(stores))()) for _ in range(TASKS_AT_ONCE)]
        left = [task for task in tasks if asker.random.random() < 0.4]
        asker.random.shuffle(left)
        while left:
            # At once, after some turns of the loop, or when some answers are here.
            await asyncio.sleep(asker.random.choice([0, 0, 0, 0.0002, 0.001]))
            for task in left[-10:]:
                task.cancel()
            del left[-10:]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
            counts["answered" if outcome is None else "cancelled"] += 1
    return counts


def on_a_loop(new_loop: Callable[[], Any], asker: Asker, shared: List[Any], address: str, calls: int) -> Dict[str, int]:
    async def main() -> Dict[str, int]:
        async with kvstore.AsyncClient(address, timeout=60) as own:
            return await give_up_at_random(asker, [*shared, (own, own.keyspace("strong"))], calls)

    loop = new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def out_of_time(asker: Asker, client: Any, calls: int) -> Dict[str, int]:
    """In a thread: some calls have no time to be answered."""
    counts = {"answered": 0, "late": 0}
    for _ in range(calls):
        number = asker.random.randrange(KEYS)
        timeout = asker.random.choice(SLICES)
        try:
            if asker.random.random() < 0.5:
                check("get", client.get(key_of(number), timeout=timeout), value_of(number))
            else:
                keys = [key_of(number), key_of(number + 1)]
                found = client.get_many(keys, timeout=timeout)
                check("get_many", found, {key_of(each): value_of(each) for each in (number, number + 1) if each < KEYS})
            counts["answered"] += 1
        except (kvstore.DeadlineError, kvstore.UnavailableError):
            counts["late"] += 1
    return counts


def files() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def settled_files() -> int:
    """Once it is the same for a while: connections end a moment after their clients."""
    pause, found, same = threading.Event(), files(), 0
    while same < 20:
        pause.wait(0.05)
        same, found = (same + 1, found) if files() == found else (0, files())
    return found


def futures() -> int:
    """Those that somebody still has."""
    gc.collect()
    return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())


def all_at_once(address: str, calls: int, seed: int) -> Dict[str, int]:
    shared = kvstore.AsyncClient(address, timeout=60)
    pair = [(shared, shared.keyspace("strong"))]
    client = kvstore.Client(address, timeout=60)
    results: List[Any] = []

    def run(work: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
        def runner() -> None:
            try:
                results.append(work(*arguments))
            except BaseException as error:  # noqa: BLE001 - raised in the end
                results.append(error)

        return runner

    # Threads do one call at a time, and so fewer.
    portion, of_threads = calls * 2 // 10, calls // 10
    work = [
        run(on_a_loop, new_loop, Asker(f"{seed}, loop {index}", seed + index), pair, address, portion)
        for index, new_loop in enumerate([asyncio.new_event_loop, uvloop.new_event_loop] * 2)
    ]
    work += [
        run(out_of_time, Asker(f"{seed}, thread {index}", seed + 100 + index), client, of_threads) for index in range(2)
    ]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    asyncio.run(shared.aclose())
    total: Dict[str, int] = {}
    for result in results:
        if isinstance(result, BaseException):
            raise result
        for name, count in result.items():
            total[name] = total.get(name, 0) + count
    return total


def main(address: str, calls: int, seed: int) -> None:
    with kvstore.Client(address) as client:
        client.put_many({key_of(number): value_of(number) for number in range(KEYS)})
        client.create_keyspace("strong", consistency="strong", exist_ok=True)
    # What is made once is made by now.
    all_at_once(address, 1000, seed + 1000)
    before = settled_files()
    total = all_at_once(address, calls, seed)
    more = settled_files() - before
    sys.stdout.write(
        " ".join(
            [*(f"{name}={count}" for name, count in sorted(total.items())), f"files={more}", f"futures={futures()}"]
        )
        + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

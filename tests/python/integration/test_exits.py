"""The end of the interpreter, in every way a program may end, with nodes that run and calls under way.

KVSTORE_EXITS is how often in all; `make exits` does 1,000. What counts: the exit code, no signal, nothing on stderr, no
hang.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import signal
import subprocess
import sys
from typing import Dict, List, NamedTuple, Optional

import pytest

# So many tests share the exits.
PARTS = 10

# Generous: it bounds how long a broken build hangs.
EXIT_SECONDS = 60.0

BEGIN = """
import asyncio, os, signal, sys, threading
import kvstore

# A shell lets what it runs in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
node = kvstore.Node().start(wait="ready")
client = kvstore.Client(node.address)
client["k"] = 1
assert node["k"] == 1
"""

# Threads in every kind of wait, which nobody joins.
CALLS = """
strong = node.create_keyspace("strong", consistency="strong")
held = strong.lock("l")
held.acquire()
lost = strong.lock("m")
lost.on_lost(lambda: None)
lost.acquire()
silent = kvstore.Client("127.0.0.1:1", timeout=None)
inside = threading.Semaphore(0)
def again(call):
    def run():
        inside.release()
        while True:
            try:
                call()
            except kvstore.KVError:
                pass
    threading.Thread(target=run, daemon=True).start()
def changes():
    for _ in watch:
        pass
watch = client.watch("k")
calls = [lambda: client.get("k"), lambda: node.put("k", 2), lambda: silent.get("k"), changes, node.join,
         lambda: strong.incr("n"), lambda: strong.lock("l").acquire(), lambda: client.put("k", b"x" * 100_000)]
for call in calls:
    again(call)
for call in calls:
    inside.acquire()
"""

LOOPS = """
entered = threading.Event()
async def work():
    db = kvstore.AsyncClient(node.address)
    away = kvstore.AsyncClient("127.0.0.1:1", timeout=None)
    async def again():
        while True:
            await db.get("k")
    tasks = [asyncio.ensure_future(again()) for _ in range(20)]
    tasks += [asyncio.ensure_future(away.get("k")) for _ in range(20)]
    await db.put("k", 3)
    entered.set()
    await asyncio.gather(*tasks)
def loop():
    asyncio.new_event_loop().run_until_complete(work())
threading.Thread(target=loop, daemon=True).start()
entered.wait()
"""

# The end does not wait for it for ever.
CODEC = """
class Slow:
    def encode(self, value):
        inside.set()
        threading.Event().wait()
    def decode(self, payload, flags):
        raise AssertionError
inside = threading.Event()
slow = client.with_options(codec=Slow())
threading.Thread(target=lambda: slow.put("k", 2), daemon=True).start()
inside.wait()
"""

LOGGING = """
import logging
logging.getLogger("kvstore").addHandler(logging.NullHandler())
logging.getLogger("kvstore").setLevel("DEBUG")
logging.getLogger("kvstore").propagate = False
other = kvstore.Node(0, [node.address], log="python").start(wait="ready")
"""

GROUP = """
others = [kvstore.Node(0, [node.address]).start() for _ in range(2)]
strong = node.create_keyspace("strong", consistency="strong")
for number in range(3):
    strong.incr("n")
"""


class Kind(NamedTuple):
    """How a program ends."""

    code: str
    exit_code: int = 0
    stderr: Optional[str] = ""
    """None: the program itself writes there."""


KINDS: Dict[str, Kind] = {
    "return": Kind(BEGIN),
    "sys.exit": Kind(BEGIN + "sys.exit(7)", 7),
    "an exception": Kind(BEGIN + "raise ValueError('as asked')", 1, None),
    "os._exit": Kind(BEGIN + CALLS + "os._exit(8)", 8),
    "SIGTERM": Kind(BEGIN + CALLS + "os.kill(os.getpid(), signal.SIGTERM)\nthreading.Event().wait()", -signal.SIGTERM),
    "Ctrl-C": Kind(BEGIN + CALLS + "os.kill(os.getpid(), signal.SIGINT)\nnode.join()", -signal.SIGINT, None),
    "threads in calls": Kind(BEGIN + CALLS),
    "sys.exit with threads in calls": Kind(BEGIN + CALLS + "sys.exit(9)", 9),
    "loops with calls under way": Kind(BEGIN + LOOPS),
    "a group": Kind(BEGIN + GROUP),
    "a group and threads in calls": Kind(
        BEGIN + GROUP + CALLS.replace("create_keyspace", "keyspace").replace(', consistency="strong"', "")
    ),
    "a codec that does not return": Kind(BEGIN + CODEC),
    "logging": Kind(BEGIN + LOGGING),
    "a thread that ends the program": Kind(
        BEGIN + "threading.Thread(target=lambda: (client.get('k'), os._exit(5))).start()\nnode.join()", 5
    ),
}


# How many exits there are; without more, each kind once.
COUNT = int(os.environ.get("KVSTORE_EXITS", str(len(KINDS))))


def exit_once(kind: Kind) -> Optional[str]:
    """What was wrong with one exit."""
    process = subprocess.Popen(
        [sys.executable, "-c", kind.code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return f"it hangs: {process.communicate()}"
    if process.returncode != kind.exit_code:
        return f"exit code {process.returncode} instead of {kind.exit_code}: {errors}"
    if output or (kind.stderr is not None and errors != kind.stderr):
        return f"noise: {output}{errors}"
    if kind.stderr is None and ("ValueError: as asked" in errors) == ("KeyboardInterrupt" in errors):
        return f"not only what the program says: {errors}"
    return None


def chosen_for(part: int) -> List[str]:
    """The kinds of a part, so that all parts together have each in turn."""
    names = list(KINDS)
    return [names[number % len(names)] for number in range(part, COUNT, PARTS)]


@pytest.mark.timeout(max(300, COUNT * 3))
@pytest.mark.parametrize("part", range(PARTS))
def test_the_interpreter_ends_cleanly_however_it_ends(part: int) -> None:
    chosen = chosen_for(part)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(zip(chosen, pool.map(lambda name: exit_once(KINDS[name]), chosen)))
    problems = collections.Counter(f"{name}: {problem}" for name, problem in found if problem is not None)
    assert not problems, problems


def test_every_kind_of_exit_is_tried() -> None:
    assert {name for part in range(PARTS) for name in chosen_for(part)} == set(KINDS)

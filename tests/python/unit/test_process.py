"""Fork, exit, Ctrl-C and the GIL: each in a process of its own, because each is about the whole process."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Iterator, List

import pytest

import kvstore

NODE = "import kvstore, os, signal, sys, threading, time, asyncio\nnode = kvstore.Node().start()\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    # Warnings are errors of the test: an exit must be silent.
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def assert_clean(code: str, output: str = "") -> None:
    done = run(code)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", output)


CHILD = """
db = kvstore.Client(node.address)
address = node.address
async def ping():
    async with kvstore.AsyncClient(address) as client:
        return await client.ping()
db["k"] = 1
held = asyncio.new_event_loop()
adb = kvstore.AsyncClient(node.address)
held.run_until_complete(adb.get("k"))
pid = os.fork()
if pid == 0:
    try:
        for call in (lambda: node.get("k"), lambda: node.put("k", 2), node.start, node.status, node.stop, node.join):
            try:
                call()
                print("not refused", flush=True)
            except kvstore.ForkedError as error:
                assert isinstance(error, kvstore.ClosedError)
        assert "parent" in repr(node)
        try:
            asyncio.run(adb.get("k"))
            print("not refused", flush=True)
        except kvstore.ForkedError:
            pass
        assert db["k"] == 1
        db["child"] = 2
        assert asyncio.run(ping()) > 0
        print("child done", flush=True)
    finally:
        sys.stdout.flush()
        {end}
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert node["child"] == 2
assert db["child"] == 2
held.run_until_complete(adb.aclose())
held.close()
"""


def test_a_forked_child_uses_clients_and_is_refused_nodes() -> None:
    done = run(NODE + CHILD.format(end="os._exit(0)"))
    assert (done.returncode, done.stdout.strip()) == (0, "child done"), done.stderr


def test_a_forked_child_exits_like_any_other() -> None:
    code = NODE + CHILD.format(end="pass").replace("_, status", "if pid == 0: sys.exit()\n_, status")
    done = run(code)
    assert (done.returncode, done.stdout.strip()) == (0, "child done"), done.stderr


def test_fork_while_other_threads_call() -> None:
    code = """
db = kvstore.Client(node.address)
address = node.address
async def ping():
    async with kvstore.AsyncClient(address) as client:
        return await client.ping()
ended = threading.Event()
def work():
    while not ended.is_set():
        db.put("k", 1)
        node.put("k", 1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if db.get("missing") is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
ended.set()
for thread in threads: thread.join()
"""
    done = run(NODE + code)
    assert done.returncode == 0, done.stderr


def test_the_interpreter_exits_cleanly_while_threads_wait() -> None:
    code = """
kept = kvstore.Client("127.0.0.1:1", timeout=None)
threading.Thread(target=lambda: kept.get("k"), daemon=True).start()
threading.Thread(target=node.join, daemon=sys.version_info < (3, 9)).start()
"""
    assert_clean(NODE + code)


def test_a_node_that_nobody_holds_goes_on() -> None:
    assert_clean(
        "import gc, kvstore; a = kvstore.Node().start().address; gc.collect(); print(kvstore.Client(a).count())", "0"
    )


# A shell lets what it runs in the background ignore SIGINT.
INTERRUPTED = """
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt():
    started.wait()
    os.kill(os.getpid(), signal.SIGINT)
started = threading.Event()
thread = threading.Thread(target=interrupt)
thread.start()
start = time.monotonic()
try:
    started.set()
    {call}
    print("not interrupted")
except KeyboardInterrupt:
    thread.join()
    print("interrupted", time.monotonic() - start < 30)
"""


@pytest.mark.parametrize(
    "call",
    [
        "kvstore.Client('127.0.0.1:1', timeout=None).get('k')",
        "node.join()",
        "kvstore.Node(0, ['127.0.0.1:1']).start().join()",
    ],
)
def test_ctrl_c_interrupts_a_wait_at_once(call: str) -> None:
    assert_clean(NODE + INTERRUPTED.format(call=call), "interrupted True")


def test_ctrl_c_in_join_stops_the_node() -> None:
    assert_clean(NODE + INTERRUPTED.format(call="node.join()") + "print(node.running)", "interrupted True\nFalse")


@pytest.fixture
def silent_address() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield "{}:{}".format(*listener.getsockname())


def test_other_threads_run_while_one_waits(silent_address: str) -> None:
    client = kvstore.Client(silent_address, timeout=0.5)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(kvstore.KVError):
            client.get("k")
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    rounds = 0
    while not ended.is_set():
        rounds += 1
    thread.join()
    client.close()
    assert rounds > 1000


def test_closing_wakes_the_threads_that_wait(silent_address: str, until: Any) -> None:
    client = kvstore.Client(silent_address, timeout=None)
    raised = []

    def wait() -> None:
        try:
            client.get("k")
        except kvstore.ClosedError as error:
            raised.append(error)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    # Calls that come after the close are refused all the same.
    client.close()
    for thread in threads:
        thread.join()
    assert len(raised) == 4
    client.close()


def test_a_node_that_is_killed_wakes_the_threads_that_wait(free_address: str, until: Any) -> None:
    # It waits for the group, which it never finds.
    node = kvstore.Node(peers=[free_address]).start()
    errors: List[Any] = []

    def wait() -> None:
        try:
            node.keyspace("nowhere").get("k", timeout=None)
        except kvstore.KVError as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    until(lambda: sys._current_frames()[thread.ident].f_code.co_name == "_run")  # type: ignore[index]
    node._kill()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(errors[0], kvstore.ClosedError)
    assert not errors[0].maybe_applied


def test_a_node_lives_once() -> None:
    node = kvstore.Node()
    assert (node.running, node.port) == (False, 0)
    for call in (lambda: node.get("k"), lambda: node.put("k", 1), lambda: node["k"], node.count, node.status):
        with pytest.raises(kvstore.ClosedError):
            call()
    with pytest.raises(kvstore.ClosedError) as caught:
        node.join(timeout=0)
    assert caught.value.code == "NOT_RUNNING"
    assert node.start() is node.start()
    assert node.running
    assert node.port > 0
    assert node.address == f"127.0.0.1:{node.port}"
    assert node.join(timeout=0) is False
    node.stop()
    node.stop()
    assert node.join() is True
    assert "stopped" in repr(node)
    for call in (lambda: node.get("k"), lambda: node.put("k", 1), node.start):
        with pytest.raises(kvstore.ClosedError):
            call()


def test_a_client_travels_as_its_configuration(node: kvstore.Node) -> None:
    client = kvstore.Client(node.address, codec=kvstore.TEXT, timeout=1)
    client["k"] = "text"
    twin = pickle.loads(pickle.dumps(client))
    assert twin["k"] == "text"
    assert repr(twin) == repr(client) == f"Client('{node.address}')"
    twin.close()
    assert client["k"] == "text"
    client.close()
    with pytest.raises(kvstore.ClosedError, match="make a new one"):
        client.get("k")


def test_a_node_does_not_travel(node: kvstore.Node) -> None:
    with pytest.raises(TypeError, match=r"send node\.address"):
        pickle.dumps(node)


def test_a_deadline_is_for_the_whole_call(silent_address: str) -> None:
    with kvstore.Client(silent_address, timeout=60) as client:
        start = time.monotonic()
        with pytest.raises(kvstore.KVError) as caught:
            client.put("k", 1, timeout=0.2)
        assert 0.1 < time.monotonic() - start < 30
        assert caught.value.retryable


def test_many_threads_get_each_its_own_answer(node: kvstore.Node) -> None:
    node.put_many({str(number): number for number in range(64)})
    wrong: List[Any] = []
    with kvstore.Client(node.address) as client:

        def read(number: int) -> None:
            for _ in range(50):
                found = client.get(str(number))
                wrong.extend([found] if found != number else [])

        threads = [threading.Thread(target=read, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_client_opens_nothing_before_its_first_call() -> None:
    code = "import kvstore, threading, os; c = kvstore.Client('h:1'); print(len(os.listdir('/proc/self/task')))"
    assert_clean(code, "1")

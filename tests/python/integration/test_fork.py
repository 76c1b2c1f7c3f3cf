"""Programs that fork: by hand, by multiprocessing in its three ways, by subprocess, by gunicorn, by Celery."""

from __future__ import annotations

import collections
import concurrent.futures
import http.client
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Iterator, List, Tuple

import celery
import pytest

import kvstore

from .harness import eventually, is_running
from .programs import assert_silent, run_program

if TYPE_CHECKING:
    import pathlib

# Generous: they bound how long a broken build hangs, not how long a good one takes.
PATIENCE_SECONDS = 60.0
pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def started() -> Iterator[List[subprocess.Popen[str]]]:
    """Processes that are gone at the end, whatever state they are in."""
    processes: List[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


# The module is read again by children that are not forked.
WITH_PROCESSES = """
import asyncio, multiprocessing, os, sys, threading
import kvstore

client = kvstore.Client(os.environ["TARGET_OF_THE_TEST"], timeout=20)

async def through_asyncio(number):
    async with kvstore.AsyncClient(os.environ["TARGET_OF_THE_TEST"], timeout=20) as db:
        await db.put("async/%d" % number, number)
        return await db.get("async/%d" % number)

def work(number):
    client.put("child/%d" % number, os.getpid())
    assert client.get("child/%d" % number) == os.getpid()
    assert client.get("parent") == "before"
    assert asyncio.run(through_asyncio(number)) == number

def from_pool(number):
    client.put("pool/%d" % number, number)
    return client.get("pool/%d" % number)

def main(method):
    context = multiprocessing.get_context(method)
    ended = threading.Event()
    def keep_calling():
        while not ended.is_set():
            client.get("parent")
    client.put("parent", "before")
    threads = [threading.Thread(target=keep_calling) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = [context.Process(target=work, args=(number,)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    ended.set()
    for thread in threads:
        thread.join()
    print([child.exitcode for child in children])
    with context.Pool(2) as pool:
        print(pool.map(from_pool, range(20)) == list(range(20)))
        pool.close()
        pool.join()
    client.put("parent", "after")
    found = client.get_many(["parent", *("child/%d" % number for number in range(3))])
    print(found.pop("parent"), len(set(found.values()) - {os.getpid()}))

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_client_of_a_module_serves_parent_and_children(tmp_path: pathlib.Path, method: str) -> None:
    program = tmp_path / "with_processes.py"
    program.write_text(WITH_PROCESSES)
    with kvstore.Node() as node:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program), method]
        target = {**os.environ, "TARGET_OF_THE_TEST": node.address}
        done = subprocess.run(
            command, capture_output=True, text=True, env=target, timeout=PATIENCE_SECONDS, check=False
        )
        assert_silent(done, "[0, 0, 0]\nTrue\nafter 3")
        assert node.count("pool/") == 20


BESIDE_A_NODE = """
import asyncio, os, signal, sys, threading
import kvstore

node = kvstore.Node(data_dir=sys.argv[1]).start(wait="ready")
node.put("k", "parent")
keyspace = node.create_keyspace("strong", consistency="strong")
name, lock = node.id, keyspace.lock("held", ttl=20)
lock.acquire()
term = node.status().group.term
watch = node.watch("k")
lease = keyspace.lease(20)

def refused(call):
    try:
        call()
    except kvstore.ForkedError:
        return
    print("not refused", call, flush=True)

def child(end):
    for call in (lambda: node.get("k"), lambda: node.put("k", 1), node.start, node.stop, node.status,
                 lambda: watch.next(1), lock.release, lock.acquire, lease.revoke, lambda: keyspace.get("k")):
        refused(call)
    with kvstore.Client(address) as client:
        client.put("from child", os.getpid())
        assert client.get("k") == "parent"
    end()

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def stumble():
    # Its last words are no noise of ours.
    sys.excepthook = lambda *_: None
    raise ValueError

ends = {"return": (lambda: None, 0), "exit": (lambda: sys.exit(3), 3), "_exit": (lambda: os._exit(4), 4),
        "raise": (stumble, 1), "kill": (kill, -9)}
address = node.address
for end, code in ends.values():
    pid = os.fork()
    if pid == 0:
        child(end)
        sys.exit()
    status = os.waitpid(pid, 0)[1]
    found = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    assert found == code, (found, code)
    # The parent's node, lock and watch are as they were.
    assert node["from child"] == pid
    assert lock.held
    node.put("k", "parent")
    assert watch.next(10).entry.value == "parent"
assert (node.id, node.status().group.term) == (name, term)
assert node.status().problems == ()
lock.release()
watch.cancel()
node.stop()
again = kvstore.Node(data_dir=sys.argv[1]).start(wait="ready")
assert (again.id, again["k"]) == (name, "parent")
again.stop()
print(kvstore.examine_data_dir(sys.argv[1]).healthy)
"""


def test_a_child_leaves_the_node_of_its_parent_alone_however_it_ends(tmp_path: pathlib.Path) -> None:
    assert_silent(run_program(BESIDE_A_NODE, [str(tmp_path / "data")]), "True")


WITH_LEASES = """
import asyncio, os, sys
import kvstore

node = kvstore.Node().start(wait="ready")
node.create_keyspace("strong", consistency="strong")
client = kvstore.Client(node.address, "strong", timeout=20)

async def granted(**options):
    async with kvstore.AsyncClient(node.address, "strong", timeout=20) as db:
        lease = db.lease(600, **options)
        await lease.refresh()
        return lease

leases = [client.lease(600, keep_alive=False), client.lease(600)]
leases.append(client.find_lease(leases[0].id))
async_lease = asyncio.run(granted(keep_alive=False))
for number, lease in enumerate(leases[:2]):
    client.put("on/%d" % number, number, lease=lease)

def refused(call):
    try:
        call()
    except kvstore.ForkedError as error:
        assert isinstance(error, kvstore.ClosedError)
        return
    print("not refused", call, flush=True)

def enter(lease):
    with lease:
        pass

def child():
    for lease in leases:
        for call in (lease.refresh, lease.revoke, lease.info, lambda: lease.ttl, lambda: lease.alive,
                     lambda: enter(lease), lambda: lease.__exit__(None, None, None)):
            refused(call)
        assert repr(lease) == "<kvstore lease %d of the parent process>" % lease.id
        # What went wrong inside a block says more.
        lease.__exit__(ValueError, ValueError(), None)
    for call in (async_lease.refresh, async_lease.revoke, async_lease.info):
        refused(lambda: asyncio.run(call()))
    found = client.find_lease(leases[0].id)
    assert found.refresh() > 0
    assert found.info().places == 1
    with client.lease(600, keep_alive=False) as own:
        client.put("own", 1, lease=own)
    assert not client.exists("own")

with client.lease(600, keep_alive=False) as held:
    client.put("on/2", 2, lease=held)
    pid = os.fork()
    if pid == 0:
        child()
        # Through the end of the block, which is the child's as well.
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    assert held.info().places == 1
for lease in leases:
    assert lease.refresh() > 0
    assert lease.info().places == 1
print(sorted(client.keys()))
for lease in leases[:2]:
    lease.revoke()
client.close()
node.stop()
"""


def test_a_child_leaves_the_leases_of_its_parent_alone() -> None:
    assert_silent(run_program(WITH_LEASES), "['on/0', 'on/1']")


THAT_OUTLIVES = """
import os, sys
import kvstore

node = kvstore.Node(data_dir=sys.argv[1]).start(wait="ready")
node.put("k", 1)
port = node.port
to_child, to_parent = int(sys.argv[2]), os.pipe()
pid = os.fork()
if pid == 0:
    print(port, os.getpid(), flush=True)
    os.write(to_parent[1], b"x")
    # Lives until the test has closed the other end.
    os.read(to_child, 1)
    os._exit(0)
os.read(to_parent[0], 1)
if sys.stdin.readline() == "":
    sys.exit("nobody is there")
node.stop()
again = kvstore.Node(port, data_dir=sys.argv[1]).start(wait="ready")
with kvstore.Client(again.address) as client:
    print(client.get("k"))
again.stop()
"""


@pytest.fixture
def outlived(
    tmp_path: pathlib.Path, started: List[subprocess.Popen[str]]
) -> Iterator[Tuple[subprocess.Popen[str], int, int]]:
    """A process with a durable node, the port of that, and its child, which lives for as long as the test."""
    reader, writer = os.pipe()
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", THAT_OUTLIVES, str(tmp_path / "data")]
    parent = subprocess.Popen(
        [*command, str(reader)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[reader]
    )
    started.append(parent)
    os.close(reader)
    try:
        port, child = map(int, parent.stdout.readline().split())
        yield parent, port, child
        assert is_running(child), "the child ended too early to show anything"
    finally:
        os.close(writer)
    eventually(lambda: not is_running(child), "the child has ended")


def test_a_stopped_node_leaves_its_port_and_directory_although_a_child_lives_on(
    outlived: Tuple[subprocess.Popen[str], int, int],
) -> None:
    parent, _, _ = outlived
    parent.stdin.write("go\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "1\n"
    assert parent.wait(PATIENCE_SECONDS) == 0


def test_a_killed_node_leaves_its_port_and_directory_although_a_child_lives_on(
    tmp_path: pathlib.Path, outlived: Tuple[subprocess.Popen[str], int, int]
) -> None:
    parent, port, _ = outlived
    parent.kill()
    parent.wait()
    with kvstore.Node(port, data_dir=tmp_path / "data").start(wait="ready") as node:
        assert node["k"] == 1


WITH_SUBPROCESSES = """
import os, subprocess, sys, threading
import kvstore

node = kvstore.Node().start(wait="ready")
client = kvstore.Client(node.address)
ended = threading.Event()
def keep_calling(store):
    while not ended.is_set():
        store.put("k", 1)
threads = [threading.Thread(target=keep_calling, args=(store,)) for store in (node, client)]
for thread in threads:
    thread.start()

def prepare():
    # Between fork and exec, in the child.
    os.setsid()
    assert client.get("missing") is None
    try:
        node.get("k")
    except kvstore.ForkedError:
        pass
    else:
        os._exit(9)

for number in range(10):
    command = [sys.executable, "-S", "-c", "print(%d)" % number]
    done = subprocess.run(command, preexec_fn=prepare, stdout=subprocess.PIPE, close_fds=CLOSE_FDS)
    assert (done.returncode, int(done.stdout)) == (0, number), done
ended.set()
for thread in threads:
    thread.join()
print(client.get("k"), node.get("k"))
"""


def test_subprocesses_with_a_preexec_fn() -> None:
    assert_silent(run_program("CLOSE_FDS = False\n" + WITH_SUBPROCESSES), "1 1")


def test_a_client_that_a_preexec_fn_used_may_lose_its_descriptors_and_nothing_else() -> None:
    # As subprocess does by default: it closes them under the thread of that client, which complains before the exec.
    done = run_program("CLOSE_FDS = True\n" + WITH_SUBPROCESSES)
    assert (done.returncode, done.stdout.strip()) == (0, "1 1"), done
    for thread in re.findall(r"thread '(.*?)'.* panicked", done.stderr):
        assert thread == "kvstore-client", done
    assert not done.stderr or "Bad file descriptor" in done.stderr, done


# One process owns the node, as ADDRESS_IN_USE says; here it is the one that loads the application for its workers.
APPLICATION = """
import asyncio, os
import kvstore

node = kvstore.Node().start(wait="ready")
address = node.address
client = kvstore.Client(address, timeout=20)
client.put("loaded by", os.getpid())

async def through_asyncio(key):
    async with kvstore.AsyncClient(address, timeout=20) as db:
        return await db.get(key)

def application(environ, start_response):
    key = environ["PATH_INFO"]
    client.put(key, os.getpid())
    assert client.get(key) == asyncio.run(through_asyncio(key)) == os.getpid()
    try:
        node.get(key)
        state = "500 the node of another process answered"
    except kvstore.ForkedError:
        state = "200 OK"
    body = b"%d %d" % (os.getpid(), client.get("loaded by"))
    start_response(state, [("Content-Length", str(len(body)))])
    return [body]
"""


def test_gunicorn_with_preload(tmp_path: pathlib.Path, started: List[subprocess.Popen[str]]) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    options = ["--preload", "--workers=3", "--bind=127.0.0.1:0", f"--worker-tmp-dir={tmp_path}", "--timeout=60"]
    command = [sys.executable, "-m", "gunicorn", *options, "application:application"]
    log = tmp_path / "log"
    with log.open("w") as file:
        master = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file, text=True)
    started.append(master)

    def ask(number: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        connection.request("GET", f"/{number}")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 200, (answer.reason, log.read_text())
        worker, loader = map(int, body.split())
        assert loader == master.pid
        return worker

    port = int(
        eventually(lambda: re.findall(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text()), "it listens")[0]
    )
    workers: collections.Counter[int] = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        workers.update(pool.map(ask, range(100)))
        assert master.pid not in workers
        # A worker that dies hurts nobody, and the next one works.
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not is_running(killed), "the worker is gone")
        eventually(lambda: log.read_text().count("Booting worker") >= 4, "another takes its place")

        known = set(workers)
        eventually(lambda: set(pool.map(ask, range(100, 120))) - known, "the new worker answers")
    master.terminate()
    assert master.wait(PATIENCE_SECONDS) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


TASKS = """
import asyncio, os
import celery
import kvstore

here = os.path.dirname(os.path.abspath(__file__))
target = os.environ["TARGET_OF_THE_TEST"]
backend = "kvstore.contrib.celery:KVStoreBackend+kv://%s/results?timeout=20" % target
app = celery.Celery("tasks", broker="filesystem://", backend=backend)
app.conf.update(
    broker_transport_options={
        "data_folder_in": os.path.join(here, "queue"), "data_folder_out": os.path.join(here, "queue"),
        "control_folder": os.path.join(here, "control"), "polling_interval": 0.02,
    },
    worker_prefetch_multiplier=8,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)
client = kvstore.Client(target, timeout=20)
# Used before the workers are forked.
client.put("loaded by", os.getpid())

async def through_asyncio(key):
    async with kvstore.AsyncClient(target, timeout=20) as db:
        await db.put(key + "/async", await db.get(key))
        return await db.get(key + "/async")

@app.task(name="work")
def work(key):
    assert client.get("loaded by") != os.getpid()
    client.put(key, os.getpid())
    return [os.getpid(), asyncio.run(through_asyncio(key)), client.get(key)]
"""


def test_celery_with_forked_workers(
    tmp_path: pathlib.Path, started: List[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks.py").write_text(TASKS)
    with kvstore.Node().start(wait="ready") as node:
        node.create_keyspace("results", consistency="strong")
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool=prefork", "--concurrency=2"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
        log = tmp_path / "log"
        target = {**os.environ, "TARGET_OF_THE_TEST": node.address}
        with log.open("w") as file:
            worker = subprocess.Popen(command, cwd=tmp_path, env=target, stdout=file, stderr=file, text=True)
        started.append(worker)
        app = _application_of_the_tasks(tmp_path, node.address, monkeypatch)
        sent = [app.send_task("work", [f"task/{number}"]) for number in range(8)]
        answers: List[Any] = [each.get(timeout=PATIENCE_SECONDS) for each in sent]
        assert all(pid == through == client for pid, through, client in answers), answers
        assert worker.pid not in {pid for pid, _, _ in answers}
        assert node["loaded by"] == worker.pid
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0, log.read_text()
        assert "Traceback" not in log.read_text()


def _application_of_the_tasks(folder: pathlib.Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    app = celery.Celery(
        "sender",
        broker="filesystem://",
        backend=f"kvstore.contrib.celery:KVStoreBackend+kv://{address}/results?timeout=20",
        set_as_current=False,
    )
    queue = str(folder / "queue")
    app.conf.broker_transport_options = {
        "data_folder_in": queue,
        "data_folder_out": queue,
        "control_folder": str(folder / "control"),
    }
    return app

"""A program that presses Ctrl-C in calls which wait: interrupts.py PART DIRECTORY.

Every public call is in one of the tables: those that wait, with how to make them wait; those that do not, with why.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import selectors
import signal
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Tuple

import kvstore
from kvstore.cli.processes import NodeProcess
from kvstore.testing import LocalCluster

# It is run as a program, which has no package.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from integration.harness import is_stopped

Call = Callable[[], Any]

# How long a call that answers Ctrl-C may take to do so. Generous: slow machines are no bug.
ANSWER_SECONDS = 10.0
CALLS_OF_A_PAUSE = 8

# Where a thread is that waits: in the package, or in a loop whose tasks do.
WAITING = (str(pathlib.Path(kvstore.__file__).parent), selectors.__file__)


# ----------------------------------------------------------------------------------------------------------- the tables
# Of a store that does not answer.
STORE: Dict[str, Callable[[Any], Any]] = {
    "add": lambda db: db.add("k", 1),
    "conflicts": lambda db: next(db.conflicts(), None),
    "count": lambda db: db.count(),
    "create_keyspace": lambda db: db.create_keyspace("other", consistency="strong"),
    "delete": lambda db: db.delete("nothing"),
    "delete_many": lambda db: db.delete_many(["nothing"]),
    "delete_prefix": lambda db: db.delete_prefix("nothing/"),
    "drop_keyspace": lambda db: db.drop_keyspace("nothing"),
    "entry": lambda db: db.entry("k"),
    "exists": lambda db: db.exists("k"),
    "find_lease": lambda db: db.find_lease(1),
    "leases": lambda db: db.leases(),
    "get": lambda db: db.get("k"),
    "get_many": lambda db: db.get_many(["k"]),
    "incr": lambda db: db.incr("n"),
    "info": lambda db: db.info(),
    "keys": lambda db: next(db.keys()),
    "keyspaces": lambda db: db.keyspaces(),
    "lease": lambda db: db.lease(10),
    "members": lambda db: db.members(),
    "metrics": lambda db: db.metrics(),
    "ping": lambda db: db.ping(),
    "pop": lambda db: db.pop("nothing", None),
    "put": lambda db: db.put("k", 1),
    "put_many": lambda db: db.put_many({"k": 1}),
    "scan": lambda db: next(db.scan()),
    "snapshot": lambda db: db.snapshot(pathlib.Path(sys.argv[2], "snapshot")),
    "status": lambda db: db.status(),
    "touch": lambda db: db.touch("k", None),
    "transact": lambda db: db.transact(lambda txn: txn.put("k", 1)),
    "update": lambda db: db.update("k", lambda value: value),
    "watch": lambda db: db.watch("k"),
    "__getitem__": lambda db: db["k"],
    "__setitem__": lambda db: db.__setitem__("k", 1),
    "__delitem__": lambda db: db.__delitem__("nothing"),
    "__contains__": lambda db: "k" in db,
}
STORE_AT_ONCE = {
    "batch": "only makes one",
    "cluster": "a property that only makes one",
    "election": "only makes one",
    "keyspace": "only makes a view",
    "lock": "only makes one",
    "map": "only makes one",
    "with_options": "only makes a view",
    "restore": "one put, made of a conflict: as put",
}
STRONG_ONLY = {"add", "find_lease", "incr", "lease", "leases", "transact", "update"}
EVENTUAL_ONLY = {"conflicts"}

MAP: Dict[str, Callable[[Any], Any]] = {
    "clear": lambda db: db.map("nothing/").clear(),
    "get": lambda db: db.map().get("k"),
    "items": lambda db: list(db.map().items()),
    "keys": lambda db: list(db.map().keys()),
    "pop": lambda db: db.map().pop("nothing", None),
    "popitem": lambda db: db.map().popitem(),
    "setdefault": lambda db: db.map().setdefault("k", 1),
    "update": lambda db: db.map().update(k=1),
    "values": lambda db: list(db.map().values()),
    "__getitem__": lambda db: db.map()["k"],
    "__setitem__": lambda db: db.map().__setitem__("k", 1),
    "__delitem__": lambda db: db.map().__delitem__("nothing"),
    "__contains__": lambda db: "k" in db.map(),
    "__iter__": lambda db: next(iter(db.map())),
    "__len__": lambda db: len(db.map()),
    "__eq__": lambda db: db.map() == {},
}
MAP_AT_ONCE = {"__bool__": "refuses"}


class Held:
    """What of a strong keyspace is there before it does not answer any more."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.locks = [self._taken(db.lock(f"lock-{number}", ttl=600)) for number in range(2)]
        self.elections = [db.election(f"election-{number}", ttl=600) for number in range(2)]
        for election in self.elections:
            election.campaign()
        self.lease = db.lease(600)
        self.leases = [db.lease(600) for _ in range(2)]
        self.watch = db.watch("watched")

    @staticmethod
    def _taken(lock: Any) -> Any:
        assert lock.acquire()
        return lock

    def calls(self) -> Dict[str, Call]:
        db = self.db
        return {
            "Batch.__exit__": self._batch,
            "Txn.get": lambda: db.transact(lambda txn: txn.get("k")),
            "Txn.entry": lambda: db.transact(lambda txn: txn.entry("k")),
            "Lock.acquire": lambda: db.lock("lock-0").acquire(),
            "Lock.__enter__": lambda: db.lock("lock-0").__enter__(),
            "Lock.release": self.locks[0].release,
            "Lock.__exit__": lambda: self.locks[1].__exit__(None, None, None),
            "Election.campaign": lambda: db.election("election-0").campaign(),
            "Election.__enter__": lambda: db.election("election-0").__enter__(),
            "Election.resign": self.elections[0].resign,
            "Election.__exit__": lambda: self.elections[1].__exit__(None, None, None),
            "Election.leader": lambda: db.election("election-0").leader(),
            "Lease.refresh": self.lease.refresh,
            "Lease.info": self.lease.info,
            "Lease.revoke": self.leases[0].revoke,
            "Lease.__exit__": lambda: self.leases[1].__exit__(None, None, None),
            "Watch.next": self.watch.next,
            "Watch.__iter__": lambda: next(iter(self.watch)),
            "Watch.batches": lambda: next(self.watch.batches()),
        }

    def _batch(self) -> None:
        with self.db.batch() as batch:
            batch.put("k", 1)


AT_ONCE = {
    "Batch.__enter__": "asks what `default` is if nobody has: as Store.info",
    "Batch.delete": "sent at the end",
    "Batch.get": "sent at the end",
    "Batch.incr": "sent at the end",
    "Batch.put": "sent at the end",
    "Batch.require": "sent at the end",
    "Txn.delete": "sent at the end",
    "Txn.put": "sent at the end",
    "Election.observe": "as Store.watch",
    "Election.on_lost": "only remembers it",
    "Election.scope": "only makes a view",
    "Lock.on_lost": "only remembers it",
    "Lock.scope": "only makes a view",
    "Lease.__enter__": "it is granted already",
    "Watch.__enter__": "does nothing",
    "Watch.__exit__": "as cancel",
    "Watch.cancel": "tells nobody",
    "Cluster.add": "refuses",
    "Client.close": "waits for nothing",
    "Client.from_env": "connects at the first call",
    "Client.__enter__": "does nothing",
    "Client.__exit__": "as close",
    "Node.astart": "start() in a thread of the loop",
    "Node.astop": "stop() in a thread of the loop",
    "Node.__aenter__": "as astart",
    "Node.__aexit__": "as astop",
    "Node.async_client": "only makes one",
    "LocalCluster.client": "only makes one",
    "LocalCluster.async_client": "only makes one",
    "LocalCluster.node": "only looks it up",
    "LocalCluster.partition": "tells the doors of its nodes",
    "LocalCluster.heal": "tells the doors of its nodes",
    "LocalCluster.slow": "tells the doors of its nodes",
    "LocalCluster.pause": "tells the doors of its nodes",
    "LocalCluster.resume": "tells the doors of its nodes",
    "LocalCluster.kill": "waits for nothing but threads that end",
    "LocalCluster.stop": "as kill",
    "LocalCluster.__exit__": "as stop",
    "LocalCluster.advance_clock": "waits for strong keyspaces that have a leader, 3 s at most, as leader",
    "Pending.result": "the answer is there, or an error",
    "dataclass_codec": "only makes one",
    "pydantic_codec": "only makes one",
    "NodeConfig.load": "reads a file",
    "NodeConfig.replace": "only makes one",
    "Codec.encode": "the program's own",
    "Codec.decode": "the program's own",
}


# ------------------------------------------------------------------------------------------------------------- pressing
class Finger:
    """Presses Ctrl-C once the main thread waits."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self.pressed = 0.0

    def _is_inside(self) -> bool:
        frame = sys._current_frames().get(self._main)
        while frame is not None:
            if frame.f_code.co_filename.startswith(WAITING):
                return True
            frame = frame.f_back
        return False

    def press(self, is_over: threading.Event) -> None:
        looks = 0
        while looks < 3:
            if is_over.wait(0.01):
                return
            looks = looks + 1 if self._is_inside() else 0
        self.pressed = time.monotonic()
        # To the process: the system may hand it to any of its threads, as it does from a terminal.
        os.kill(os.getpid(), signal.SIGINT)


def interrupt(name: str, call: Call) -> List[str]:
    """What is wrong with a call that has to wait until it is interrupted."""
    finger, is_over = Finger(), threading.Event()
    thread = threading.Thread(target=finger.press, args=(is_over,))
    try:
        try:
            thread.start()
            answer = call()
        finally:
            is_over.set()
            thread.join()
    except KeyboardInterrupt:
        late = time.monotonic() - finger.pressed
        return [f"{name}: answers Ctrl-C after {late:.1f} s"] if late > ANSWER_SECONDS else []
    except Exception as error:  # noqa: BLE001 - told
        return [f"{name}: {error!r}"]
    return [f"{name}: did not wait, and answered {answer!r:.80}"]


def interrupt_all(calls: Iterable[Tuple[str, Call]]) -> List[str]:
    return [problem for name, call in calls for problem in interrupt(name, call)]


def bound(db: Any, table: Dict[str, Callable[[Any], Any]], prefix: str, without: Iterable[str]) -> Dict[str, Call]:
    def one(call: Callable[[Any], Any]) -> Call:
        return lambda: call(db)

    return {prefix + name: one(call) for name, call in table.items() if name not in without}


def eventually(condition: Callable[[], Any]) -> None:
    ends, pause = time.monotonic() + 60, threading.Event()
    while not condition():
        assert time.monotonic() < ends, "the condition did not come true"
        pause.wait(0.02)


def pause(node: NodeProcess) -> None:
    """From when this returns, it says nothing more."""
    node.signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(node.pid))


# ---------------------------------------------------------------------------------------------------------------- parts
def of_cluster(cluster: Any) -> Dict[str, Call]:
    return {
        "Cluster.members": cluster.members,
        "Cluster.leader": cluster.leader,
        "Cluster.move_leader": cluster.move_leader,
        "Cluster.remove": lambda: cluster.remove("00000000000000aa", force=True),
    }


def eventual_client() -> List[str]:
    with NodeProcess.start() as node, node.client(timeout=60) as db:
        db.put("k", 1)
        calls = bound(db, STORE, "Store.", STRONG_ONLY)
        calls.update(bound(db, MAP, "Map.", ()))
        calls.update(of_cluster(db.cluster))
        pause(node)
        problems = interrupt_all(calls.items())

        async def get() -> Any:
            async with kvstore.AsyncClient(node.address, timeout=60) as adb:
                return await adb.get("k")

        problems += interrupt("AsyncClient.get", lambda: asyncio.run(get()))
        node.signal(signal.SIGCONT)
        db.put("after", 2)
        assert (db.get("after"), asyncio.run(get())) == (2, 1)
    return problems


def strong_client() -> List[str]:
    with NodeProcess.start() as node, node.client(timeout=60) as root:
        root.create_keyspace("strong", consistency="strong").put("k", 1)
        with kvstore.Client(node.address, "strong", timeout=60) as db:
            held = Held(db)
            calls = bound(db, STORE, "Store.", EVENTUAL_ONLY)
            calls.update(held.calls())
            pause(node)
            problems = interrupt_all(calls.items())
            node.signal(signal.SIGCONT)
            check_strong(db, held)
    return problems


def is_served(db: Any, timeout: float = 5.0) -> bool:
    try:
        db.put("after", 1, timeout=timeout)
    except kvstore.KVError:
        # Without a leader for a moment.
        return False
    return True


def check_strong(db: Any, held: Held) -> None:
    """What was interrupted left everything usable."""
    eventually(lambda: is_served(db))
    assert db.incr("counted") == 1
    db.put("watched", 1)
    assert held.watch.next(20).entry.value == 1
    held.watch.cancel()
    with db.lock("another") as lock:
        assert lock.held
    assert held.lease.refresh() > 0
    held.lease.revoke()


# Answered from the memory of this process.
NODE_AT_ONCE = {"members", "metrics", "ping", "status", "snapshot"}


def strong_node() -> List[str]:
    with kvstore.Node().start(wait="ready") as node, NodeProcess.start(peers=[node.address]) as peer:
        db = node.create_keyspace("strong", consistency="strong")
        db.put("k", 1)
        group = lambda: node.status().group  # noqa: E731
        eventually(lambda: [each.votes for each in group().members] == [True, True])
        held = Held(db)
        calls = bound(db, STORE, "Store.", [*EVENTUAL_ONLY, *NODE_AT_ONCE])
        calls.update(held.calls())
        calls["Store.conflicts"] = lambda: list(node.conflicts())
        calls["Cluster.remove"] = lambda: node.cluster.remove(peer.node, force=True)
        calls["Cluster.move_leader"] = lambda: node.cluster.move_leader(peer.node, timeout=60)
        problems: List[str] = []
        left = list(calls.items())
        while left:
            # Not all at once: a leader that hears from nobody for 2 s falls silent, and tries again after 12 s only.
            some, left = left[:CALLS_OF_A_PAUSE], left[CALLS_OF_A_PAUSE:]
            pause(peer)
            # What was on its way when the peer was stopped may answer one more read.
            eventually(lambda: not is_served(db, 0.3))
            problems += interrupt_all(some)
            peer.signal(signal.SIGCONT)
            eventually(lambda: is_served(db))
        check_strong(db, held)
    return problems


def life() -> List[str]:
    """Starts and stops, of nodes and of clusters for tests, and what is done with files."""
    problems: List[str] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        # It asks whoever has the port who that is.
        problems += interrupt("Node.start", kvstore.Node(port).start)
        problems += interrupt("Node.__enter__", kvstore.Node(port).__enter__)
        waits = kvstore.Node(0, [port])
        problems += interrupt("Node.start(wait=...)", lambda: waits.start(wait="ready", timeout=60))
        assert waits.running
        problems += interrupt("Node.join", waits.join)
        assert not waits.running
    for name, stop in (
        ("stop", lambda node: node.stop(60)),
        ("__exit__", lambda node: node.__exit__(None, None, None)),
    ):
        with NodeProcess.start() as peer:
            node = kvstore.Node(0, [peer.address]).start(wait="ready")
            pause(peer)
            node.put("only", "here")
            problems += interrupt(f"Node.{name}", lambda stop=stop, node=node: stop(node))  # type: ignore[misc]
            assert not node.running
            assert node.join(0)
    return problems + clusters() + files(pathlib.Path(sys.argv[2]))


def clusters() -> List[str]:
    problems = interrupt("LocalCluster.start", LocalCluster(2, isolation="process").start)
    problems += interrupt("LocalCluster.__enter__", LocalCluster(2, isolation="process").__enter__)
    with LocalCluster(3).start(timeout=60) as cluster:
        cluster.wait_healthy(timeout=60)
        for number in range(3):
            cluster.pause(number)
        problems += interrupt("LocalCluster.leader", lambda: cluster.leader)
        problems += interrupt("LocalCluster.wait_healthy", cluster.wait_healthy)
        cluster.node(0).put("only", "here")
        problems += interrupt("LocalCluster.restart", lambda: cluster.restart(0))
    return problems


def files(directory: pathlib.Path) -> List[str]:
    """A pipe that nobody writes to is a slow disk."""
    data, pipe = directory / "data", directory / "pipe"
    os.mkfifo(pipe)
    with kvstore.Node(data_dir=data) as node:
        node.put("k", 1)
    identity = data / "identity"
    identity.unlink()
    os.mkfifo(identity)
    calls: Dict[str, Call] = {
        "verify_snapshot": lambda: kvstore.verify_snapshot(pipe),
        "restore_snapshot": lambda: kvstore.restore_snapshot(pipe, directory / "new", "default"),
        "examine_data_dir": lambda: kvstore.examine_data_dir(data),
    }
    return interrupt_all(calls.items())


PARTS: Dict[str, Callable[[], List[str]]] = {
    "eventual_client": eventual_client,
    "strong_client": strong_client,
    "strong_node": strong_node,
    "life": life,
}

OF_LIFE = [
    *(f"Node.{name}" for name in ("start", "stop", "join", "__enter__", "__exit__")),
    *(f"LocalCluster.{name}" for name in ("start", "wait_healthy", "leader", "restart", "__enter__")),
    *("verify_snapshot", "restore_snapshot", "examine_data_dir"),
]


if __name__ == "__main__":
    # A shell lets what it runs in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.write("\n".join([*PARTS[sys.argv[1]](), "done"]))

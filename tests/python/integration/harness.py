"""What the integration tests share: a cluster of processes with faults, and waiting for a condition with a deadline."""

from __future__ import annotations

import itertools
import pathlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence

from kvstore.cli.processes import NodeProcess
from kvstore.testing.ports import reserve

if TYPE_CHECKING:
    import socket

    import kvstore

# Generous: it bounds how long a broken build hangs, not how long a good one takes.
DEADLINE_SECONDS = 60.0
_LOOK_SECONDS = 0.02


def eventually(condition: Callable[[], Any], what: str, timeout: float = DEADLINE_SECONDS) -> Any:
    """Wait until the condition gives something true, and return that; AssertionError after the deadline."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        pause.wait(_LOOK_SECONDS)


def state_of(stat: pathlib.Path) -> str:
    """Of a process or thread, by its file below /proc; "" when it is gone, even since the file was found."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_stopped(pid: int) -> bool:
    """Whether every thread has stopped: a signal takes its time to reach those that run on another core."""
    # Where there is no /proc, the signal has to do.
    return all(state_of(stat) in {"T", ""} for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))


def is_running(pid: int) -> bool:
    """Whether there is such a process; a body that nobody has fetched yet is none."""
    return state_of(pathlib.Path(f"/proc/{pid}/stat")) not in {"", "Z"}


class Cluster:
    """Nodes in processes, numbered from 0. Killed and restarted nodes keep their number and their port.

    Nobody else gets the port of a node that is dead: suites run side by side, and the peers of a dead node call there.
    """

    def __init__(self) -> None:
        self.nodes: List[NodeProcess] = []
        self._guards: List[socket.socket] = []

    def start(self, count: int = 3, options: Sequence[str] = ()) -> Cluster:
        """Add nodes that know those before them, and wait until all are connected."""
        for _ in range(count):
            self.add([node.address for node in self.nodes], options)
        self.wait_connected()
        return self

    def add(self, peers: Sequence[str] = (), options: Sequence[str] = ()) -> NodeProcess:
        """Add one node that begins with these peers."""
        node = self._launch(len(self.nodes), self.reserve_port(), peers, options)
        self.nodes.append(node)
        return node

    def reserve_port(self) -> int:
        """A port that is kept for a node until the cluster stops."""
        guard, port = reserve("127.0.0.1")
        self._guards.append(guard)
        return port

    def _launch(self, index: int, port: int, peers: Sequence[str], options: Sequence[str] = ()) -> NodeProcess:
        """Start the process of a node."""
        return NodeProcess.start(port, peers, options, DEADLINE_SECONDS)

    def kill(self, index: int) -> None:
        """SIGKILL."""
        self.nodes[index].kill()

    def restart(self, index: int) -> NodeProcess:
        """Start a killed node on its old port; it knows the others."""
        others = [node.address for node in self.nodes if node is not self.nodes[index]]
        self.nodes[index] = self._launch(index, self.nodes[index].port, others)
        return self.nodes[index]

    def pause(self, index: int) -> None:
        """SIGSTOP: it keeps everything and answers nothing, from when this returns."""
        node = self.nodes[index]
        node.signal(signal.SIGSTOP)
        eventually(lambda: is_stopped(node.pid), f"node {index} is stopped")

    def resume(self, index: int) -> None:
        """SIGCONT."""
        self.nodes[index].signal(signal.SIGCONT)

    def client(self, index: int, **options: Any) -> kvstore.Client[Any]:
        """A client of one node, which waits for one that is slow."""
        return self.nodes[index].client(**{"timeout": DEADLINE_SECONDS, **options})

    def address(self, index: int) -> str:
        """Of one node."""
        return self.nodes[index].address

    def wait_connected(self, timeout: float = DEADLINE_SECONDS) -> None:
        """Wait until every node is connected with every other."""

        def connected() -> bool:
            return all(len(self.connected_to(index)) == len(self.nodes) for index in range(len(self.nodes)))

        eventually(connected, "every node is connected with every other", timeout)

    def connected_to(self, index: int) -> List[str]:
        """The addresses that a node is connected with, its own included."""
        with self.client(index) as client:
            return [member.address for member in client.members() if member.connected]

    def wait_equal(self, indexes: Optional[Sequence[int]] = None, timeout: float = DEADLINE_SECONDS) -> None:
        """Wait until the nodes report the same digests, then compare them entry by entry."""
        wanted = list(range(len(self.nodes))) if indexes is None else indexes
        clients = [self.client(index) for index in wanted]
        try:
            eventually(
                lambda: len({client.status(digests=True).digests for client in clients}) == 1,
                f"the nodes {list(wanted)} have equal digests",
                timeout,
            )
            for entries in itertools.zip_longest(*(client.scan() for client in clients)):
                assert all(entry == entries[0] for entry in entries), entries
        finally:
            for client in clients:
                client.close()

    def wait_value(self, index: int, key: str, value: Any, timeout: float = DEADLINE_SECONDS) -> None:
        """Wait until a node has this value (None: nothing) under the key."""
        with self.client(index) as client:
            eventually(lambda: client.get(key) == value, f"node {index} has {key!r} = {value!r:.80}", timeout)

    def stop(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.end()
        for guard in self._guards:
            guard.close()

"""A program that holds the GIL for seconds does not stop its node, nor cost it the leadership of the strong group."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from typing import Any, Callable, Iterator

import pytest

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import client_of, group_of

# A call through PyDLL keeps the GIL, here while it waits for the next line. The thread that feeds `logging` wants it.
PROGRAM = """
import ctypes, logging, select, struct, sys, kvstore
logging.getLogger("kvstore").setLevel("DEBUG")
logging.getLogger("kvstore").addHandler(logging.NullHandler())
node = kvstore.Node(0, [sys.argv[1]], log="python").start(wait="ready")
node.put("from/busy", "hello")
print(node.address, node.id, flush=True)
sys.stdin.readline()
print("holding", flush=True)
stdin = ctypes.create_string_buffer(struct.pack("ihh", 0, select.POLLIN, 0))
ctypes.PyDLL(None).poll(stdin, 1, 120_000)
print("released", flush=True)
sys.stdin.readline()
node.stop()
"""

# A machine that is busy with other tests takes its time to start three nodes.
pytestmark = pytest.mark.timeout(180)

# How long the GIL is held at least.
HELD_SECONDS = 10.0

Start = Callable[[], subprocess.Popen]  # type: ignore[type-arg]


@pytest.fixture
def start_busy(cluster: Cluster) -> Iterator[Start]:
    """Start a process with a node in it, whose Python is about to hold the GIL until it is told to go on."""
    processes = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, cluster.address(0)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _go_on(busy: subprocess.Popen[str], says: str) -> None:
    busy.stdin.write("go\n")
    busy.stdin.flush()
    if says:
        assert busy.stdout.readline() == says + "\n"


def _end(busy: subprocess.Popen[str]) -> None:
    assert not select.select([busy.stdout], [], [], 0)[0], "the GIL was let go of too early to show anything"
    _go_on(busy, "released")
    _go_on(busy, "")
    assert busy.wait(DEADLINE_SECONDS) == 0


def _leads(client: kvstore.Client[Any], name: str) -> bool:
    try:
        return client.cluster.move_leader(name) == name
    except kvstore.KVError:
        # It has not caught up yet.
        return False


def test_a_node_serves_and_replicates_while_its_program_holds_the_gil(cluster: Cluster, start_busy: Start) -> None:
    cluster.start(1)
    busy = start_busy()
    address, _ = busy.stdout.readline().split()
    cluster.wait_value(0, "from/busy", "hello")
    with kvstore.Client(address, timeout=DEADLINE_SECONDS, discover=False) as client, cluster.client(0) as other:
        client.ping()
        _go_on(busy, "holding")
        for number in range(10):
            client.put("through/busy", number)
            eventually(lambda: other.get("through/busy") == number, "it sends to its peer")  # noqa: B023
            other.put("to/busy", number)
            eventually(lambda: client.get("to/busy") == number, "it applies what its peer sends")  # noqa: B023
    _end(busy)


def test_a_node_leads_on_while_its_program_holds_the_gil(cluster: Cluster, start_busy: Start) -> None:
    cluster.start(2)
    busy = start_busy()
    address, name = busy.stdout.readline().split()

    def votes() -> bool:
        group = group_of(cluster.nodes[0])
        return group is not None and sum(member.votes for member in group.members) == 3

    eventually(votes, "all three vote", 60)
    with cluster.client(0) as client:
        client.create_keyspace("strong", consistency="strong")
        eventually(lambda: _leads(client, name), "the busy node leads", 60)
        term = client.status().group.term
    # Through a follower to the leader, and by the leader itself.
    with client_of(cluster, [1], "strong") as through, kvstore.Client(
        address, "strong", timeout=DEADLINE_SECONDS, discover=False
    ) as direct:
        assert (through.incr("n"), direct.incr("n")) == (1, 2)
        _go_on(busy, "holding")
        rounds, ends = 0, time.monotonic() + HELD_SECONDS
        while time.monotonic() < ends:
            rounds += 1
            assert through.incr("n") == 2 * rounds + 1
            assert direct.incr("n") == 2 * rounds + 2
            for index in range(2):
                group = group_of(cluster.nodes[index])
                # A node that is too slow to answer says nothing.
                assert group is None or (group.leader, group.term) == (name, term)
        assert rounds > 10
        group = direct.status().group
        assert (group.role, group.leader, group.term) == ("leader", name, term)
    _end(busy)

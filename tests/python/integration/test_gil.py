"""A program that holds the GIL for seconds does not stop its node."""

from __future__ import annotations

import select
import subprocess
import sys
from typing import Iterator

import pytest

import kvstore

from .harness import Cluster, eventually

# sum() over a range is one C call of seconds that never lets go of the GIL.
PROGRAM = """
import sys, kvstore
node = kvstore.Node(0, [sys.argv[1]]).start(wait="ready")
node.put("from/busy", "hello")
print(node.address, flush=True)
sys.stdin.readline()
print("holding", flush=True)
sum(range(100_000_000))
print("released", flush=True)
sys.stdin.readline()
node.stop()
"""


@pytest.fixture
def busy(cluster: Cluster) -> Iterator[subprocess.Popen[str]]:
    """A process with a node in it, whose Python is about to hold the GIL."""
    cluster.start(1)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, cluster.address(0)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_node_serves_and_replicates_while_its_program_holds_the_gil(
    cluster: Cluster, busy: subprocess.Popen[str]
) -> None:
    address = busy.stdout.readline().strip()
    cluster.wait_value(0, "from/busy", "hello")
    with kvstore.Client(address, timeout=1.0, discover=False) as client, cluster.client(0) as other:
        client.ping()
        busy.stdin.write("go\n")
        busy.stdin.flush()
        assert busy.stdout.readline() == "holding\n"
        # All of this has to happen before the program gets to its next line.
        for number in range(10):
            client.put("through/busy", number)
            eventually(lambda: other.get("through/busy") == number, "it sends to its peer", 1.0)  # noqa: B023
            other.put("to/busy", number)
            eventually(lambda: client.get("to/busy") == number, "it applies what its peer sends", 1.0)  # noqa: B023
        assert not _has_more(busy), "the GIL was held too short to show anything"
    assert busy.stdout.readline() == "released\n"
    busy.stdin.write("end\n")
    busy.stdin.flush()
    assert busy.wait(15) == 0


def _has_more(process: subprocess.Popen[str]) -> bool:
    return bool(select.select([process.stdout], [], [], 0)[0])

"""Who is up, dead, gone: as the other members see it, with default settings."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Dict, List, Set

import pytest

import kvstore

from .harness import Cluster, eventually
from .strong import wait_leader, wait_one_group

DETECTED_SECONDS = 5.0

# sum() over a range is one C call that never lets go of the GIL. Held for ten seconds, by as many calls as that takes,
# between which nothing but their own loop runs.
PROGRAM = """
import sys, time, kvstore
sys.setswitchinterval(1000)
node = kvstore.Node(0, sys.argv[1:]).start(wait="ready")
print(node.id, flush=True)
sys.stdin.readline()
ends = time.monotonic() + 10
while time.monotonic() < ends:
    sum(range(20_000_000))
print("released", flush=True)
sys.stdin.readline()
node.stop()
"""


def states(cluster: Cluster, index: int) -> Dict[str, str]:
    """How each member is, by id, as one node sees it."""
    with cluster.client(index) as client:
        return {member.id: member.state for member in client.members() if member.id}


def wait_up(cluster: Cluster) -> None:
    """Wait until all are up for all."""
    for index in range(len(cluster.nodes)):
        eventually(
            lambda: list(states(cluster, index).values()) == ["up"] * len(cluster.nodes),  # noqa: B023
            f"all are up for node {index}",
        )


def test_a_killed_node_is_dead_in_time_and_its_successor_takes_its_place(cluster: Cluster) -> None:
    cluster.start(3)
    wait_up(cluster)
    former = cluster.nodes[2].node
    killed = time.monotonic()
    cluster.kill(2)
    for index in (0, 1):
        left = DETECTED_SECONDS - (time.monotonic() - killed)
        eventually(lambda: states(cluster, index)[former] == "dead", f"node {index} says so", left)  # noqa: B023
    with cluster.client(0) as client:
        assert any(former in problem for problem in client.status().problems)
        assert client.metrics()['kvstore_members{state="dead"}'] == 1
    cluster.restart(2)
    wait_up(cluster)
    assert all(former not in states(cluster, index) for index in range(3))


def test_a_dead_member_is_removed_and_one_that_is_up_is_not(cluster: Cluster) -> None:
    cluster.start(3)
    wait_up(cluster)
    # Two of three votes remain, once there are three.
    wait_one_group(cluster)
    gone = cluster.nodes[2].node
    with cluster.client(0) as client:
        with pytest.raises(kvstore.ConflictError) as caught:
            client.cluster.remove(gone)
        assert caught.value.code == "MEMBER_UP"
        with pytest.raises(kvstore.InvalidArgumentError) as unknown:
            client.cluster.remove("00000000000000ff")
        assert unknown.value.code == "UNKNOWN_MEMBER"
        cluster.kill(2)
        eventually(lambda: states(cluster, 0)[gone] == "dead", "it is dead")
        client.cluster.remove(gone)
        client.cluster.remove(gone)
        eventually(lambda: not client.status().problems, "nobody is missed any more")
    eventually(lambda: states(cluster, 1)[gone] == "removed", "the other knows")


def test_a_member_that_led_is_removed_as_soon_as_it_is_dead(cluster: Cluster) -> None:
    cluster.start(3)
    wait_one_group(cluster)
    leading = wait_leader(cluster)
    gone = cluster.nodes[leading].node
    with cluster.client((leading + 1) % 3) as client:
        cluster.kill(leading)
        # By force: it need not have been noticed yet, and nobody leads.
        client.cluster.remove(gone, force=True)
        eventually(lambda: len(client.status().group.members) == 2, "this node knows, too")


def test_a_node_removed_by_force_refuses_writes_and_says_why(cluster: Cluster) -> None:
    cluster.start(2)
    wait_up(cluster)
    with cluster.client(0) as client, cluster.client(1) as removed:
        client.put("k", "v")
        eventually(lambda: removed.get("k") == "v", "it has the value")
        client.cluster.remove(cluster.nodes[1].node, force=True)
        eventually(lambda: removed.status().removed, "it knows")
        assert not removed.status().healthy
        with pytest.raises(kvstore.UnavailableError) as caught:
            removed.put("k", "w")
        assert caught.value.code == "MEMBER_REMOVED"
        assert removed.get("k") == "v"


def test_a_node_that_is_stopped_has_left(cluster: Cluster) -> None:
    cluster.start(1)
    with kvstore.Node(0, [cluster.address(0)]) as node:
        node.start(wait="ready")
        eventually(lambda: states(cluster, 0).get(node.id) == "up", "it is up")
    eventually(lambda: states(cluster, 0)[node.id] == "left", "it has left")
    with cluster.client(0) as client:
        eventually(lambda: not client.status().problems, "nobody is missed")


def test_a_program_that_holds_the_gil_for_ten_seconds_is_never_anything_but_up(cluster: Cluster) -> None:
    cluster.start(2)
    arguments = [sys.executable, "-c", PROGRAM, cluster.address(0), cluster.address(1)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdin
        assert busy.stdout
        try:
            node = busy.stdout.readline().strip()
            for index in (0, 1):
                eventually(lambda: states(cluster, index).get(node) == "up", "it is up")  # noqa: B023
            busy.stdin.write("go\n")
            busy.stdin.flush()
            seen = watch(cluster, node, seconds=10.0)
            assert seen == {"up"}
            assert busy.stdout.readline() == "released\n"
            busy.stdin.write("end\n")
            busy.stdin.flush()
            assert busy.wait(15) == 0
        finally:
            busy.kill()


def watch(cluster: Cluster, node: str, seconds: float) -> Set[str]:
    """The states in which a member was seen by the others during this time."""
    ends = time.monotonic() + seconds
    seen: List[str] = []

    def look() -> bool:
        seen.extend(states(cluster, index)[node] for index in (0, 1))
        return time.monotonic() >= ends

    eventually(look, "the time is over", seconds + 5)
    return set(seen)

"""Nodes that come, go, come back, are told little, or do not belong."""

from __future__ import annotations

import pytest

from kvstore.cli.exits import UNAVAILABLE, Failure
from kvstore.cli.processes import NodeProcess

from .harness import Cluster, eventually

KEYS = 3000


def fill(cluster: Cluster, index: int, prefix: str, size: int = 100) -> None:
    """Write KEYS entries through one node."""
    with cluster.client(index) as client:
        client.put_many({f"{prefix}/{number}": b"x" * size for number in range(KEYS)})


def test_a_killed_node_comes_back_as_a_new_one_and_catches_up(cluster: Cluster) -> None:
    cluster.start(3)
    fill(cluster, 0, "before")
    cluster.wait_equal()
    old = cluster.nodes[2]
    cluster.kill(2)
    fill(cluster, 1, "meanwhile")
    new = cluster.restart(2)
    assert (new.port, new.address) == (old.port, old.address)
    assert new.node != old.node
    cluster.wait_equal()
    with cluster.client(2) as client:
        assert client.count() == 2 * KEYS
        eventually(lambda: client.status().ready, "it says that it has caught up")


def test_writes_of_a_killed_incarnation_survive_on_its_peers_and_go_back_to_it(cluster: Cluster) -> None:
    cluster.start(2)
    fill(cluster, 1, "own")
    cluster.wait_equal()
    cluster.kill(1)
    cluster.restart(1)
    cluster.wait_equal()
    with cluster.client(1) as client:
        assert client.count("own/") == KEYS
        client.put("own/0", "rewritten by the new incarnation")
    cluster.wait_value(0, "own/0", "rewritten by the new incarnation")


def test_a_late_joiner_that_knows_one_member_finds_all_and_gets_everything(cluster: Cluster) -> None:
    cluster.start(3)
    fill(cluster, 0, "early")
    cluster.add(peers=[cluster.address(1)])
    cluster.wait_connected()
    cluster.wait_equal()
    with cluster.client(3) as client:
        assert client.count() == KEYS
        client.put("late", "writes too")
    for index in range(3):
        cluster.wait_value(index, "late", "writes too")


def test_a_paused_node_converges_when_it_goes_on(cluster: Cluster) -> None:
    cluster.start(3)
    fill(cluster, 2, "first")
    cluster.pause(2)
    fill(cluster, 0, "while-paused")
    with cluster.client(1) as client:
        for number in range(0, KEYS, 10):
            client.delete(f"while-paused/{number}")
    cluster.wait_equal([0, 1])
    cluster.resume(2)
    cluster.wait_equal()


def test_a_write_outlives_its_origin_once_one_peer_has_it(cluster: Cluster) -> None:
    cluster.start(3)
    cluster.pause(2)
    # More than sockets buffer: the paused node cannot have all of it from the origin.
    value = b"x" * 100_000
    with cluster.client(0) as client:
        for number in range(300):
            client.put(f"origin/{number}", value)
    with cluster.client(1) as client:
        eventually(lambda: client.count("origin/") == 300, "one peer has all writes")
    cluster.kill(0)
    cluster.resume(2)
    cluster.wait_equal([1, 2])
    with cluster.client(2) as client:
        assert client.count("origin/") == 300


def test_a_taken_port_is_refused_with_the_name_of_its_owner(cluster: Cluster) -> None:
    owner = cluster.add()
    with pytest.raises(Failure) as caught:
        NodeProcess.start(owner.port)
    assert caught.value.exit_code == UNAVAILABLE
    assert str(owner.port) in caught.value.message
    assert owner.node in caught.value.message
    with owner.client() as client:
        assert client.ping() > 0


def test_a_node_of_another_cluster_is_refused_and_both_say_so(cluster: Cluster) -> None:
    ours = cluster.add(options=["--cluster", "ours"])
    theirs = cluster.add([ours.address], ["--cluster", "theirs"])
    with theirs.client() as client:
        client.put("secret", "of theirs")

        def refusal() -> str:
            peers = [peer for peer in client.status().peers if peer.address == ours.address]
            return peers[0].problem if peers and peers[0].state == "refused" else ""

        problem = eventually(refusal, "the status says that the peer refused")
        assert "cluster" in problem
        assert "ours" in problem or "theirs" in problem
    with ours.client() as client:
        assert client.get("secret") is None
        assert client.status().cluster == "ours"

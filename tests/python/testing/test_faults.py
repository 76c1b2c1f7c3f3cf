"""The faults of `LocalCluster`, each by what would not happen without it, in both kinds of isolation."""

from __future__ import annotations

import time
from typing import Any, Callable, List

import pytest
from integration.harness import eventually

import kvstore
from kvstore.testing import LocalCluster

Make = Callable[..., LocalCluster]

# Bounds how long a broken build hangs. Three interpreters may share two cores.
PATIENCE = 60.0


def strong(cluster: LocalCluster) -> Any:
    """A strong keyspace, by way of all nodes."""
    return cluster.client(timeout=PATIENCE).create_keyspace("strong", consistency="strong", exist_ok=True)


def others(cluster: LocalCluster, node: int) -> List[int]:
    return [index for index in range(len(cluster.addresses)) if index != node]


def connected(cluster: LocalCluster, node: int) -> int:
    """With how many others it is connected."""
    with cluster.client(node, timeout=PATIENCE) as client:
        return sum(member.connected for member in client.members()) - 1


def test_a_partition_separates_and_heals(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation)
    jobs = strong(cluster)
    jobs["k"] = "before"
    alone = cluster.leader
    rest = others(cluster, alone)
    cluster.partition([alone], rest)
    eventually(lambda: connected(cluster, alone) == 0, "it is alone")
    eventually(lambda: connected(cluster, rest[0]) == 1, "the others see it, too")
    # Both sides take writes, and neither hears of the other's.
    near, far = cluster.client(alone), cluster.client(rest[0])
    near["side"] = "minority"
    far["side"] = "majority"
    other = cluster.client(rest[1])
    eventually(lambda: other.get("side") == "majority", "the write crosses what is not cut")
    assert near["side"] == "minority"
    # A majority elects another leader, and a minority does nothing.
    jobs.put("k", "after")
    assert cluster.leader in rest
    with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)):
        cluster.client(alone, timeout=1).keyspace("strong").put("k", "lost")
    with pytest.raises(kvstore.DeadlineError, match=r"connected|leader"):
        cluster.wait_healthy(timeout=0)
    cluster.heal()
    cluster.wait_healthy(timeout=PATIENCE)
    assert near["side"] == far["side"]
    assert [conflict.key for conflict in near.conflicts()] == ["side"]
    assert cluster.client(alone).keyspace("strong").get("k") == "after"


def test_nodes_in_no_group_reach_nobody_and_groups_are_checked(make: Make) -> None:
    cluster = make(3)
    cluster.partition([1, 2])
    eventually(lambda: [connected(cluster, node) for node in range(3)] == [0, 1, 1], "the first is alone")
    cluster.partition()
    eventually(lambda: [connected(cluster, node) for node in range(3)] == [0, 0, 0], "each is alone")
    cluster.partition([0, 1, 2])
    cluster.wait_healthy(timeout=PATIENCE)
    with pytest.raises(kvstore.InvalidArgumentError, match="two of them"):
        cluster.partition([0, 1], [1, 2])
    with pytest.raises(kvstore.InvalidArgumentError, match="from 0 to 2"):
        cluster.partition([0, 3])
    cluster.wait_healthy(timeout=PATIENCE)


def test_a_paused_node_answers_nothing_and_keeps_everything(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation)
    jobs, paused = strong(cluster), cluster.leader
    client = cluster.client(paused, timeout=PATIENCE)
    client["k"] = 1
    cluster.wait_healthy(timeout=PATIENCE)
    cluster.pause(paused)
    with pytest.raises(kvstore.DeadlineError):
        client.get("k", timeout=0.3)
    with pytest.raises((kvstore.DeadlineError, kvstore.UnavailableError)):
        cluster.client(paused, timeout=0.3).ping()
    with pytest.raises(kvstore.DeadlineError, match=f"node {paused} is paused"):
        cluster.wait_healthy(timeout=0)
    # The others go on without it.
    jobs.put("k", 2)
    assert cluster.leader != paused
    cluster.resume(paused)
    assert client.get("k") == 1
    cluster.wait_healthy(timeout=PATIENCE)
    assert cluster.client(paused, timeout=PATIENCE).keyspace("strong").get("k") == 2


def test_what_a_paused_node_is_told_counts_when_it_goes_on(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation)
    told = others(cluster, cluster.leader)[0]
    client = cluster.client(told, timeout=PATIENCE)
    client.put("k", 1, ttl=60)
    cluster.pause(told)
    cluster.partition(others(cluster, told))
    cluster.advance_clock(61)
    cluster.resume(told)
    assert client.get("k") is None
    eventually(lambda: connected(cluster, told) == 0, "it is cut off")
    cluster.heal()
    cluster.wait_healthy(timeout=PATIENCE)


def test_a_slow_node_takes_its_time_until_it_is_healed(make: Make, isolation: str) -> None:
    cluster = make(2, isolation=isolation)
    slow, fast = cluster.client(1), cluster.client(0)
    slow.ping()
    fast.ping()
    cluster.slow(1, delay=0.3)
    start = time.monotonic()
    slow.ping()
    # There and back. How long it takes on a busy machine says nothing, how long it takes at least does.
    assert time.monotonic() - start >= 0.6
    assert min(_seconds(fast.ping) for _ in range(20)) < 0.3
    cluster.heal()
    assert min(_seconds(slow.ping) for _ in range(20)) < 0.3


def _seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_nothing_of_a_node_arrives_when_all_is_lost(make: Make) -> None:
    cluster = make(2)
    client = cluster.client(1)
    client.ping()
    cluster.slow(1, drop=1)
    with pytest.raises(kvstore.DeadlineError):
        client.put("k", 1, timeout=0.3)
    cluster.slow(1, drop=0)
    client["l"] = 1
    with pytest.raises(kvstore.InvalidArgumentError, match="drop"):
        cluster.slow(1, drop=2)
    with pytest.raises(kvstore.InvalidArgumentError, match="delay"):
        cluster.slow(1, delay=-1)
    # A dead node stands still anyway, and has no pause to end when it comes back.
    cluster.kill(1)
    cluster.pause(1)
    cluster.restart(1)
    cluster.client(1).ping()


def test_a_killed_node_comes_back_with_its_data(make: Make, isolation: str, tmp_path: Any) -> None:
    cluster = make(isolation=isolation, data_dir=tmp_path)
    jobs, killed = strong(cluster), cluster.leader
    client = cluster.client(killed, timeout=PATIENCE)
    client["eventual"] = 1
    jobs["strong"] = 1
    before, addresses = client.status().id, cluster.addresses
    cluster.kill(killed)
    cluster.kill(killed)
    with pytest.raises((kvstore.DeadlineError, kvstore.UnavailableError)):
        cluster.client(killed, timeout=0.3).ping()
    with pytest.raises(kvstore.DeadlineError, match=f"node {killed} does not run"):
        cluster.wait_healthy(timeout=0)
    assert jobs.get("strong") == 1
    # Nobody can have told it what it had: it is alone.
    cluster.partition()
    cluster.restart(killed)
    assert cluster.addresses == addresses
    assert (client.status().id, client.get("eventual")) == (before, 1)
    cluster.heal()
    cluster.wait_healthy(timeout=PATIENCE)
    assert client.keyspace("strong").get("strong") == 1


def test_a_killed_node_without_a_directory_is_somebody_new(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation)
    client = cluster.client(1, timeout=PATIENCE)
    client["k"] = 1
    before = client.status().id
    cluster.wait_healthy(timeout=PATIENCE)
    cluster.kill(1)
    cluster.restart(1)
    assert client.status().id != before
    cluster.wait_healthy(timeout=PATIENCE)
    assert client["k"] == 1


def test_a_running_node_is_restarted_in_good_order(make: Make, isolation: str, tmp_path: Any) -> None:
    cluster = make(2, isolation=isolation, data_dir=tmp_path, durability="interval")
    client = cluster.client(0, timeout=PATIENCE)
    client["k"] = 1
    cluster.restart(0)
    assert client["k"] == 1
    cluster.wait_healthy(timeout=PATIENCE)


def test_time_passes_without_waiting(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation)
    db, jobs = cluster.client(timeout=PATIENCE), strong(cluster)
    db.put("k", 1, ttl=3600)
    jobs.put("k", 1, ttl=3600)
    lease = jobs.lease(3600, keep_alive=False)
    jobs.put("leased", 1, lease=lease)
    cluster.advance_clock(3500)
    assert (db.get("k"), jobs.get("k"), jobs.get("leased")) == (1, 1, 1)
    cluster.advance_clock(200)
    assert (db.get("k"), jobs.get("k")) == (None, None)
    eventually(lambda: jobs.get("leased") is None, "the lease ended with its keys")
    # Nobody is thought dead, and a node that starts now has the time of the others.
    cluster.kill(2)
    cluster.restart(2)
    db["new"] = 1
    cluster.wait_healthy(timeout=PATIENCE)
    assert cluster.client(2)["new"] == 1
    for seconds in (-1, float("nan"), float("inf"), "1"):
        with pytest.raises(kvstore.InvalidArgumentError, match="seconds"):
            cluster.advance_clock(seconds)  # type: ignore[arg-type]


def test_no_leader_is_an_error_that_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make(3)
    assert cluster.leader in (0, 1, 2)
    for node in range(3):
        cluster.kill(node)
    monkeypatch.setattr("kvstore.testing.cluster._LEADER_SECONDS", 0.0)
    with pytest.raises(kvstore.UnavailableError) as failure:
        _ = cluster.leader
    assert failure.value.code == "NO_LEADER"

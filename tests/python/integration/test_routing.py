"""Which node a client talks to, and what becomes of its calls when that node dies, is silent, or is the wrong one."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, List

import pytest

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .strong import FORM_SECONDS, wait_one_group

if TYPE_CHECKING:
    from typing import Dict

pytestmark = pytest.mark.timeout(120)


def place_of(client: kvstore.Client[Any], cluster: Cluster) -> int:
    """The number of the node that the client talks to."""
    return [node.node for node in cluster.nodes].index(client.status().id)


def test_a_client_of_one_address_outlives_its_node(cluster: Cluster) -> None:
    cluster.start(3)
    with kvstore.Client(cluster.address(0), timeout=DEADLINE_SECONDS) as client:
        client.put("kept", 1)
        assert place_of(client, cluster) == 0
        for index in (1, 2):
            cluster.wait_value(index, "kept", 1)
        cluster.kill(0)
        assert client.get("kept") == 1
        client.put("kept", 2)
        second = place_of(client, cluster)
        assert second != 0
        cluster.wait_value(3 - second, "kept", 2)
        # What was given and what was learned: the first is back, the second dies.
        cluster.restart(0)
        cluster.wait_value(0, "kept", 2)
        cluster.kill(second)
        assert client.get("kept") == 2
        assert place_of(client, cluster) != second


def test_one_that_goes_by_its_list_asks_nobody_else(cluster: Cluster) -> None:
    cluster.start(2)
    with kvstore.Client(cluster.address(0), discover=False, timeout=DEADLINE_SECONDS) as client:
        client.put("k", 1)
        cluster.wait_value(1, "k", 1)
        cluster.kill(0)
        with pytest.raises(kvstore.KVError) as caught:
            client.get("k", timeout=0.5)
        assert caught.value.retryable
        assert cluster.address(1) not in str(caught.value)


def test_tasks_outlive_the_only_node_they_were_told_of(cluster: Cluster) -> None:
    cluster.start(2)

    async def main() -> None:
        async with kvstore.AsyncClient(cluster.address(0), timeout=DEADLINE_SECONDS) as client:
            await client.put("k", 1)
            await asyncio.get_running_loop().run_in_executor(None, cluster.wait_value, 1, "k", 1)
            cluster.kill(0)
            assert await asyncio.gather(*(client.get("k") for _ in range(20))) == [1] * 20

    asyncio.run(main())


def test_many_clients_with_one_list_begin_at_all_nodes(trio: Cluster) -> None:
    targets = [trio.address(index) for index in range(3)]
    contacted = set()
    # A node that everybody may choose is missed by 60 clients once in 10 ** 10 runs.
    for _ in range(60):
        with kvstore.Client(targets, timeout=DEADLINE_SECONDS) as client:
            contacted.add(place_of(client, trio))
    assert contacted == {0, 1, 2}


def test_a_node_that_is_silent_is_left(cluster: Cluster) -> None:
    cluster.start(3)
    with kvstore.Client(cluster.address(0), timeout=DEADLINE_SECONDS) as client:
        client.put("k", 1)
        for index in (1, 2):
            cluster.wait_value(index, "k", 1)
        cluster.pause(0)
        unknown: List[kvstore.KVError] = []
        writer = threading.Thread(target=put_and_note, args=(client, unknown))
        writer.start()
        # Long before the connection with it is found dead, and without the caller's doing.
        assert client.get("k") == 1
        assert place_of(client, cluster) != 0
        writer.join(DEADLINE_SECONDS)
        assert not writer.is_alive()
        # It was sent to the silent node, or it was not and is done.
        assert all(error.maybe_applied and error.retryable for error in unknown)
        client.put("after", 1)
        cluster.resume(0)
        cluster.wait_value(0, "after", 1)
        assert client.get("after") == 1


def put_and_note(client: kvstore.Client[Any], errors: List[kvstore.KVError]) -> None:
    """Write, and keep the error."""
    try:
        client.put("unknown", 1)
    except kvstore.KVError as error:
        errors.append(error)


def test_a_node_of_another_cluster_gets_nothing(cluster: Cluster) -> None:
    cluster.add(options=["--cluster", "ours"])
    cluster.add(options=["--cluster", "theirs"])
    targets = [cluster.address(0), cluster.address(1)]
    with kvstore.Client(targets, timeout=DEADLINE_SECONDS) as client:
        client.put("k", 1)
        first = place_of(client, cluster)
        cluster.kill(first)

        def refused() -> bool:
            with pytest.raises(kvstore.KVError) as caught:
                client.put("secret", 1, timeout=2)
            return 'belongs to cluster "' in str(caught.value)

        # The first calls may have been under way when the node died.
        eventually(refused, "the error says why the other node is of no use")
    with cluster.client(1 - first) as other:
        assert list(other.keys()) == []


def test_a_slow_read_is_answered_by_a_second_node_and_shows_what_was_written(cluster: Cluster) -> None:
    cluster.start(2)
    targets = [cluster.address(0), cluster.address(1)]
    # The connection with the silent node stays: this client does not look for another.
    with kvstore.Client(targets, discover=False, hedge=0.05, timeout=DEADLINE_SECONDS) as client:
        client.put("k", "own")
        cluster.wait_value(1, "k", "own")
        cluster.pause(0)
        assert client.get("k") == "own"
        cluster.resume(0)
        assert client.get("k") == "own"


@pytest.fixture
def jobs(cluster: Cluster) -> Cluster:
    """Three voters, and a strong keyspace."""
    cluster.start(3)
    wait_one_group(cluster, FORM_SECONDS)
    with cluster.client(0, timeout=DEADLINE_SECONDS) as client:
        client.create_keyspace("jobs", consistency="strong")
    return cluster


def test_changes_of_a_strong_keyspace_happen_once_over_the_death_of_the_only_known_node(jobs: Cluster) -> None:
    with kvstore.Client(jobs.address(0), "jobs", timeout=DEADLINE_SECONDS) as client:
        client.put("n", 0)
        counted: Dict[str, int] = {"n": 0}
        over = threading.Event()

        def count() -> None:
            while not over.is_set():
                client.incr("n")
                counted["n"] += 1

        counter = threading.Thread(target=count)
        counter.start()
        eventually(lambda: counted["n"] > 20, "it counts")
        jobs.kill(0)
        before = counted["n"]
        eventually(lambda: counted["n"] > before + 20 or not counter.is_alive(), "it counts on")
        over.set()
        counter.join(DEADLINE_SECONDS)
        assert not counter.is_alive()
        assert counted["n"] > before + 20
        assert client.get("n") == counted["n"]

"""Whoever is started first and whoever knows whom: nodes that know of each other end in one group.

`KVSTORE_STRONG_BOOTSTRAPS=1` starts every kind of list in every order. What is not done: lists of which nobody names
anybody of the others, which make two groups, and rightly so; nodes that are cut off while they start, which the
simulation has.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, Dict, List, Sequence, Tuple

import pytest

import kvstore
from kvstore.cli.processes import NodeProcess

from .harness import DEADLINE_SECONDS, eventually
from .strong import client_of, group_of, wait_one_group

if TYPE_CHECKING:
    from .harness import Cluster

pytestmark = pytest.mark.timeout(120)

NODES = 3
CALLS = 30

ORDERS = list(itertools.permutations(range(NODES)))

# Whom each node lists, by number.
LISTS: Dict[str, List[List[int]]] = {
    "everybody lists all others": [[1, 2], [0, 2], [0, 1]],
    "each lists the next one, the last nobody": [[1], [2], []],
    "everybody lists all, itself too": [[0, 1, 2], [0, 1, 2], [0, 1, 2]],
    "each lists the next one, in a ring": [[1], [2], [0]],
    "all list one, which lists nobody": [[], [0], [0]],
    "all list one, which lists another": [[1], [0], [0]],
}

# These in every order; each of the others in one.
ALWAYS = 2


def cases() -> List[Tuple[str, Tuple[int, ...]]]:
    """Lists and orders: a few of them, or all."""
    if os.environ.get("KVSTORE_STRONG_BOOTSTRAPS"):
        return list(itertools.product(LISTS, ORDERS))
    names = list(LISTS)
    rest = zip(names[ALWAYS:], ORDERS[1:])
    return [*itertools.product(names[:ALWAYS], ORDERS), *rest]


def start_in_order(cluster: Cluster, lists: Sequence[Sequence[int]], order: Sequence[int]) -> None:
    """Start nodes one after another, each with its list."""

    def start(address: Callable[[int], str], ports: List[int]) -> List[NodeProcess]:
        made: Dict[int, NodeProcess] = {}
        try:
            for index in order:
                made[index] = NodeProcess.start(ports[index], [address(peer) for peer in lists[index]])
        except BaseException:
            for node in made.values():
                node.end()
            raise
        return [made[index] for index in range(len(lists))]

    start_on_ports(cluster, len(lists), start)


def start_on_ports(
    cluster: Cluster, count: int, start: Callable[[Callable[[int], str], List[int]], List[NodeProcess]]
) -> None:
    """Start nodes that know each other's ports before they run."""
    ports = [cluster.reserve_port() for _ in range(count)]
    cluster.nodes += start(lambda index: f"127.0.0.1:{ports[index]}", ports)


def check_serves(cluster: Cluster) -> None:
    """What one node writes, each reads: they are one group indeed."""
    everybody = range(len(cluster.nodes))
    with client_of(cluster, everybody, "default") as client:
        client.create_keyspace("born", consistency="strong")
    for index in everybody:
        with client_of(cluster, [index], "born") as client:
            client.put(f"by/{index}", index)
    for index in everybody:
        with client_of(cluster, [index], "born") as client:
            assert [entry.value for entry in client.scan("by/")] == list(everybody)


@pytest.mark.parametrize(("lists", "order"), cases())
def test_one_group_forms_in_every_order(cluster: Cluster, lists: str, order: Tuple[int, ...]) -> None:
    start_in_order(cluster, LISTS[lists], order)
    wait_one_group(cluster)
    check_serves(cluster)


@pytest.mark.parametrize("name", LISTS)
def test_one_group_forms_when_all_start_at_once(cluster: Cluster, name: str) -> None:
    lists = LISTS[name]

    def start(address: Callable[[int], str], ports: List[int]) -> List[NodeProcess]:
        with ThreadPoolExecutor(NODES) as pool:
            starts = [
                pool.submit(NodeProcess.start, ports[index], [address(peer) for peer in lists[index]])
                for index in range(NODES)
            ]
        failures = [failure for failure in (each.exception() for each in starts) if failure is not None]
        if failures:
            for each in starts:
                if each.exception() is None:
                    each.result().end()
            raise failures[0]
        return [each.result() for each in starts]

    start_on_ports(cluster, NODES, start)
    wait_one_group(cluster)
    check_serves(cluster)


def test_a_node_alone_is_a_group(cluster: Cluster) -> None:
    start_in_order(cluster, [[]], [0])
    wait_one_group(cluster)
    check_serves(cluster)


def test_a_node_that_lists_itself_alone_is_a_group(cluster: Cluster) -> None:
    def start(address: Callable[[int], str], ports: List[int]) -> List[NodeProcess]:
        # Also by a name that it does not know as its own.
        return [NodeProcess.start(ports[0], [address(0), f"localhost:{ports[0]}"])]

    start_on_ports(cluster, 1, start)
    wait_one_group(cluster)
    check_serves(cluster)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_nodes_are_a_group(cluster: Cluster, order: Tuple[int, ...]) -> None:
    start_in_order(cluster, [[1], [0]], order)
    wait_one_group(cluster)
    check_serves(cluster)


def test_a_node_waits_for_those_it_lists(cluster: Cluster) -> None:
    """Otherwise the two would found two groups, if they did not reach each other at first."""

    def start(address: Callable[[int], str], ports: List[int]) -> List[NodeProcess]:
        first = NodeProcess.start(ports[0], [address(1)])
        try:
            eventually(lambda: ports_in(first, [ports[1]]), "it says whom it waits for")
            return [first, NodeProcess.start(ports[1], [address(0)])]
        except BaseException:
            first.end()
            raise

    start_on_ports(cluster, 2, start)
    wait_one_group(cluster)
    check_serves(cluster)


def ports_in(node: NodeProcess, ports: Sequence[int]) -> bool:
    """Whether a node without a group says that it waits for these."""
    group = group_of(node)
    return (
        group is not None
        and group.role == "none"
        and "waiting for" in group.problem
        and all(f":{port}" in group.problem for port in ports)
    )


def test_late_nodes_get_a_vote_and_what_was_written_before(cluster: Cluster) -> None:
    start_in_order(cluster, LISTS["everybody lists all others"], [2, 0, 1])
    wait_one_group(cluster)
    with client_of(cluster, range(NODES), "default") as client:
        client.create_keyspace("early", consistency="strong")
    with client_of(cluster, range(NODES), "early") as client:
        for number in range(50):
            client.put(f"k/{number:02}", number)
    # Each knows one of the others alone, the second of them a late one.
    for known in (1, NODES):
        cluster.add([cluster.address(known)])
        wait_one_group(cluster)
        with client_of(cluster, [len(cluster.nodes) - 1], "early") as client:
            assert [entry.value for entry in client.scan("k/")] == list(range(50))
    check_serves(cluster)


def test_what_clients_know_of_a_group_that_is_gone_means_nothing_in_the_next_one() -> None:
    # In memory, so that its end is that of its group.
    first = NodeProcess.start()
    with first.client() as one, first.client() as other:
        one.create_keyspace("jobs", consistency="strong")
        ours, theirs = one.keyspace("jobs"), other.keyspace("jobs")
        # The ids of their requests are of the same size, so that they would be those of each other.
        for number in range(CALLS):
            ours.put(f"ours/{number}", number)
        theirs.put("theirs", 1)
        lease = ours.lease(60, keep_alive=False)
        version, position = ours.entry("ours/1").version, ours.watch().position
        with ours.lock("l") as lock:
            token = lock.fencing_token
        first.kill()
        with NodeProcess.start(first.port) as second, second.client() as new:
            new.create_keyspace("jobs", consistency="strong")
            theirs.put("theirs", 2)
            for number in range(CALLS):
                ours.put(f"ours/{number}", -number)
            for number in range(2 * CALLS):
                theirs.put(f"theirs/{number}", number)
            assert theirs.count("theirs/") == 2 * CALLS
            assert ours.get("ours/1", read="session") == -1
            assert ours.entry("ours/1").version > version
            with pytest.raises(kvstore.LockLostError):
                lease.refresh()
            with ours.lock("l") as lock:
                assert lock.fencing_token > token
            with pytest.raises(kvstore.CompactedError), ours.watch(since=position) as watch:
                watch.next(timeout=DEADLINE_SECONDS)

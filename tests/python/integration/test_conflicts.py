"""Writes that lose: three real nodes, one of them cut off for longer than the others remember what they sent."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import pytest

import kvstore
from kvstore.cli.processes import NodeProcess

from .harness import Cluster, eventually
from .proxy import Proxy

# Overwriting one key with so much overflows the outbox of its partition, so that state has to be fetched.
_FILLER = b"x" * 1_000_000
_FILLER_WRITES = 6
_FILLER_KEYS = 4

_FIRST = "overwritten by its own writer"

Value = Optional[str]


class Isle(NamedTuple):
    """Three nodes, of which the third is reached, and reaches the others, only through proxies."""

    cluster: Cluster
    proxies: List[Proxy]

    def client(self, index: int) -> kvstore.Client[Any]:
        """A client of one node, past its proxy."""
        return kvstore.Client(f"127.0.0.1:{self.cluster.nodes[index].port}", discover=False)

    def cut(self) -> None:
        """Leave the third node alone; the others meet again by the way that has no proxy."""
        for proxy in self.proxies:
            proxy.cut()
        with self.client(0) as first, self.client(1) as second, self.client(2) as third:
            ids = [node.node for node in self.cluster.nodes]
            eventually(lambda: connected(third) == {ids[2]}, "the third node is alone")
            eventually(lambda: connected(first) == connected(second) == set(ids[:2]), "the others are together")

    def heal(self) -> None:
        """Let them meet, and wait until all have the same."""
        for proxy in self.proxies:
            proxy.heal()
        clients = [self.client(index) for index in range(3)]
        eventually(lambda: all(len(connected(client)) == 3 for client in clients), "all are connected")
        eventually(lambda: len({client.status(digests=True).digests for client in clients}) == 1, "all are equal")
        for client in clients:
            client.close()


def connected(client: kvstore.Client[Any]) -> Set[Optional[str]]:
    """The ids of the nodes that a node is connected with, its own included."""
    return {member.id for member in client.members() if member.connected}


@pytest.fixture
def isle() -> Iterator[Isle]:
    cluster, proxies = Cluster(), [Proxy() for _ in range(3)]
    try:
        # The second node knows the first by its own address, all others are known by those of their proxies.
        for index, proxy in enumerate(proxies):
            first = f"127.0.0.1:{cluster.nodes[0].port}" if index == 1 else proxies[0].address
            node = NodeProcess.start(0, [first] if index else [], ["--advertise", proxy.address])
            proxy.target = node.port
            cluster.nodes.append(node)
        made = Isle(cluster, proxies)
        made.heal()
        yield made
    finally:
        cluster.stop()
        for proxy in proxies:
            proxy.close()


def write(client: kvstore.Client[Any], key: str, value: Value) -> None:
    """Put, or delete."""
    if value is None:
        client.delete(key)
    else:
        client.put(key, value)


def fill(client: kvstore.Client[Any], name: str) -> None:
    """More than the outboxes hold."""
    for number in range(_FILLER_WRITES):
        for key in range(_FILLER_KEYS):
            client.put(f"filler/{name}/{key}", _FILLER + str(number).encode())


def plan() -> Dict[str, Tuple[Value, Value, int]]:
    """By key: what the third node writes, what another writes, and which. Every pair of puts and deletes."""
    sides: List[Tuple[Value, Value]] = [("ours", "theirs"), ("ours", None), (None, "theirs"), (None, None)]
    return {f"both/{number}": (*sides[number % 4], number // 4 % 2) for number in range(80)}


def test_a_node_comes_back_and_each_lost_write_is_in_exactly_one_journal(isle: Isle) -> None:
    ids = [node.node for node in isle.cluster.nodes]
    with isle.client(0) as first, isle.client(1) as second, isle.client(2) as third:
        others = [first, second]
        before = {**dict.fromkeys(plan(), "before"), **{f"{side}/{n}": "before" for side in "ab" for n in range(50)}}
        first.put_many(before)
        eventually(lambda: third.count() == second.count() == len(before), "all have what was there before")

        isle.cut()
        for key, (ours, theirs, by) in plan().items():
            # In turns, so that either side wins some. What is overwritten by its own writer is not lost.
            late = int(key.split("/")[1]) % 3 == 0
            for side in [1, 0] if late else [0, 1]:
                client, value = (third, ours) if side == 0 else (others[by], theirs)
                write(client, key, _FIRST)
                write(client, key, value)
        for number in range(0, 50, 2):
            third.delete(f"a/{number}")
            second.delete(f"b/{number}")
            first.put(f"b/{number + 1}", "known to the second")
        # All of them: what was written last need not arrive last.
        odd = [f"b/{number}" for number in range(1, 50, 2)]
        known = dict.fromkeys(odd, "known to the second")
        eventually(lambda: second.get_many(odd) == known, "the second has what the first wrote")
        for number in range(1, 50, 2):
            second.put(f"b/{number}", "replaces knowingly")
        fill(third, "third")
        fill(first, "first")

        isle.heal()
        check_contents(third)
        check_journals(isle, ids)
        restore_one(isle)


def check_contents(client: kvstore.Client[Any]) -> None:
    """What was deleted on one side alone is gone, what was overwritten there has the new value."""
    for number in range(50):
        assert client.get(f"a/{number}") == (None if number % 2 == 0 else "before")
        assert client.get(f"b/{number}") == (None if number % 2 == 0 else "replaces knowingly")


def check_journals(isle: Isle, ids: List[str]) -> None:
    """Of each key that both sides wrote, the loser is in the journal of its node, once; nothing else is anywhere."""
    with isle.client(1) as client:
        conflicts = list(client.conflicts())
        final = {key: client.entry(key) for key in plan()}
        assert [each.when for each in conflicts] == sorted((each.when for each in conflicts), reverse=True)
    assert sorted(each.key for each in conflicts) == sorted(plan())
    lost_at_third = 0
    for conflict in conflicts:
        ours, theirs, by = plan()[conflict.key]
        has_lost = conflict.where == ids[2]
        lost_at_third += has_lost
        assert conflict.where == (ids[2] if has_lost else ids[by])
        assert value_of(conflict.lost) == (ours if has_lost else theirs)
        # A push brings the writes one by one, so what won may itself have been overwritten by its writer.
        assert value_of(conflict.won) in {theirs if has_lost else ours, _FIRST}
        assert value_of(final[conflict.key]) == (theirs if has_lost else ours)
    assert 0 < lost_at_third < len(conflicts)
    for index in range(3):
        with isle.client(index) as client:
            assert list(client.conflicts()) == conflicts
            status = client.status()
            assert status.conflicts == sum(each.where == ids[index] for each in conflicts)
            assert (status.conflicts_dropped, status.conflicts_inexact) == (0, 0)


def restore_one(isle: Isle) -> None:
    """A restored write is a new one: it reaches all, and is no conflict."""
    with isle.client(0) as client:
        conflict = next(each for each in client.conflicts("both/") if each.lost is not None)
        assert list(client.conflicts(conflict.key, since=conflict.when))
        client.restore(conflict)
    for index in range(3):
        with isle.client(index) as client:
            eventually(lambda: client.get(conflict.key) == value_of(conflict.lost), "the restored value is there")
            assert len(list(client.conflicts())) == len(plan())


def value_of(entry: Optional[kvstore.Entry[Any]]) -> Any:
    """None: a delete."""
    return None if entry is None else entry.value

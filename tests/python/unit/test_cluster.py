"""Store.cluster: who is a member, and what cannot be done."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, List

import pytest

import kvstore


def test_a_node_alone_leads_itself(node: kvstore.Node, until: Callable[[Callable[[], bool]], None]) -> None:
    until(lambda: node.status().role == "leader")
    with kvstore.Client(node.address) as client:
        for cluster in (node.cluster, client.cluster):
            status = cluster.leader()
            assert status is not None
            assert status.id == node.id
            with pytest.raises(kvstore.InvalidArgumentError, match="no other voter"):
                cluster.move_leader()
            with pytest.raises(kvstore.InvalidArgumentError) as caught:
                cluster.move_leader("zz")
            assert caught.value.code == "INVALID_ARGUMENT"


def test_nodes_join_by_themselves(node: kvstore.Node) -> None:
    for cluster in (node.cluster, node.async_client().cluster):
        with pytest.raises(kvstore.UnsupportedError, match="peers"):
            cluster.add("127.0.0.1:1")


@pytest.mark.parametrize(
    ("node_id", "code"), [("00000000000000ff", "UNKNOWN_MEMBER"), ("", "INVALID_ARGUMENT"), ("zz", "INVALID_ARGUMENT")]
)
def test_a_bad_id_is_named_and_nothing_changes(node: kvstore.Node, node_id: str, code: str) -> None:
    with kvstore.Client(node.address) as client:
        removals: List[Callable[[], Any]] = [
            lambda: node.cluster.remove(node_id),
            lambda: client.cluster.remove(node_id),
            lambda: asyncio.run(remove(node.address, node_id)),
        ]
        for removal in removals:
            with pytest.raises(kvstore.InvalidArgumentError) as caught:
                removal()
            assert caught.value.code == code
        assert [member.id for member in client.cluster.members()] == [node.id]


async def remove(address: str, node_id: str) -> None:
    async with kvstore.AsyncClient(address) as client:
        await client.cluster.remove(node_id)

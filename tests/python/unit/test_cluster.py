"""Store.cluster: who is a member, and what cannot be done."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, List, Tuple

import pytest

import kvstore
from kvstore.testing import LocalCluster

TOKEN = "sesame-4711-never-shown"


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


def test_every_node_tells_of_the_leader_to_whoever_has_the_token(until: Callable[[Callable[[], bool]], None]) -> None:
    def leads(status: Any) -> bool:
        return status is not None and status.role == "leader"

    async def ask(client: kvstore.AsyncClient[Any]) -> Any:
        async with client:
            return await client.cluster.leader()

    with LocalCluster(2, token=TOKEN).start(timeout=60) as cluster:
        for index in range(2):
            node, client = cluster.node(index), cluster.client(index, timeout=60)
            asked: List[Callable[[], Any]] = [
                node.cluster.leader,
                client.cluster.leader,
                client.keyspace("other").with_options(timeout=30).cluster.leader,
                lambda index=index: asyncio.run(ask(cluster.async_client(index, timeout=60))),
                lambda node=node: asyncio.run(ask(node.async_client())),
            ]
            for question in asked:
                until(lambda question=question: leads(question()))


def test_the_leader_is_asked_with_the_options_of_whoever_asks() -> None:
    def token() -> str:
        return TOKEN

    client = kvstore.Client("127.0.0.1:1", token=token, timeout=7, name="web", read="local", discover=False)
    assert client._access() == {"token": token, "timeout": 7, "name": "web"}
    view = client.with_options(timeout=None)
    assert view._access() == {"token": token, "timeout": None, "name": "web"}
    assert client._access()["timeout"] == 7
    node = kvstore.Node(token=TOKEN)
    assert node._access() == {"token": TOKEN}
    assert node.async_client(timeout=3)._access() == {"token": TOKEN, "timeout": 3}
    # It may have peers elsewhere, to which it shows the token as well.
    assert kvstore.Node(token=TOKEN, host="0.0.0.0", insecure=True)._access() == {"token": TOKEN, "tls": False}


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


@pytest.fixture
def bereft(node: kvstore.Node, until: Callable[[Callable[[], bool]], None]) -> Tuple[kvstore.Node, str]:
    """A node that has lost the majority of its group, so that nothing can be agreed on; one of those that are gone."""
    others = [kvstore.Node(peers=[node.address]).start(wait="ready") for _ in range(2)]

    def voters() -> int:
        group = node.status().group
        return 0 if group is None else sum(member.votes for member in group.members)

    until(lambda: voters() == 3)
    for other in others:
        other._kill()
    return node, others[0].id


def test_a_removal_ends_with_its_timeout(bereft: Tuple[kvstore.Node, str]) -> None:
    node, gone = bereft
    with kvstore.Client(node.address) as client:
        client.ping()
        for cluster in (node.cluster, client.cluster):
            with pytest.raises(kvstore.DeadlineError, match=r"0\.25") as caught:
                cluster.remove(gone, force=True, timeout=0.25)
            assert caught.value.maybe_applied


def test_a_loop_goes_on_while_a_member_is_removed(bereft: Tuple[kvstore.Node, str]) -> None:
    node, gone = bereft

    async def main() -> None:
        removal = asyncio.ensure_future(node.async_client().cluster.remove(gone, force=True, timeout=1))
        turns = 0
        while not removal.done():
            turns += 1
            await asyncio.sleep(0.001)
        assert turns > 2
        with pytest.raises(kvstore.DeadlineError):
            await removal

    asyncio.run(main())


async def remove(address: str, node_id: str) -> None:
    async with kvstore.AsyncClient(address) as client:
        await client.cluster.remove(node_id)

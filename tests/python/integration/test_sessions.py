"""A client whose node dies: what it wrote and read stays written and read, or it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import kvstore

from .harness import eventually

if TYPE_CHECKING:
    from .harness import Cluster


def test_a_session_reads_its_own_write_on_a_node_that_has_yet_to_get_it(cluster: Cluster) -> None:
    cluster.start(3)
    with kvstore.Client([cluster.address(0), cluster.address(1)], timeout=20, discover=False) as client:
        client.put("own", "old")
        cluster.wait_value(1, "own", "old")
        # Node 1 gets nothing before node 0 is dead, and then has to ask node 2.
        cluster.pause(1)
        client.put("own", "new")
        client.delete("other")
        # All of it, also that nothing was deleted: what dies with node 0 would be told as lost.
        cluster.wait_equal([0, 2])
        cluster.kill(0)
        cluster.resume(1)
        assert client.get("own") == "new"
        assert client.with_options(read="local").get("own") == "new"


def test_what_a_session_has_read_it_never_reads_older(cluster: Cluster) -> None:
    cluster.start(3)

    async def main() -> None:
        async with kvstore.AsyncClient([cluster.address(0), cluster.address(1)], timeout=20, discover=False) as client:
            with cluster.client(0) as writer:
                writer.put_many({f"read/{number}": "old" for number in range(50)})
                for number in range(50):
                    cluster.wait_value(1, f"read/{number}", "old")
                cluster.pause(1)
                writer.put_many({f"read/{number}": "new" for number in range(50)})
            seen = [entry.value async for entry in client.scan("read/")]
            assert seen == ["new"] * 50
            cluster.wait_equal([0, 2])
            cluster.kill(0)
            cluster.resume(1)
            # All at once, and another kind of read than the one before.
            keys = [f"read/{number}" for number in range(50)]
            answers = await asyncio.gather(*(client.get(key) for key in keys))
            assert answers == seen

    asyncio.run(main())


def test_writes_that_died_with_their_node_are_told_once(cluster: Cluster) -> None:
    # Two nodes that do not know each other: what one has, the other never gets.
    cluster.add()
    cluster.add()
    with kvstore.Client([cluster.address(0), cluster.address(1)], timeout=20, discover=False) as client:
        client.put("lost", 1)
        cluster.kill(0)
        # A write does not wait, and nothing is served that hides the loss.
        eventually(lambda: _is_written(client, "kept", 2), "the client is at the other node")
        assert client.get("lost", read="local") is None
        with pytest.raises(kvstore.UnavailableError) as caught:
            client.get("lost")
        assert caught.value.code == "SESSION_LOST"
        assert caught.value.retryable
        assert not caught.value.maybe_applied
        assert client.get("lost") is None
        assert client.get("kept") == 2


def test_a_write_before_a_kill_is_read_afterwards_or_reported_and_never_silently_older(cluster: Cluster) -> None:
    cluster.start(3)
    targets = [cluster.address(0), cluster.address(1), cluster.address(2)]
    # Left running, so that the outcome is up to how far replication was.
    with kvstore.Client(targets, timeout=20) as client:
        for number in range(200):
            client.put(f"race/{number % 10}", number)
        cluster.kill(0)
        try:
            assert [client.get(f"race/{key}") for key in range(10)] == list(range(190, 200))
        except kvstore.UnavailableError as error:
            assert error.code == "SESSION_LOST"  # noqa: PT017 - either outcome is right
        assert client.put("race/0", "after") > 0
        assert client.get("race/0") == "after"


def _is_written(client: kvstore.Client[Any], key: str, value: object) -> bool:
    """Whether a write was acknowledged; one on a connection that breaks under it has an unknown outcome."""
    try:
        client.put(key, value)
    except kvstore.UnavailableError as error:
        if not error.maybe_applied:
            raise
        return False
    return True

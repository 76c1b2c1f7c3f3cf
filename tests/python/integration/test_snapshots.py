"""Snapshots: saved from running nodes of either kind, checked, and made into a new cluster."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Iterator

import pytest

import kvstore

from .durable import DurableCluster, contents, first_difference, flip_bit

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Cluster


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[DurableCluster]:
    """A cluster of durable nodes, without any yet."""
    made = DurableCluster(tmp_path / "nodes")
    (tmp_path / "nodes").mkdir()
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("kind", ["memory", "durable"])
def test_a_node_saves_itself_and_a_client_saves_the_same(tmp_path: Path, kind: str) -> None:
    with kvstore.Node(data_dir=tmp_path / "d" if kind == "durable" else None) as node:
        node.put_many({f"k/{number}": number for number in range(2000)})
        node.delete("k/0")
        assert node.snapshot(tmp_path / "local") == (tmp_path / "local").stat().st_size
        with kvstore.Client(node.address) as client:
            assert client.snapshot(tmp_path / "remote") == (tmp_path / "remote").stat().st_size

        async def save() -> int:
            async with kvstore.AsyncClient(node.address) as client:
                return await client.snapshot(tmp_path / "async") + await node.async_client().snapshot(tmp_path / "here")

        assert asyncio.run(save()) > 0
        for name in ("local", "remote", "async", "here"):
            report = kvstore.verify_snapshot(tmp_path / name)
            assert report.valid
            assert report.records >= 1999
            assert (report.node, report.cluster) == (node.id, "default")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["async", "here", "local", "remote"]
    if kind == "durable":
        assert not list((tmp_path / "d" / "snapshots").glob("sent-*")), "what was sent is gone"


def test_a_snapshot_becomes_a_new_cluster(cluster: Cluster, durable: DurableCluster, tmp_path: Path) -> None:
    cluster.start(2)
    with cluster.client(0) as client, cluster.client(1) as other:
        client.put_many({f"k/{number}": number for number in range(1000)})
        other.put("long", "lived", ttl=3600)
        other.put("deleted", 1)
        other.delete("deleted")
    cluster.wait_equal()
    with cluster.client(0) as client:
        before = contents(client)
        client.snapshot(tmp_path / "backup")
    node = kvstore.restore_snapshot(tmp_path / "backup", durable.directory(0), "restored")
    durable.options = ["--cluster", "restored"]
    assert durable.add().node == node
    assert node not in [each.node for each in cluster.nodes]
    with durable.client(0) as client:
        assert first_difference(before, contents(client)) is None
        assert [member.id for member in client.members()] == [node], "nobody of the old cluster is known"
        client.put("k/0", "changed")
        assert client.entry("k/0").version > before["k/0"][1]
    durable.kill(0)
    durable.restart(0)
    durable.add([durable.address(0)])
    durable.wait_connected()
    durable.wait_equal()
    with durable.client(1) as client:
        shown = contents(client)
    assert shown.pop("k/0")[0] == "changed"
    before.pop("k/0")
    assert first_difference(before, shown) is None


def test_a_damaged_snapshot_is_told_and_not_restored(tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with kvstore.Node() as node:
        node.put_many({f"k/{number}": b"x" * 100 for number in range(1000)})
        node.snapshot(file)
    flip_bit(file, file.stat().st_size // 2)
    report = kvstore.verify_snapshot(file)
    assert not report.valid
    assert report.damaged_at is not None
    assert report.damaged_at <= file.stat().st_size // 2
    with pytest.raises(kvstore.CorruptError, match=str(report.damaged_at)):
        kvstore.restore_snapshot(file, tmp_path / "new", "c")
    assert not (tmp_path / "new").exists()


def test_a_restore_touches_nothing_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with kvstore.Node(data_dir=tmp_path / "d") as node:
        node["k"] = 1
        node.snapshot(file)
        with pytest.raises(kvstore.KVError):
            kvstore.restore_snapshot(file, tmp_path / "d", "c")
    with pytest.raises(kvstore.InvalidArgumentError, match="not empty"):
        kvstore.restore_snapshot(file, tmp_path / "d", "c")
    with kvstore.Node(data_dir=tmp_path / "d") as node:
        assert node["k"] == 1


def test_a_snapshot_is_taken_while_writes_go_on(tmp_path: Path) -> None:
    with kvstore.Node(data_dir=tmp_path / "d", durability="memory") as node:
        node.put_many({f"fixed/{number}": number for number in range(4000)})
        over = threading.Event()

        def write() -> None:
            number = 0
            while not over.is_set():
                node.put(f"moving/{number % 100}", number)
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for name in ("one", "two", "three"):
                node.snapshot(tmp_path / name)
        finally:
            over.set()
            writer.join()
    kvstore.restore_snapshot(tmp_path / "three", tmp_path / "new", "c")
    with kvstore.Node(data_dir=tmp_path / "new", cluster="c") as node:
        assert node.count("fixed/") == 4000
        assert node.count("moving/") > 0


def test_a_snapshot_that_cannot_be_written_names_the_place(tmp_path: Path) -> None:
    with kvstore.Node() as node, kvstore.Client(node.address) as client:
        for store in (node, client):
            with pytest.raises(kvstore.UnavailableError, match="nowhere") as caught:
                store.snapshot(tmp_path / "nowhere" / "file")
            assert caught.value.code == "DISK_FAILED"

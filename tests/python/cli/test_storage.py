"""snapshot save, verify, restore; doctor; what status says of storage; up with a directory."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any, List

import pytest
from integration.durable import flip_bit
from integration.harness import eventually

import kvstore
from kvstore.cli.exits import CORRUPT, UNAVAILABLE, USAGE

from .test_processes import KVSTORE, SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run


def test_a_snapshot_is_saved_checked_and_restored(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    db.put_many({f"k/{number}": number for number in range(100)})
    file = tmp_path / "backup.kv"
    saved = json.loads(run("snapshot", "save", str(file), "-o", "json").stdout)
    assert saved["bytes"] == file.stat().st_size
    checked = run("snapshot", "verify", str(file)).stdout
    assert "whole" in checked
    assert db.id in checked
    restored = json.loads(
        run("snapshot", "restore", str(file), "--data-dir", str(tmp_path / "d"), "--cluster", "c", "-o", "json").stdout
    )
    assert "healthy" in run("doctor", str(tmp_path / "d")).stdout
    with kvstore.Node(data_dir=tmp_path / "d", cluster="c") as node:
        assert (node.id, node.count("k/")) == (restored["node"], 100)
        assert json.loads(run("doctor", str(tmp_path / "d"), "-o", "json").stdout)["in_use"] is True
        shown = run("-s", node.address, "status", "-o", "json").stdout
        assert json.loads(shown)["nodes"][0]["storage"]["durability"] == "sync"
        assert "sync" in run("-s", node.address, "status").stdout.split("\t")


def test_damage_is_shown_with_its_place_and_ends_with_1(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    db.put_many({f"k/{number}": "x" * 100 for number in range(100)})
    file = tmp_path / "backup.kv"
    run("snapshot", "save", str(file))
    flip_bit(file, file.stat().st_size // 2)
    assert "damaged at byte" in run("snapshot", "verify", str(file), code=CORRUPT).stdout
    arguments = ["snapshot", "restore", str(file), "--data-dir", str(tmp_path / "d"), "--cluster", "c"]
    assert "damaged" in run(*arguments, code=CORRUPT).stderr
    with kvstore.Node(data_dir=tmp_path / "node"):
        pass
    flip_bit(tmp_path / "node" / "identity", 20)
    assert "PROBLEM" in run("doctor", str(tmp_path / "node"), code=CORRUPT).stdout


def test_what_is_not_there_is_named(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    assert "nowhere" in run("snapshot", "verify", str(tmp_path / "nowhere"), code=UNAVAILABLE).stderr
    assert "nowhere" in run("doctor", str(tmp_path / "nowhere"), code=USAGE).stderr
    assert "nowhere" in run("snapshot", "save", str(tmp_path / "nowhere" / "file"), code=UNAVAILABLE).stderr


@pytest.mark.timeout(120)
def test_up_finds_its_data_again(tmp_path: Path) -> None:
    ids: List[Any] = []
    for turn in range(2):
        process = subprocess.Popen(
            [*KVSTORE, "-o", "json", "up", "--nodes", "2", "--port", "0", "--data-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            nodes = json.loads(process.stdout.readline())["nodes"]
            ids.append([node["node"] for node in nodes])
            with kvstore.Client(nodes[turn]["address"]) as client:
                if turn == 0:
                    client.put("k", "v")
                eventually(lambda: client.get("k") == "v", "the data are there")
            with kvstore.Client(nodes[1]["address"]) as client:
                eventually(lambda: client.get("k") == "v", "the second node has them, too")
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()
            process.communicate()
    assert ids[0] == ids[1]

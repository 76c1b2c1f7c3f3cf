"""Eventual keyspaces by name on the command line: they come and go, and `-k` works with them as with any other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Iterator

import pytest

import kvstore

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run


@pytest.fixture
def logs(node: kvstore.Node) -> Iterator[Any]:
    yield node.create_keyspace("logs")
    node.drop_keyspace("logs")


def test_it_is_made_as_it_is_asked_for(run: Run) -> None:
    made = run("keyspace", "create", "made", "--consistency", "eventual", "--keep-conflicts", "7", "-o", "json")
    assert json.loads(made.stdout)["consistency"] == "eventual"
    run("keyspace", "create", "made", "--consistency", "eventual", "--exist-ok")
    assert "eventual" in run("keyspace", "create", "made", "--exist-ok", code=4).stderr
    run("-k", "made", "put", "k", "v")
    run("put", "k", "default")
    assert run("-k", "made", "get", "k").stdout == "v\n"
    assert run("get", "k").stdout == "default\n"
    # The bytes count the key as it is held.
    lines = [line.rpartition("\t") for line in run("keyspace", "ls", "-o", "plain").stdout.splitlines()]
    assert [line[0] for line in lines] == ["default\teventual\t1", "made\teventual\t1"]
    assert all(int(line[2]) > 0 for line in lines)
    assert "eventual" in run("-k", "made", "incr", "n", code=6).stderr
    assert run("-k", "made", "conflicts", "ls", "-o", "plain").stdout == ""
    run("keyspace", "drop", "made", "--yes")
    assert "made" in run("-k", "made", "get", "k", code=2).stderr
    assert run("get", "k").stdout == "default\n"


def test_what_leaves_it_comes_back_with_its_keys(logs: Any, db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    logs.put_many({"a": 1, b"\xff\x01": [2]})
    logs.put("t", "soon", ttl=3600)
    db.put("b", "default")
    run("-k", "logs", "export", str(tmp_path / "logs.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "logs.jsonl").read_text().splitlines()]
    assert {row["key"] for row in rows if "key" in row} == {"a", "t"}
    assert len([row for row in rows if "value" in row]) == 3
    logs.delete_prefix("")
    run("-k", "logs", "import", str(tmp_path / "logs.jsonl"))
    assert {entry.key_bytes: entry.value for entry in logs.scan()} == {b"a": 1, b"t": "soon", b"\xff\x01": [2]}
    assert logs.entry("t").ttl == pytest.approx(3600, abs=600)
    assert list(db.keys()) == ["b"]


def test_a_snapshot_holds_it_but_not_its_name(logs: Any, db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    logs.put_many({"a": 1, "b": 2})
    db.put(b"\xff", "default")
    file, directory = str(tmp_path / "copy.kv"), str(tmp_path / "node")
    run("snapshot", "save", file)
    assert json.loads(run("snapshot", "verify", file, "-o", "json").stdout)["valid"]
    run("snapshot", "restore", file, "--data-dir", directory, "--cluster", "other")
    assert json.loads(run("doctor", directory, "-o", "json").stdout)["healthy"]
    with kvstore.Node(data_dir=directory, cluster="other").start(wait="ready") as restored:
        assert {entry.key_bytes: entry.value for entry in restored.scan()} == {b"\xff": "default"}
        # A keyspace of the same name, and the same number, in another group: what is there is not in it.
        again = restored.create_keyspace("logs")
        assert again.count() == 0
        again.put("a", "new")
        assert [entry.value for entry in again.scan()] == ["new"]
        assert restored.info().keys == 1

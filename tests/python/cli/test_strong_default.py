"""Commands against a cluster whose `default` is strong: the same commands, and what they say of it is true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Iterator

import pytest

import kvstore
from kvstore.cli.exits import USAGE

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run

# Generous: it bounds how long a broken build hangs.
SECONDS = 60.0
UNSUPPORTED = 6


@pytest.fixture(scope="module")
def node() -> Iterator[kvstore.Node]:
    """A node whose `default` is strong, in place of the usual one."""
    with kvstore.Node(default_consistency="strong") as made:
        made.put("formed", 1, timeout=SECONDS)
        yield made


def test_values_go_through_the_group(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    version = run("put", "k", "1", "--if-absent").stdout.strip()
    run("put", "k", "2", "--if-absent", code=4)
    run("put", "k", "2", "--if-version", version)
    assert run("get", "k", "--read", "linearizable").stdout == "2\n"
    assert (run("incr", "n").stdout, run("add", "k", "3", code=1).stdout) == ("1\n", "false\n")
    assert run("count").stdout == "2\n"
    file = str(tmp_path / "all.jsonl")
    run("export", file)
    db.delete_prefix("")
    run("import", file)
    assert (db["k"], db["n"]) == ("2", 1)
    assert run("conflicts", "ls", "-o", "plain").stdout == ""


def test_what_it_is_is_said(db: kvstore.Node, run: Run) -> None:
    db["k"] = 1
    assert run("keyspace", "ls", "-o", "plain").stdout == "default\tstrong\t1\t9\n"
    assert run("bigkeys", "--top", "1").stdout == "value\t8\t1\tk\nfold\t9\t1\t(no prefix)\n"
    status = run("status", "-o", "json")
    (shown,) = json.loads(status.stdout)["nodes"]
    assert (shown["default_consistency"], shown["problems"]) == ("strong", [])
    assert f"{db.address}: the keyspace `default` is strong" in status.stderr
    assert "strong" in run("keyspace", "create", "default", code=4).stderr
    run("keyspace", "create", "default", "--exist-ok")


def test_what_works_with_an_eventual_keyspace_alone_is_refused(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    assert "strong" in run("bench", "get", "-n", "10", code=UNSUPPORTED).stderr
    file = tmp_path / "snapshot"
    assert "strong" in run("snapshot", "save", str(file), code=UNSUPPORTED).stderr
    assert (file.exists(), db.count()) == (False, 0)


def test_up_forms_a_cluster_with_a_strong_default() -> None:
    command = [sys.executable, "-m", "kvstore", "-o", "json", "up", "--port", "0", "--default-consistency", "strong"]
    process = subprocess.Popen([*command, "--nodes", "2"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        nodes = json.loads(process.stdout.readline())["nodes"]
        for number, node in enumerate(nodes):
            with kvstore.Client(node["address"], timeout=SECONDS) as client:
                assert client.incr("n") == number + 1
                assert client.info().consistency == "strong"
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    finally:
        process.kill()
        process.communicate()


def test_a_word_that_is_none_of_the_two_is_refused(run: Run) -> None:
    for command in ("serve", "up"):
        assert "default-consistency" in run(command, "--default-consistency", "linear", code=USAGE).stderr


@pytest.mark.timeout(180)
def test_the_demo_tells_of_an_eventual_default_whatever_the_environment_says() -> None:
    command = [sys.executable, "-m", "kvstore", "-o", "json", "demo", "--limit", "12k"]
    environment = {**os.environ, "KVSTORE_DEFAULT_CONSISTENCY": "strong"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3 * SECONDS, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["equal"] is True

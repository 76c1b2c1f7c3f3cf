"""The command line as people run it: processes, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, List

import pytest
from integration.harness import eventually, is_running

import kvstore

KVSTORE = [sys.executable, "-m", "kvstore"]
SECONDS = 60.0


def kv(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*KVSTORE, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, **options
    )


def test_the_program_runs_as_a_module_and_as_a_script() -> None:
    script = Path(sys.executable).with_name("kvstore")
    assert kv("version").returncode == 0
    assert subprocess.run([str(script), "version"], capture_output=True, timeout=SECONDS, check=True).stdout


def test_a_session_of_commands(node: kvstore.Node) -> None:
    server = ["-s", node.address]
    assert kv(*server, "put", "process/k", "v").returncode == 0
    got = kv(*server, "get", "process/k")
    assert (got.returncode, got.stdout, got.stderr) == (0, "v\n", "")
    missing = kv(*server, "get", "process/nobody")
    assert (missing.returncode, missing.stdout) == (1, "")


def test_a_closed_pipe_is_no_error(node: kvstore.Node) -> None:
    node.put_many({f"pipe/{number}": "x" * 1000 for number in range(2000)})
    command = " ".join([*KVSTORE, "-s", node.address, "scan", "pipe/"])
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("pipe/0\t")


def test_up_runs_a_cluster_until_it_is_told_to_stop() -> None:
    process = subprocess.Popen(
        [*KVSTORE, "-o", "json", "up", "--nodes", "3", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        nodes = json.loads(process.stdout.readline())["nodes"]
        with kvstore.Client([nodes[0]["address"]]) as client:
            client.put("up", 1)
            eventually(lambda: len(client.members()) == 3, "the first node knows both others")
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    finally:
        process.kill()
        process.communicate()
    assert_gone([node["pid"] for node in nodes])


@pytest.mark.parametrize("output", ["json", "plain"])
def test_the_nodes_of_up_have_a_dashboard_if_wanted(output: str) -> None:
    with subprocess.Popen(
        [*KVSTORE, "-o", output, "up", "--nodes", "1", "--port", "0", "--http"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = json.loads(line)["nodes"][0]["dashboard"] if output == "json" else line.split()[-1]
            with urllib.request.urlopen(f"{url}healthz", timeout=SECONDS) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGINT)


def test_up_stops_when_a_node_dies() -> None:
    process = subprocess.Popen(
        [*KVSTORE, "-o", "json", "up", "--nodes", "2", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    nodes = json.loads(process.stdout.readline())["nodes"]
    os.kill(nodes[1]["pid"], signal.SIGKILL)
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 70
    assert nodes[1]["address"] in stderr
    assert_gone([node["pid"] for node in nodes])


@pytest.mark.timeout(180)
def test_the_demo_ends_with_equal_nodes_and_leaves_no_process_behind() -> None:
    ended = kv("-o", "json", "demo", "--limit", "20k")
    assert ended.returncode == 0, ended.stderr
    account = json.loads(ended.stdout)
    assert account["equal"] is True
    assert account["entries"] == 20_000
    assert account["conflicts"] == 0
    assert 10_000 <= account["killed_after"] < 20_000
    assert account["writes_per_second"] > 0
    assert account["catch_up_seconds"] > 0


@pytest.mark.timeout(180)
def test_the_demo_prints_its_table() -> None:
    ended = kv("demo", "--quick")
    assert ended.returncode == 0, ended.stderr
    rows = dict(line.rsplit("  ", 1) for line in ended.stdout.splitlines())
    assert {name.strip(): value.strip() for name, value in rows.items()}["equal"] == "yes"


def assert_gone(pids: List[int]) -> None:
    """No such process, or only a body that its new parent has not fetched yet."""
    assert not [pid for pid in pids if is_running(pid)]

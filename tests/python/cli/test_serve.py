"""serve --config: settings of a node from a file."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator

import pytest

import kvstore

if TYPE_CHECKING:
    import pathlib

SECONDS = 60.0

Serve = Callable[..., Dict[str, Any]]


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> Iterator[Serve]:
    """Runs a node in a directory of the test until the test is over; gives what it says of itself."""
    running = []

    def start(*arguments: str, **env: str) -> Dict[str, Any]:
        process = subprocess.Popen(
            [sys.executable, "-m", "kvstore", "-o", "json", "serve", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        hello: Dict[str, Any] = json.loads(process.stdout.readline())
        return hello

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(SECONDS) for process in running] == [0] * len(running)
    for process in running:
        process.communicate()


def test_a_file_says_what_a_node_is(serve: Serve, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('port = 0\ncluster = "blue"\ndata_dir = "here"\n[client]\nserver = "10.0.0.1:7001"\n')
    node = serve("--config", str(file))
    with kvstore.Client(node["address"]) as client:
        client.put("k", "v")
        storage = client.status().storage
    assert storage is not None
    assert storage.durability == "sync"
    assert (tmp_path / "here").is_dir()
    # A node of another cluster would be refused.
    other = kvstore.Node(0, peers=[node["address"]], cluster="blue")
    with other.start(wait="ready"):
        assert other["k"] == "v"


def test_flags_and_variables_win_over_the_file(serve: Serve, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "node.toml"
    # With what it says alone no node would start: the address is of no machine.
    file.write_text('port = 1\nhost = "192.0.2.1"\ninsecure = false\ndata_dir = "a"\ndurability = "interval"\n')
    data = str(tmp_path / "b")
    node = serve("0", "--config", "node.toml", "--host", "127.0.0.1", "--durability", "sync", KVSTORE_DATA_DIR=data)
    with kvstore.Client(node["address"]) as client:
        storage = client.status().storage
    assert storage is not None
    assert storage.durability == "sync"
    assert (tmp_path / "b").is_dir()
    assert not (tmp_path / "a").exists()
    assert serve("--config", "node.toml", "--host", "127.0.0.1", KVSTORE_PORT="0")["port"] > 1


@pytest.mark.parametrize("log", ["stderr", "python"])
def test_what_a_node_reports_goes_to_stderr(tmp_path: pathlib.Path, log: str) -> None:
    command = [sys.executable, "-m", "kvstore", "serve", "0", "--until-eof", "--log", log]
    ended = subprocess.run(
        command, cwd=tmp_path, input="", capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0
    assert "node started" in ended.stderr
    assert ("INFO kvstore.node" in ended.stderr) == (log == "python")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("prot = 1", "prot"), ("port = ", "node.toml"), ('durability = "sync"', "durability"), (None, "node.toml")],
)
def test_a_bad_file_is_named(tmp_path: pathlib.Path, text: str, problem: str) -> None:
    if text is not None:
        (tmp_path / "node.toml").write_text(text)
    command = [sys.executable, "-m", "kvstore", "serve", "0", "--config", "node.toml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 2
    assert problem in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_dashboard_is_announced_where_there_is_one(serve: Serve) -> None:
    assert "dashboard" not in serve("0")
    node = serve("0", "--http")
    assert node["dashboard"] == f"http://{node['address']}/"
    connection = http.client.HTTPConnection(node["address"], timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        with connection.getresponse() as answer:
            assert (answer.status, answer.getheader("content-type")) == (200, "text/html; charset=utf-8")
    assert "dashboard" in serve("0", KVSTORE_HTTP="1")

"""The process of `kvstore serve`: how it ends, and what cannot make it end."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys

import pytest

import kvstore
from kvstore.cli.processes import NodeProcess

from .harness import DEADLINE_SECONDS, Cluster, eventually

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_serve_cleanly(cluster: Cluster, number: int, code: int) -> None:
    cluster.start(2)
    with cluster.client(1) as client:
        client.put("k", "v")
    node = cluster.nodes[1]
    node.signal(number)
    assert node.wait(DEADLINE_SECONDS) == code
    assert node.last_words() == ""
    cluster.wait_value(0, "k", "v")


def test_a_stopped_node_has_handed_over_what_it_acknowledged(cluster: Cluster) -> None:
    cluster.start(2)
    with cluster.client(1) as client:
        client.put_many({f"k/{number}": number for number in range(4000)})
    assert cluster.nodes[1].stop(DEADLINE_SECONDS) == 0
    with cluster.client(0) as client:
        eventually(lambda: client.count("k/") == 4000, "everything was handed over")


def test_a_node_ends_with_its_starter(cluster: Cluster) -> None:
    node = cluster.add()
    node._process.stdin.close()
    assert node.wait(DEADLINE_SECONDS) == 0


def frame(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The head of an HTTP/2 frame."""
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream)


MALFORMED = {
    "garbage": bytes(range(256)) * 64,
    "zeros": bytes(4096),
    "half a preface": PREFACE[:10],
    "an HTTP/1.1 request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(505),
    "an oversized frame": PREFACE + SETTINGS + frame(0xFFFFFF, 0, 0, 1) + bytes(70_000),
    "a header block that does not decode": PREFACE + SETTINGS + frame(64, 1, 5, 1) + b"\xff" * 64,
    "a continuation of nothing": PREFACE + SETTINGS + frame(4, 9, 4, 1) + bytes(4),
    "data on a stream never opened": PREFACE + SETTINGS + frame(5, 0, 1, 7) + bytes(5),
    "a redis command": b"*1\r\n$4\r\nPING\r\n" * 1000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_input_leaves_the_node_serving(trio: Cluster, data: bytes) -> None:
    host, port = trio.address(0).rsplit(":", 1)
    with trio.client(0) as client:
        client.put("malformed", "before")
        for _ in range(5):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue  # It is free to cut us off.
        assert client.get("malformed") == "before"
    with trio.client(0) as client:
        client.put("malformed", "after")
    trio.wait_value(1, "malformed", "after")


def test_silent_connections_do_not_keep_others_out(trio: Cluster) -> None:
    host, port = trio.address(0).rsplit(":", 1)
    silent = [socket.create_connection((host, int(port)), timeout=5) for _ in range(200)]
    try:
        for connection in silent[::2]:
            connection.sendall(PREFACE[:12])
        with trio.client(0) as client:
            client.put("silent", 1)
            assert client.get("silent") == 1
    finally:
        for connection in silent:
            connection.close()


def test_a_bad_setting_is_a_usage_error_that_names_it() -> None:
    with pytest.raises(Exception, match="host") as caught:
        NodeProcess.start(0, options=["--host", "0.0.0.0"])
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]


def test_an_insecure_node_listens_everywhere_when_told_to(cluster: Cluster) -> None:
    node = cluster.add(options=["--host", "0.0.0.0", "--insecure", "--advertise", "127.0.0.1:1"])
    assert node.address == "127.0.0.1:1"
    with kvstore.Client(f"127.0.0.1:{node.port}") as client:
        client.put("k", 1)
        assert client["k"] == 1


def test_a_node_reports_on_stderr_when_told_to() -> None:
    code = (
        "import kvstore\n"
        "a = kvstore.Node(0, log='stderr').start()\n"
        "b = kvstore.Node(0, [a.address]).start(wait='ready')\n"
        "b.stop(); a.stop()\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True)
    assert "peer session closed" in done.stderr

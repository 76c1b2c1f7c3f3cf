"""Tokens and TLS on the command line: where they come from, which place counts most, and that no token is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Callable, Iterator, List

import pytest
import trustme

import kvstore
from kvstore.cli.app import program

from .conftest import runner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TOKEN = "sesame-4711-never-shown"
DEADLINE_SECONDS = 20.0

Kv = Callable[..., "Result"]


@pytest.fixture(scope="module")
def closed() -> Iterator[kvstore.Node]:
    """A node that wants to see a token."""
    with kvstore.Node(token=TOKEN) as node:
        node["k"] = "v"
        yield node


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own to work in, and one for the user's files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def shown() -> List[str]:
    """Whatever commands have printed."""
    return []


@pytest.fixture
def kv(home: Path, shown: List[str]) -> Iterator[Kv]:
    """Runs a command with nothing but what the test has said; at the end nothing has shown the token."""

    def invoke(*arguments: str, code: int = 0, **env: str) -> Result:
        result = runner().invoke(program, list(arguments), env=env)
        shown.extend([result.stdout, result.stderr])
        report: Any = (arguments, result.exit_code, result.stdout, result.stderr)
        assert result.exit_code == code, report
        return result

    yield invoke
    assert TOKEN not in "".join(shown)


@pytest.fixture
def file(home: Path) -> Path:
    """A token in a file that only its owner can read."""
    path = home / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return path


def test_a_token_comes_from_a_file_a_variable_or_a_url(closed: kvstore.Node, kv: Kv, file: Path) -> None:
    where = ["-s", closed.address]
    for arguments, env in (
        (["--token-file", str(file), *where], {}),
        (where, {"KVSTORE_TOKEN": TOKEN}),
        (where, {"KVSTORE_TOKEN_FILE": str(file)}),
        (["-s", f"kv://:{TOKEN}@{closed.address}"], {}),
        ([], {"KVSTORE_URL": f"kv://:{TOKEN}@{closed.address}"}),
        # The nearest place counts.
        (["--token-file", str(file), *where], {"KVSTORE_TOKEN": "other"}),
        (["-s", f"kv://:{TOKEN}@{closed.address}"], {"KVSTORE_TOKEN": "other"}),
        ([], {"KVSTORE_URL": f"kv://:other@{closed.address}", "KVSTORE_TOKEN": TOKEN}),
    ):
        assert kv(*arguments, "get", "k", **env).stdout == "v\n", (arguments, env)
    # After the name of the command, too.
    assert kv("get", "k", *where, "--token-file", str(file)).stdout == "v\n"


def test_without_it_the_exit_code_says_so(closed: kvstore.Node, kv: Kv) -> None:
    for env in ({}, {"KVSTORE_TOKEN": "other"}):
        for command in (["get", "k"], ["put", "k", "x"], ["status"], ["keyspace", "ls"]):
            assert "token" in kv("-s", closed.address, *command, code=5, **env).stderr, command


@pytest.mark.parametrize("command", [
    ["status"], ["members"], ["health"], ["metrics"], ["scan"], ["ls"], ["count"], ["conflicts", "ls"],
    ["latency", "-n", "2"], ["latency", "--members", "-n", "2"], ["stat", "--count", "1", "--interval", "10ms"],
    ["bench", "get", "-n", "50", "-c", "2"], ["config", "show", "--origin"], ["config", "show", "-o", "json"],
    ["export", "-"], ["keyspace", "ls"],
], ids=" ".join)  # fmt: skip
def test_each_command_presents_it_and_none_shows_it(closed: kvstore.Node, kv: Kv, command: List[str]) -> None:
    kv("-s", f"kv://:{TOKEN}@{closed.address}", *command)
    kv("-s", closed.address, *command, KVSTORE_TOKEN=TOKEN)


def test_what_is_wrong_with_a_file_is_told(home: Path, kv: Kv, file: Path) -> None:
    kv("--token-file", str(home / "nowhere"), "get", "k", code=2)
    file.chmod(0o640)
    assert "chmod 600" in kv("--token-file", str(file), "get", "k", code=2).stderr
    file.chmod(0o600)
    file.write_text("\n")
    assert "is empty" in kv("--token-file", str(file), "get", "k", code=2).stderr
    file.write_bytes(b"\xff\xfe")
    assert "it is no text" in kv("--token-file", str(file), "get", "k", code=2).stderr


def test_contexts_remember_the_file_and_show_no_token(home: Path, closed: kvstore.Node, kv: Kv, file: Path) -> None:
    kv("context", "add", "one", closed.address, "--token-file", str(file))
    assert kv("get", "k").stdout == "v\n"
    kv("context", "add", "two", f"kv://:{TOKEN}@{closed.address}", "--tls", "false")
    kv("context", "use", "two")
    assert kv("get", "k").stdout == "v\n"
    listed = json.loads(kv("context", "ls", "-o", "json").stdout)["contexts"]
    assert [each["server"] for each in listed] == [closed.address, f"kv://:***@{closed.address}"]
    assert [each["token_file"] for each in listed] == [str(file), None]
    # A token may have an @ in it.
    kv("context", "add", "three", f"kv://:x@{TOKEN}@{closed.address}", "--tls", "false")
    kv("context", "use", "three")
    kv("context", "ls")
    kv("config", "show", "--origin")
    kv("config", "check")
    kv("get", "k", code=5)
    contexts = home / "user" / "kvstore" / "contexts.json"
    assert contexts.stat().st_mode & 0o077 == 0


def test_settings_show_whether_there_is_a_token(home: Path, kv: Kv) -> None:
    (home / "here" / "kvstore.toml").write_text('[tls]\nca = "/ca.pem"\ncert = "/n.pem"\nkey = "/n.key"\n')
    found = json.loads(kv("config", "show", "-o", "json", KVSTORE_TOKEN=TOKEN).stdout)["settings"]
    by_name = {f"{each['of']}.{each['setting']}": each for each in found}
    assert by_name["client.token"]["value"] == by_name["node.token"]["value"] == "set"
    assert by_name["client.token"]["origin"] == "KVSTORE_TOKEN"
    assert by_name["node.tls"]["value"] == {"ca": "/ca.pem", "cert": "/n.pem", "key": "/n.key", "server_name": None}
    table = kv("config", "show", "-o", "table").stdout
    assert "ca=/ca.pem,cert=/n.pem,key=/n.key" in table


def test_a_node_is_served_with_tls_and_token(home: Path, kv: Kv, file: Path, shown: List[str]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(home / "node.pem"))
    files = f"ca={home}/ca.pem,cert={home}/node.pem,key={home}/node.pem"
    command = [sys.executable, "-m", "kvstore", "serve", "0", "-o", "json", "--log", "stderr", "--until-eof"]
    node = subprocess.Popen(
        [*command, "--tls", files, "--token-file", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert node.stdout is not None
        hello = node.stdout.readline()
        address = json.loads(hello)["address"]
        trusting = ["-s", address, "--tls", f"ca={home}/ca.pem"]
        kv(*trusting, "put", "k", "v", KVSTORE_TOKEN=TOKEN)
        assert kv("-s", f"kv://:{TOKEN}@{address}?tls=ca={home}/ca.pem", "get", "k").stdout == "v\n"
        # Members are asked by addresses that the node tells.
        kv("-s", f"kv://:{TOKEN}@{address}?tls=ca={home}/ca.pem", "status")
        kv(*trusting, "get", "k", code=5, KVSTORE_TOKEN="other")
        kv(*trusting, "get", "k", code=5)
        kv("-s", address, "--tls", "true", "get", "k", code=5)
        kv("-s", address, "--timeout", "300ms", "get", "k", code=3, KVSTORE_TOKEN=TOKEN)
    finally:
        # Its end ends the node.
        output, errors = node.communicate(timeout=DEADLINE_SECONDS)
    assert node.returncode == 0
    assert b"node started" in errors
    shown.extend([hello.decode(), output.decode(), errors.decode()])


def test_a_token_in_the_clear_needs_the_word(kv: Kv) -> None:
    refused = kv("-s", "192.0.2.1:1", "--timeout", "100ms", "get", "k", code=2, KVSTORE_TOKEN=TOKEN)
    assert "another machine" in refused.stderr
    # Nobody is there; it is tried.
    kv("-s", "192.0.2.1:1", "--timeout", "100ms", "--tls", "false", "get", "k", code=3, KVSTORE_TOKEN=TOKEN)

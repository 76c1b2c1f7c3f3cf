"""A node, and a way to run commands against it inside this process."""

from __future__ import annotations

import inspect
import os
from typing import Any, Callable, Iterator, Union

import pytest
from click.testing import CliRunner, Result

import kvstore
from kvstore.cli.app import program

Run = Callable[..., Result]

READ_BYTES = 4096


def runner() -> CliRunner:
    """Click 8.2 keeps stdout and stderr apart by itself, 8.1 has to be told."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner.__init__).parameters else {}
    return CliRunner(**apart)  # type: ignore[arg-type]


def rest_of(terminal: int) -> bytes:
    """What it shows until the program ends, which on Linux is an error."""
    shown = b""
    try:
        while True:
            data = os.read(terminal, READ_BYTES)
            if not data:
                return shown
            shown += data
    except OSError:
        return shown


@pytest.fixture(autouse=True)
def _no_files_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's contexts and history must neither matter to the tests nor change by them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", os.devnull)
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)


@pytest.fixture(scope="module")
def node() -> Iterator[kvstore.Node]:
    """A node of this process, shared by the tests of a module."""
    with kvstore.Node(0).start(wait="ready") as made:
        yield made


@pytest.fixture
def db(node: kvstore.Node) -> kvstore.Node:
    """The node, empty."""
    node.delete_many(list(node.keys()))
    return node


@pytest.fixture
def run(db: kvstore.Node) -> Run:
    """Runs a command against the node: `run("get", "k")`."""

    def invoke(*arguments: str, stdin: Union[str, bytes, None] = None, code: int = 0, **env: str) -> Result:
        result = runner().invoke(program, ["-s", db.address, *arguments], input=stdin, env=env)
        shown: Any = (arguments, result.exit_code, result.stdout, result.stderr)
        assert result.exit_code == code, shown
        return result

    return invoke

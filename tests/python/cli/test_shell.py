"""shell: commands one after the other, from a pipe, on a terminal, and with prompt_toolkit."""

from __future__ import annotations

import importlib
import json
import os
import pty
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kvstore.cli.app import program
from kvstore.cli.shell import candidates

from .conftest import READ_BYTES, rest_of, runner

if TYPE_CHECKING:
    from pathlib import Path

    import kvstore

    from .conftest import Run

SECONDS = 60.0
PROMPT = b"kvstore> "


def test_each_line_is_a_command(db: kvstore.Node, run: Run) -> None:
    script = "# not a command\n\nput 'a key' \"two words\"\nget 'a key'\nput c x#y\nget c\n"
    assert run("-q", "shell", stdin=script).stdout.splitlines()[-2:] == ["two words", "x#y"]
    assert db["a key"] == "two words"


def test_a_command_that_fails_does_not_end_it_and_the_last_one_decides(db: kvstore.Node, run: Run) -> None:
    result = run("shell", stdin='get nobody\nnonsense\nget "\nshell\nput k v\nget k\n')
    assert result.stdout.endswith("v\n")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["kvstore"] * 4
    run("shell", stdin="put k v\nget nobody\n", code=1)
    run("shell", stdin="get nobody\nexit\nget k\n", code=1)
    run("shell", stdin="", code=0)


def test_flags_of_the_shell_hold_for_all_commands_and_those_of_a_command_for_it(db: kvstore.Node, run: Run) -> None:
    db.put("k", "v")
    lines = run("-o", "json", "shell", stdin="get k\nget k -o plain\nget k\n", KVSTORE_OUTPUT="raw").stdout.splitlines()
    assert [json.loads(lines[0])["value"], lines[1], json.loads(lines[2])["value"]] == ["v", "v", "v"]
    assert run("shell", stdin="get k\n", KVSTORE_SERVER="127.0.0.1:1").stdout == "v\n"


def test_settings_in_the_shell_say_where_they_came_from(db: kvstore.Node) -> None:
    env = {"KVSTORE_SERVER": db.address}
    shown = runner().invoke(program, ["shell"], input="config show --origin\n", env=env).stdout
    assert f"client\tserver\t{db.address}\tKVSTORE_SERVER" in shown.splitlines()


def test_help_is_that_of_the_program_or_a_command(run: Run) -> None:
    assert "keyspace" in run("shell", stdin="help\n").stdout
    assert "KEY..." in run("shell", stdin="help get\n").stdout


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ge", ["get"]),
        ("keyspace cr", ["create"]),
        ("scan --rev", ["--reverse"]),
        ("get k -o js", ["json", "jsonl"]),
        ("get 'open", []),
    ],
)
def test_the_last_word_is_completed(line: str, wanted: list[str]) -> None:
    assert candidates(program, line) == wanted


def test_a_space_ends_a_word() -> None:
    assert set(candidates(program, "context ")) == {"add", "ls", "rm", "use"}


@pytest.fixture
def without_prompt_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For processes: prompt_toolkit is not there, and the state of the user is in a directory."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "prompt_toolkit.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path / "state" / "kvstore" / "history"


def on_terminal(node: kvstore.Node, *lines: str) -> tuple[int, str]:
    """Type lines, each at a prompt of its own; the exit code and all that the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kvstore", "-s", node.address, "shell"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            shown = b""
            for number, line in enumerate(lines, start=1):
                while shown.count(PROMPT) < number:
                    shown += os.read(ours, READ_BYTES)
                os.write(ours, line.encode() + b"\n")
            shown += rest_of(ours)
            return process.wait(SECONDS), shown.decode()
        finally:
            process.kill()
            os.close(ours)


def test_a_terminal_has_a_prompt_and_a_history(db: kvstore.Node, without_prompt_toolkit: Path) -> None:
    code, shown = on_terminal(db, "put k value", "get nobody", "get k", "exit")
    assert code == 0, shown
    assert "no such key: nobody" in shown
    assert "\r\nvalue\r\n" in shown
    history = without_prompt_toolkit
    assert history.read_text().splitlines()[-4:] == ["put k value", "get nobody", "get k", "exit"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_prompt_toolkit_edits_completes_and_remembers(tmp_path: Path) -> None:
    pytest.importorskip("prompt_toolkit")
    session_of = importlib.import_module("kvstore.cli.shell_prompt").session_of
    terminal = importlib.import_module("prompt_toolkit.input"), importlib.import_module("prompt_toolkit.output")
    documents = importlib.import_module("prompt_toolkit.document")

    history = tmp_path / "history"
    history.write_text("put k v\n")
    with terminal[0].create_pipe_input() as typed:
        session = session_of(
            lambda line: candidates(program, line), history, input=typed, output=terminal[1].DummyOutput()
        )
        typed.send_text("get kx\x7f\r")
        assert session.prompt("> ") == "get k"
        typed.send_text("\x1b[A\x1b[A\r")
        assert session.prompt("> ") == "put k v"
    assert history.read_text().splitlines() == ["put k v", "get k", "put k v"]
    (found,) = session.completer.get_completions(documents.Document("keyspace cr"), None)
    assert (found.text, found.start_position) == ("create", -2)

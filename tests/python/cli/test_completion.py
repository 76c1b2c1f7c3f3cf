"""completion: the scripts, and what they ask the program."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kvstore.cli.app import program

from .conftest import runner

SECONDS = 60.0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_calls_the_program_for_its_shell(shell: str) -> None:
    result = runner().invoke(program, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_KVSTORE_COMPLETE={shell}_complete" in result.stdout
    assert "kvstore" in result.stdout


def test_other_shells_are_a_usage_error() -> None:
    assert runner().invoke(program, ["completion", "cmd"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("kvstore ke", "keyspace"), ("kvstore context r", "rm"), ("kvstore scan --rev", "--reverse")],
)
def test_the_program_answers_what_the_script_asks(words: str, wanted: str) -> None:
    asked = {"_KVSTORE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-m", "kvstore"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"plain,{wanted}" in ended.stdout.splitlines()

"""watch --exec: a command an event."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

    import kvstore

    from .conftest import Run

# Writes what it was told to a file, and fails at a key that ends with "bad".
PROGRAM = """
import json, os, sys
event = json.loads(sys.stdin.read())
key = os.environ.get("KVSTORE_EVENT_KEY")
with open(sys.argv[1], "a") as told:
    print(json.dumps([os.environ["KVSTORE_EVENT"], key, event]), file=told)
sys.exit(9 if event["key"].endswith("bad") else 0)
"""


def command(*words: str) -> str:
    """As somebody would quote it."""
    return " ".join(map(shlex.quote, words))


def test_each_event_is_told_to_a_command(db: kvstore.Node, run: Run, tmp_path: pathlib.Path) -> None:
    told = tmp_path / "told"
    db["job 1"] = {"n": 1}
    tell = command(sys.executable, "-c", PROGRAM, str(told))
    outside = {"KVSTORE_EVENT_KEY": "from outside"}
    ended = run("watch", "--prefix", "job", "--initial", "--limit", "1", "--exec", tell, **outside)
    assert ended.stdout == ""
    ((kind, key, event),) = [json.loads(line) for line in told.read_text().splitlines()]
    assert (kind, key) == ("put", "job 1")
    assert (event["schema"], event["event"], event["key"], event["value"]) == (1, "put", "job 1", {"n": 1})
    assert event["position"]


def test_a_key_that_no_environment_can_hold_is_in_the_json(db: kvstore.Node, run: Run, tmp_path: pathlib.Path) -> None:
    told = tmp_path / "told"
    db[b"a\0b"] = 1
    run("watch", "--initial", "--limit", "1", "--exec", command(sys.executable, "-c", PROGRAM, str(told)))
    kind, key, event = json.loads(told.read_text())
    assert (kind, key, event["key"]) == ("put", None, "a\0b")


def test_a_command_that_fails_ends_the_watch_and_can_be_tried_again(
    db: kvstore.Node, run: Run, tmp_path: pathlib.Path
) -> None:
    told = tmp_path / "told"
    tell = ["--exec", command(sys.executable, "-c", PROGRAM, str(told))]
    db["good"] = 1
    begin = run("watch", "--initial", "--limit", "1", "-o", "jsonl").stdout
    position = json.loads(begin)["position"]
    db["bad"] = 2
    ended = run("watch", "--since", position, *tell, code=9)
    assert "ended with 9 at put bad" in ended.stderr
    again = ended.stderr.split("--since ")[1].strip()
    assert "put bad" in run("watch", "--since", again, *tell, code=9).stderr
    assert [json.loads(line)[1] for line in told.read_text().splitlines()] == ["bad", "bad"]


def test_what_cannot_be_run_is_said(db: kvstore.Node, run: Run) -> None:
    db["k"] = 1
    assert "no-such-program" in run("watch", "--initial", "--exec", "no-such-program", code=127).stderr
    for words in ("", "'open"):
        assert "--exec" in run("watch", "--exec", words, code=2).stderr
    assert "ended with 137" in run("watch", "--initial", "--exec", "sh -c 'kill -9 $$'", code=137).stderr

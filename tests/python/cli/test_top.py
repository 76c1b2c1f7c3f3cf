"""top: all members, again and again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Callable, Dict

import kvstore
from kvstore.testing import LocalCluster

from .conftest import rest_of

if TYPE_CHECKING:
    from .conftest import Run

    Until = Callable[[Callable[[], bool]], None]

TOP = ["top", "--interval", "20ms"]
SECONDS = 60.0


def test_every_look_is_a_line_a_member(run: Run, until: Until) -> None:
    with kvstore.Node(0) as first, kvstore.Node(peers=[first.address]) as second:
        second.start(wait="ready")
        until(lambda: len(first.members()) == 2)
        first.put_many({"a": 1, "b": 2})
        until(lambda: second.count() == 2)
        ended = run(*TOP, "-s", first.address, "--count", "2", "-o", "jsonl")
        records = [json.loads(line) for line in ended.stdout.splitlines()]
        addresses = {first.address, second.address}
    assert len(records) == 4
    assert {record["address"] for record in records} == addresses
    for record in records:
        assert (record["answers"], record["keys"]) == (True, 2)
        assert record["seconds"] > 0
        assert record["uptime"] > 0


def test_a_member_that_is_gone_stays_in_the_table(run: Run) -> None:
    with LocalCluster(2).start(timeout=SECONDS) as cluster:
        first, second = cluster.addresses
        cluster.kill(1)
        ended = run(*TOP, "-s", first, "--count", "1", "--timeout", "3s", "-o", "jsonl")
    by_address: Dict[str, Dict[str, object]] = {
        record["address"]: record for record in map(json.loads, ended.stdout.splitlines())
    }
    gone = by_address[second]
    assert (gone["answers"], gone["state"], gone["keys"]) == (False, "no answer", None)
    assert gone["problem"]
    assert set(by_address) == {first, second}


def test_tables_follow_each_other_where_there_is_no_terminal(db: kvstore.Node, run: Run) -> None:
    tables = run(*TOP, "--count", "2", "-o", "table").stdout.split("\n\n")
    assert [table.splitlines()[0].split("  ")[1] for table in tables if table] == ["1 of 1 members answer"] * 2
    assert tables[0].splitlines()[1].split()[:4] == ["NODE", "ADDRESS", "STATE", "ROLE"]
    assert run(*TOP, "--count", "1").stdout.split("\t")[1] == db.address


def test_nobody_there_is_exit_3(run: Run) -> None:
    assert "127.0.0.1:1" in run(*TOP, "-s", "127.0.0.1:1", "--timeout", "300ms", code=3).stderr


def test_a_terminal_that_cannot_be_a_screen_is_drawn_over(db: kvstore.Node) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kvstore", "-s", db.address, *TOP, "--count", "2"]
    env = {**os.environ, "COLUMNS": "40", "LINES": "24", "TERM": "dumb"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = rest_of(ours)
        os.close(ours)
        assert process.wait(SECONDS) == 0
    screens = shown.decode().split("\x1b[H\x1b[J")
    assert [screen.splitlines()[0].split("  ")[1] for screen in screens[1:]] == ["1 of 1 members answer"] * 2
    assert db.id in screens[1]

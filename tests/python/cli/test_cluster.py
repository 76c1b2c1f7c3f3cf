"""status --watch, members, member remove, health, metrics."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from kvstore.cli.exits import UNAVAILABLE, UNSUPPORTED, USAGE
from kvstore.testing import LocalCluster

from .conftest import rest_of

if TYPE_CHECKING:
    import kvstore

    from .conftest import Run

STATUS = ["status", "--watch", "--interval", "20ms"]
SECONDS = 60.0


def test_members_show_state_and_backlog(db: kvstore.Node, run: Run) -> None:
    title = run("members", "-o", "table").stdout.splitlines()[0]
    assert title.split() == ["NODE", "ADDRESS", "STATE", "SINCE", "BEHIND", "CONNECTED"]
    (member,) = json.loads(run("members", "-o", "json").stdout)["members"]
    assert (member["node"], member["state"], member["behind"]) == (db.id, "up", 0)
    assert member["since"] == member["born"] > 1e9


def test_a_member_that_cannot_be_removed_is_named(db: kvstore.Node, run: Run) -> None:
    assert "00000000000000ff" in run("member", "remove", "00000000000000ff", code=USAGE).stderr
    assert "node_id" in run("member", "remove", "xyz", code=USAGE).stderr
    assert db.id in run("member", "remove", db.id, "--force", code=USAGE).stderr


def test_health_is_said_in_one_word_and_waited_for(db: kvstore.Node, run: Run) -> None:
    assert run("health", "--wait", "5s").stdout == "healthy\n"
    assert json.loads(run("health", "-o", "json").stdout) == {"schema": 1, "healthy": True, "problems": []}
    assert db.status().problems == ()


def test_metrics_have_a_line_each(db: kvstore.Node, run: Run) -> None:
    db.put("k", "v")
    shown = dict(line.split("\t") for line in run("metrics").stdout.splitlines())
    assert shown["kvstore_keys"] == "1"
    assert shown['kvstore_members{state="up"}'] == "1"
    assert db.metrics().keys() == shown.keys()


def test_status_is_looked_at_again_and_again(db: kvstore.Node, run: Run) -> None:
    db.put("a", 1)
    records = [json.loads(line) for line in run(*STATUS, "--count", "3", "-o", "jsonl").stdout.splitlines()]
    assert [(record["schema"], record["node"], record["keys"]) for record in records] == [(1, db.id, 1)] * 3
    assert records[0]["at"] < records[1]["at"] < records[2]["at"]
    looks = run(*STATUS, "--count", "2", "-o", "table").stdout.split("\n\n")
    assert [look.splitlines()[0].split("  ")[1] for look in looks if look] == ["1 of 1 members answer"] * 2
    assert looks[0].splitlines()[1].split()[:3] == ["NODE", "ADDRESS", "STATE"]
    assert run(*STATUS, "--count", "1").stdout.split("\t")[1] == db.address


def test_a_member_is_not_added_but_told_how_it_joins(run: Run, db: kvstore.Node) -> None:
    told = run("member", "add", "10.0.0.4:7001", code=UNSUPPORTED).stderr
    assert "10.0.0.4:7001 joins by itself" in told
    assert f"kvstore serve --peers {db.address}\n" in told


def test_one_look_at_the_status_has_no_count_and_no_time(db: kvstore.Node, run: Run) -> None:
    assert "--watch" in run("status", "--count", "2", code=USAGE).stderr
    (record,) = json.loads(run("status", "-o", "json").stdout)["nodes"]
    assert "at" not in record


def test_the_exit_code_of_a_watched_status_is_that_of_the_last_look(run: Run) -> None:
    with LocalCluster(2).start(timeout=SECONDS) as cluster:
        first, second = cluster.addresses
        cluster.kill(1)
        ended = run(*STATUS, "-s", first, "--count", "1", "--timeout", "3s", "-o", "jsonl", code=UNAVAILABLE)
    assert f"no answer from {second}" in ended.stderr
    answers = [(record["address"], record["answers"]) for record in map(json.loads, ended.stdout.splitlines())]
    assert answers == [(first, True), (second, False)]


def test_a_watched_status_is_drawn_over(db: kvstore.Node) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kvstore", "-s", db.address, *STATUS, "--count", "2"]
    with subprocess.Popen(command, stdout=theirs, env={**os.environ, "COLUMNS": "40", "LINES": "24"}) as process:
        os.close(theirs)
        shown = rest_of(ours)
        os.close(ours)
        assert process.wait(SECONDS) == 0
    screens = shown.decode().split("\x1b[H\x1b[J")
    assert [screen.splitlines()[0].split("  ")[1] for screen in screens[1:]] == ["1 of 1 members answer"] * 2
    assert db.id in screens[1]

"""members, member remove, health, metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kvstore.cli.exits import USAGE

if TYPE_CHECKING:
    import kvstore

    from .conftest import Run


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

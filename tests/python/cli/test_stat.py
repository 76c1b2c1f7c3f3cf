"""stat: rates over the time that really passed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Dict, Iterator

import pytest

from kvstore.cli.rates import Look, record_of
from kvstore.cli.stat import ticks

if TYPE_CHECKING:
    import kvstore

    from .conftest import Run

STAT = ["stat", "--interval", "20ms"]


def figures(node: kvstore.Node, **changed: float) -> Dict[str, float]:
    """The metrics of a node, some of them as the test wants."""
    return {**node.metrics(), **{f"kvstore_{name}": value for name, value in changed.items()}}


def test_a_rate_is_the_difference_over_the_time_between(db: kvstore.Node) -> None:
    before = Look(10.0, figures(db, keys=500, expired_total=10, group_revision=7, uptime_seconds=100))
    after = Look(12.5, figures(db, keys=400, expired_total=60, group_revision=7, uptime_seconds=102.5))
    record = record_of(before, after)
    assert record["seconds"] == 2.5
    assert (record["keys"], record["keys_per_second"]) == (400, -40.0)
    assert (record["expired_per_second"], record["commits_per_second"]) == (20.0, 0.0)
    assert record["syncs_per_second"] is None


def test_there_is_no_rate_over_a_restart_or_a_count_that_fell(db: kvstore.Node) -> None:
    before = Look(10.0, figures(db, keys=500, expired_total=10, uptime_seconds=100))
    restarted = record_of(before, Look(11.0, figures(db, keys=900, expired_total=90, uptime_seconds=1)))
    assert (restarted["keys"], restarted["keys_per_second"], restarted["expired_per_second"]) == (900, None, None)
    fallen = record_of(before, Look(11.0, figures(db, keys=500, expired_total=9, uptime_seconds=101)))
    assert (fallen["keys_per_second"], fallen["expired_per_second"]) == (0.0, None)


def test_what_peers_lack_is_added_up(db: kvstore.Node) -> None:
    lacking = {'kvstore_peer_unacknowledged{peer="a"}': 3.0, 'kvstore_peer_unacknowledged{peer="b"}': 4.0}
    look = Look(1.0, {**figures(db), **lacking})
    assert record_of(look._replace(at=0.0), look)["behind"] == 7


def test_ticks_end_after_their_count() -> None:
    assert list(ticks(0.001, 3)) == [0, 1, 2]


def test_it_prints_so_many_lines_in_every_format(db: kvstore.Node, run: Run) -> None:
    db.put_many({"a": 1, "b": 2})
    lines = run(*STAT, "--count", "2").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["2", "2"]
    table = run(*STAT, "--count", "21", "-o", "table").stdout.splitlines()
    assert len(table) == 23
    assert table[0] == table[21]
    assert table[0].split()[:3] == ["KEYS", "KEYS/S", "SIZE"]
    (only,) = json.loads(run(*STAT, "--count", "1", "-o", "json").stdout)["stat"]
    assert only["keys"] == 2
    assert only["seconds"] > 0


def test_of_several_targets_it_looks_at_one_that_answers(db: kvstore.Node, run: Run) -> None:
    db.put("a", 1)
    for target in (f"127.0.0.1:1,{db.address}", f"kv://127.0.0.1:1,{db.address}"):
        (line,) = run(*STAT, "-s", target, "--count", "1", "-o", "jsonl").stdout.splitlines()
        assert json.loads(line)["keys"] == 1


def test_nobody_there_is_exit_3(run: Run) -> None:
    assert "127.0.0.1:1" in run(*STAT, "-s", "127.0.0.1:1", "--timeout", "300ms", code=3).stderr


@pytest.fixture
def stat(node: kvstore.Node) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "kvstore", "-s", node.address, *STAT, "-o", "jsonl"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_sees_writes_while_they_happen(db: kvstore.Node, stat: Any) -> None:
    for number, line in enumerate(stat.stdout):
        record = json.loads(line)
        if record["keys_per_second"] > 0:
            break
        db.put(f"stat/{number}", number)
    assert record["keys"] > 0

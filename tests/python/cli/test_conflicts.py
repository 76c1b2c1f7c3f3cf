"""conflicts ls, conflicts restore."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

import kvstore
from kvstore.cli.app import program

from .conftest import runner

if TYPE_CHECKING:
    from click.testing import Result

    Until = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="module")
def loser() -> Iterator[kvstore.Node]:
    """A node that wrote three keys before it met one that wrote them later."""
    pause = threading.Event()
    with kvstore.Node() as first, kvstore.Node() as second:
        first.start()
        second.start()
        for key, value in {"a": "lost\n", "b": 7}.items():
            first.put(key, value)
        first.delete("c")
        # Long enough for the two to meet: what has expired is swept, and then there is nothing to lose.
        first.put("d", "expired", ttl=10)
        # Within one millisecond the greater id would win.
        done = time.time()
        while time.time() < done + 0.005:
            pause.wait(0.001)
        second.put_many({"a": b"won", "c": True, "d": "here"})
        second.delete("b")
        with kvstore.Node(peers=[first.address, second.address]) as third:
            third.start(wait="ready")
            deadline = time.monotonic() + 60
            while first.status().conflicts < 4 or sum(each.connected for each in first.members()) < 3:
                assert time.monotonic() < deadline
                pause.wait(0.01)
            yield first


def run(node: kvstore.Node, *arguments: str, code: int = 0) -> Result:
    result = runner().invoke(program, ["-s", node.address, "conflicts", *arguments])
    shown: Any = (arguments, result.exit_code, result.stdout, result.stderr)
    assert result.exit_code == code, shown
    return result


def test_ls_prints_both_sides_in_every_format(loser: kvstore.Node) -> None:
    lines = [line.split("\t") for line in run(loser, "ls").stdout.splitlines()]
    assert sorted(line[:3] for line in lines) == [
        ["a", "lost\\n", "won"],
        ["b", "7", "(deleted)"],
        ["c", "(deleted)", "true"],
        ["d", "expired", "here"],
    ]
    assert {line[4] for line in lines} == {loser.id}
    assert run(loser, "ls", "-o", "table").stdout.split()[:5] == ["KEY", "LOST", "WON", "WHEN", "WHERE"]
    records = {each["key"]: each for each in map(json.loads, run(loser, "ls", "-o", "jsonl").stdout.splitlines())}
    assert records["a"]["lost"]["value"] == "lost\n"
    assert records["b"]["won"] is None
    assert (records["c"]["lost"], records["c"]["won"]["value"], records["c"]["where"]) == (None, True, loser.id)
    assert len(json.loads(run(loser, "ls", "-o", "json").stdout)["conflicts"]) == len(records)


def test_ls_takes_a_prefix_and_a_time(loser: kvstore.Node) -> None:
    assert run(loser, "ls", "a").stdout.startswith("a\t")
    assert run(loser, "ls", "none").stdout == ""
    assert run(loser, "ls", "a", "--since", "1h").stdout.startswith("a\t")
    assert run(loser, "ls", "--since", "2999-01-01").stdout == ""
    assert "duration" in run(loser, "ls", "--since", "soon", code=2).stderr


def test_restore_writes_what_was_lost(loser: kvstore.Node, until: Until) -> None:
    assert run(loser, "restore", "a").stdout == "1\n"
    assert loser.get("a") == "lost\n"
    assert run(loser, "restore", "none", code=1).stdout == "0\n"
    (conflict,) = loser.conflicts("d")
    assert conflict.lost is not None
    until(lambda: conflict.lost.ttl == 0)
    assert "expired" in run(loser, "restore", "d", code=1).stderr
    assert json.loads(run(loser, "restore", "--all", "-o", "json").stdout) == {"schema": 1, "restored": 3}
    assert [loser.get(key) for key in "abcd"] == ["lost\n", 7, None, "here"]
    run(loser, "restore", code=2)
    run(loser, "restore", "a", "--all", code=2)

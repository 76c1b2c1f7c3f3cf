"""monitor and hotkeys: the calls of a node, while another thread makes some."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterator, List

from kvstore.cli.app import program
from kvstore.cli.monitor import _Counts
from kvstore.monitor import SampledCall, SamplePage

from .conftest import runner

if TYPE_CHECKING:
    from click.testing import Result

    import kvstore

    from .conftest import Run

PAUSE = 0.001
TRIES = 20


@contextlib.contextmanager
def busy(node: kvstore.Node) -> Iterator[None]:
    """Somebody reads one key often and another one seldom."""
    done = threading.Event()

    def read() -> None:
        while not done.wait(PAUSE):
            for key in ("hot", "hot", "hot", "c\told"):
                node.get(key)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()


def test_calls_are_printed_as_they_are_made(db: kvstore.Node, run: Run) -> None:
    db.put("hot", b"12345")
    with busy(db):
        lines = run("monitor", "--sample", "100%", "--limit", "8").stdout.splitlines()
        record = json.loads(run("monitor", "--limit", "1", "-o", "jsonl").stdout)
        table = run("monitor", "--sample", "1000/s", "--limit", "1", "-o", "table").stdout.splitlines()
    assert {tuple(line.split("\t")[:4]) for line in lines} == {
        ("get", "default", "-", "5"),
        ("get", "default", "-", "0"),
    }
    assert {line.split("\t")[5] for line in lines} == {"hot", "c\\told"}
    assert (record["kind"], record["keyspace"], record["schema"]) == ("get", "default", 1)
    assert record["key"] in {"hot", "c\told"}
    assert table[0].split() == ["KIND", "KEYSPACE", "CLIENT", "BYTES", "AGE", "KEY"]
    assert len(table) == 2


def told(result: Result) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = json.loads(result.stdout)["hotkeys"]
    return found


def test_the_hottest_key_comes_first(db: kvstore.Node, run: Run) -> None:
    command = ["-s", db.address, "hotkeys", "--sample", "100%", "-t", "500ms", "-o", "json"]
    with busy(db):
        # On a machine that does something else for half a second hardly anybody has called.
        results = (runner().invoke(program, command) for _ in range(TRIES))
        result = next(result for result in results if sum(key["calls"] for key in told(result)) > 40)
    hot, cold = told(result)
    assert (hot["key"], cold["key"], hot["surplus"]) == ("hot", "c\told", 0)
    assert hot["calls"] > cold["calls"]
    assert hot["per_second"] > 0
    assert 0.5 < hot["share"] < 1
    assert "were looked at" in result.stderr


def test_a_node_that_nobody_calls_has_none(run: Run) -> None:
    shown = run("hotkeys", "-t", "50ms", code=1)
    assert shown.stdout == ""
    assert "--sample 100%" in shown.stderr


def test_what_was_dropped_counts_as_if_it_had_been_the_same() -> None:
    counts = _Counts(top=1)
    counts.add(SamplePage([SampledCall("get", "default", b"k", None, 0, 0.0)] * 10, seen=1000, dropped=90))
    (record,) = counts.records(sample=0.1, seconds=2.0)
    assert (record["calls"], record["per_second"], record["share"]) == (10, 500.0, 1.0)


def test_what_is_no_sample_is_refused(run: Run) -> None:
    for bad in ("0/s", "x/s", "2", "0%"):
        assert "sample" in run("monitor", "--sample", bad, "--limit", "1", code=2).stderr
    assert "share" in run("hotkeys", "--sample", "5/s", code=2).stderr

"""latency: round trips, how they are spread, and writes from node to node."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Callable

import pytest

import kvstore
from kvstore.cli.latency import histogram, quantile

if TYPE_CHECKING:
    from .conftest import Run

    Until = Callable[[Callable[[], bool]], None]


@pytest.mark.parametrize(
    ("values", "fraction", "wanted"),
    [([5.0], 0.0, 5.0), ([5.0], 1.0, 5.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), ([1.0, 2.0, 3.0, 4.0], 0.51, 3.0)],
)
def test_a_quantile_is_one_of_the_values(values: list[float], fraction: float, wanted: float) -> None:
    assert quantile(values, fraction) == wanted


def test_a_histogram_counts_every_value_once_below_its_bound() -> None:
    assert histogram([]) == []
    assert histogram([0.0, 1e-6, 1.5e-6, 7e-6]) == [(1e-6, 2), (2e-6, 1), (4e-6, 0), (8e-6, 1)]


def test_round_trips_are_measured_to_each_target(db: kvstore.Node, run: Run) -> None:
    (target,) = json.loads(run("latency", "-n", "20", "-o", "json").stdout)["targets"]
    assert (target["target"], target["calls"], target["problem"]) == (db.address, 20, None)
    assert 0 < target["min_ms"] <= target["p50_ms"] <= target["p99_ms"] <= target["max_ms"]
    title = run("latency", "-n", "1", "--members", "-o", "table").stdout.splitlines()[0]
    assert title.split()[:2] == ["TARGET", "CALLS"]
    assert list(db.keys()) == []


def test_a_silent_target_is_named_beside_the_others(db: kvstore.Node, run: Run) -> None:
    result = run("latency", "-n", "3", "-s", f"{db.address},127.0.0.1:1", "--timeout", "3s", "-o", "jsonl", code=3)
    good, bad = map(json.loads, result.stdout.splitlines())
    assert (good["calls"], bad["calls"], bad["p50_ms"]) == (3, 0, None)
    assert "127.0.0.1:1" in result.stderr


def test_the_histogram_has_every_call(db: kvstore.Node, run: Run) -> None:
    bars = json.loads(run("latency", "-n", "50", "--hist", "-o", "json").stdout)["histogram"]
    assert sum(bar["calls"] for bar in bars) == 50
    assert math.isclose(sum(bar["share"] for bar in bars), 1.0)
    assert run("latency", "-n", "1", "--hist").stdout.endswith("\t1\t" + "#" * 40 + "\n")
    run("latency", "--hist", "--matrix", code=2)


def test_the_matrix_follows_writes_to_every_member(run: Run, until: Until) -> None:
    with kvstore.Node(0) as first, kvstore.Node(peers=[first.address]) as second:
        second.start(wait="ready")
        until(lambda: all(len(node.members()) == 2 for node in (first, second)))
        addresses = {first.address, second.address}
        measure = ("latency", "--matrix", "-s", first.address, "--timeout", "20s")
        rows = json.loads(run(*measure, "-n", "3", "-o", "json").stdout)["matrix"]
        table = run(*measure, "-n", "1", "-o", "table").stdout.splitlines()
        until(lambda: not [*first.keys(), *second.keys()])
    assert {row["written_at"] for row in rows} == addresses
    for row in rows:
        assert {cell["at"] for cell in row["seen"]} == addresses
        assert all(cell["p50_ms"] > 0 for cell in row["seen"])
    assert set(table[0].split()[2:]) == addresses

from __future__ import annotations

from typing import Any, List

import pytest

import kvstore
import kvstore.bench


def test_a_run_ends_after_its_operations_and_tells_of_them(node: kvstore.Node) -> None:
    seen: List[int] = []
    report = kvstore.bench.run(
        node.address, "mixed", operations=2000, concurrency=8, keys=50, read_percent=50, on_progress=seen.append
    )
    assert report.get is not None
    assert report.put is not None
    assert report.get.operations + report.put.operations == seen[-1] == 2000
    assert report.first_error is None
    assert 0 < report.get.p50_ms <= report.get.p99_ms <= report.get.max_ms
    assert 0 < node.count() <= 50


def test_a_run_ends_after_its_time(node: kvstore.Node) -> None:
    report = kvstore.bench.run(node.address, "get", seconds=0.1, keys=10, preload=True)
    assert report.put is None
    assert report.seconds >= 0.1
    assert node.count() == 10


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "operations, seconds"),
        ({"operations": 1, "seconds": 1}, "operations, seconds"),
        ({"operations": 1, "work": "sing"}, "work"),
        ({"operations": 1, "distribution": "odd"}, "distribution"),
        ({"operations": 1, "concurrency": 0}, "concurrency"),
        ({"operations": 1, "keys": 0}, "keys"),
    ],
)
def test_a_bad_setting_is_named(options: Any, name: str) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=f"^{name}: "):
        kvstore.bench.run("127.0.0.1:1", **options)

"""Fixtures of the tests of what kvstore gives to tests."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from kvstore.testing import LocalCluster


@pytest.fixture
def make() -> Iterator[Callable[..., LocalCluster]]:
    """Makes clusters that are started; they are gone at the end of the test."""
    made: List[LocalCluster] = []

    def make_one(*nodes: int, **settings: Any) -> LocalCluster:
        made.append(LocalCluster(*nodes, **settings))
        # The machine may be busy with other tests.
        return made[-1].start(timeout=60)

    yield make_one
    for cluster in made:
        cluster.stop()


@pytest.fixture(params=["inproc", "process"])
def isolation(request: pytest.FixtureRequest) -> str:
    """What nodes live in: the same promises."""
    return str(request.param)

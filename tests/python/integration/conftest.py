"""Fixtures of the integration tests."""

from __future__ import annotations

from typing import Iterator

import pytest

from .harness import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster without nodes; whatever the test starts is gone at its end."""
    made = Cluster()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    """Three connected nodes, shared by the tests of a module that leave them running."""
    made = Cluster()
    try:
        yield made.start(3)
    finally:
        made.stop()

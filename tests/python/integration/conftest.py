"""Fixtures of the integration tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

from .durable import DurableCluster
from .harness import Cluster

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[DurableCluster]:
    """A cluster of durable nodes, without any yet."""
    made = DurableCluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()

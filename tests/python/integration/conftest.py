"""Fixtures of the integration tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Iterator

import pytest

import kvstore

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


_names = itertools.count()


@pytest.fixture(scope="module")
def host() -> Iterator[kvstore.Node]:
    """A node of this process, shared by the tests of a module that leave it running."""
    with kvstore.Node().start(wait="ready") as node:
        yield node


@pytest.fixture(params=["node", "client"])
def strong(request: pytest.FixtureRequest, host: kvstore.Node) -> Iterator[Any]:
    """A new strong keyspace, in this process and over a socket: the same promises."""
    name = f"test-{next(_names)}"
    view = host.create_keyspace(name, consistency="strong")
    if request.param == "node":
        yield view
    else:
        with kvstore.Client(host.address, name) as client:
            yield client
    host.drop_keyspace(name)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[DurableCluster]:
    """A cluster of durable nodes, without any yet."""
    made = DurableCluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()

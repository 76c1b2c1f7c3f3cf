"""One node of this process for each module; suites bring their own tests."""

from __future__ import annotations

import itertools
from typing import Iterator

import pytest

import kvstore

_names = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """Marks of the suites."""
    config.addinivalue_line("markers", "time_intensive: of dogpile.cache, takes seconds")
    for name in ("etcd", "flaky", "memcached", "mongodb", "redis", "redis_cluster", "redis_sentinel"):
        config.addinivalue_line("markers", f"{name}: of limits, on tests that are not run here or without need")


@pytest.fixture(scope="module")
def host() -> Iterator[kvstore.Node]:
    """A cluster of one node."""
    with kvstore.Node().start(wait="ready") as node:
        yield node


@pytest.fixture
def strong_name(host: kvstore.Node) -> Iterator[str]:
    """A new strong keyspace."""
    name = f"test-{next(_names)}"
    host.create_keyspace(name, consistency="strong")
    yield name
    host.drop_keyspace(name)

"""One node of this process for each module; suites bring their own tests."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from typing import Iterator
from unittest import mock

import pytest

import kvstore

_names = itertools.count()

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def pytest_configure(config: pytest.Config) -> None:
    """Marks of the suites."""
    config.addinivalue_line("markers", "time_intensive: of dogpile.cache, takes seconds")
    for name in ("etcd", "flaky", "memcached", "mongodb", "redis", "redis_cluster", "redis_sentinel"):
        config.addinivalue_line("markers", f"{name}: of limits, on tests that are not run here or without need")


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Consumers of huey and workers of Celery take signals, logging and environment, and do not give them back."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    level, listeners = root.level, list(root.handlers)
    with mock.patch.dict(os.environ):
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.setLevel(level)
    root.handlers[:] = listeners


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

"""The stores that the suite runs over: every engine, by every way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any, Iterator, NamedTuple

import pytest

import kvstore

from .blocking import Blocking

ENGINES = ("eventual", "strong")
# In this process and over a socket, for threads and for tasks.
WAYS = ("node", "client", "async-node", "async-client")
# By which an eventual keyspace with a name is looked at too: it promises what `default` does, so not by all of them.
NAMED_WAYS = ("node", "async-client")

_names = itertools.count()


class Place(NamedTuple):
    """A keyspace of an engine, and the way to it."""

    engine: str
    way: str
    keyspace: str


@pytest.fixture(scope="module")
def host() -> Iterator[kvstore.Node]:
    """A node of this process, shared by the tests of a module that leave it running."""
    with kvstore.Node().start(wait="ready") as node:
        yield node


@contextlib.contextmanager
def empty_keyspace(host: kvstore.Node, engine: str) -> Iterator[str]:
    """The eventual one is `default`; others, and strong ones, are made for each test."""
    if engine == "eventual":
        host.delete_prefix("")
        yield "default"
        return
    name = f"test-{next(_names)}"
    host.create_keyspace(name, consistency="eventual" if engine == "named" else "strong")
    yield name
    host.drop_keyspace(name)


@contextlib.contextmanager
def opened(host: kvstore.Node, place: Place) -> Iterator[Any]:
    """The store of a place."""
    if place.way == "node":
        yield host.keyspace(place.keyspace)
    elif place.way == "client":
        with kvstore.Client(host.address, place.keyspace) as client:
            yield client
    else:
        with _loop() as loop:
            is_local = place.way == "async-node"
            made = host.async_client(place.keyspace) if is_local else kvstore.AsyncClient(host.address, place.keyspace)
            with Blocking(made, loop) as store:
                yield store


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
        # Those that a test has not read to their end.
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _places(*ways: str) -> Any:
    places = [(engine, way) for engine in ENGINES for way in ways]
    return pytest.fixture(params=[*places, *(("named", way) for way in ways if way in NAMED_WAYS)], ids="-".join)


def _engine_of(engine: str) -> str:
    return "eventual" if engine == "named" else engine


@_places(*WAYS)
def place(request: pytest.FixtureRequest, host: kvstore.Node) -> Iterator[Place]:
    """Every engine by every way."""
    engine, way = request.param
    with empty_keyspace(host, engine) as keyspace:
        yield Place(_engine_of(engine), way, keyspace)


@pytest.fixture
def engine(place: Place) -> str:
    """That of the store."""
    return place.engine


@pytest.fixture
def store(host: kvstore.Node, place: Place) -> Iterator[Any]:
    """An empty keyspace. Only calls, as tasks have no operators."""
    with opened(host, place) as store:
        yield store


@pytest.fixture
def another(host: kvstore.Node, place: Place) -> Iterator[Any]:
    """The same keyspace by the same way, as somebody else sees it."""
    with opened(host, place) as store:
        yield store


@_places("node", "client")
def blocking(request: pytest.FixtureRequest, host: kvstore.Node) -> Iterator[Any]:
    """As `store`, for what tasks do not have: operators, threads."""
    engine, way = request.param
    with empty_keyspace(host, engine) as keyspace, opened(host, Place(engine, way, keyspace)) as store:
        yield store


@pytest.fixture(params=[(engine, way) for engine in ("eventual", "named") for way in WAYS], ids="-".join)
def eventual(request: pytest.FixtureRequest, host: kvstore.Node) -> Iterator[Any]:
    """Eventual keyspaces by every way."""
    engine, way = request.param
    with empty_keyspace(host, engine) as keyspace, opened(host, Place("eventual", way, keyspace)) as store:
        yield store

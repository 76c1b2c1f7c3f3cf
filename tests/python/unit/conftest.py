from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import kvstore

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator


@pytest.fixture
def node() -> Iterator[kvstore.Node]:
    with kvstore.Node().start(wait="ready") as node:
        yield node


@pytest.fixture
def client(node: kvstore.Node) -> Iterator[kvstore.Client[Any]]:
    with kvstore.Client(node.address) as client:
        yield client


@pytest.fixture(params=["node", "client"])
def store(request: pytest.FixtureRequest) -> Any:
    """The same promises, in this process and over a socket."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def free_address() -> str:
    """Where nobody listens: the port of a node that was stopped."""
    with kvstore.Node() as node:
        return node.address


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition; fail after ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            pause.wait(0.005)

    return wait

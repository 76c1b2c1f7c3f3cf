from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import kvstore

if TYPE_CHECKING:
    from typing import Any, Iterator


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

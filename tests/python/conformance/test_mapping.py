"""`Map` is a mapping, by the suite of the standard library, and `shelve` works on one."""

from __future__ import annotations

import shelve
from typing import Any, Dict, Iterator

import pytest

import kvstore

mapping_tests = pytest.importorskip("test.mapping_tests", reason="this Python comes without its own test suite")


class MapSuite(mapping_tests.BasicTestMappingProtocol):
    """Over the keyspace of each subclass, by a client; every mapping of a test has a prefix of its own."""

    __test__ = False
    consistency = "eventual"

    @pytest.fixture(autouse=True)
    def _stores(self, host: kvstore.Node, request: pytest.FixtureRequest) -> Iterator[None]:
        name = "default" if self.consistency == "eventual" else request.getfixturevalue("strong_name")
        with kvstore.Client(host.address, name) as client:
            self.store = client
            self.made = 0
            yield
            client.delete_prefix("")

    def _reference(self) -> Dict[Any, Any]:
        """The original has a tuple, which no codec of ours gives back as one."""
        return {"1": "2", "key1": "value1", "key2": [1, 2, 3]}

    def _empty_mapping(self) -> Any:
        self.made += 1
        return self.store.map(f"{self.made}/")


class TestEventualMap(MapSuite):
    __test__ = True


class TestStrongMap(MapSuite):
    __test__ = True
    consistency = "strong"


class TestBytesMap(MapSuite):
    __test__ = True

    def _reference(self) -> Dict[Any, Any]:
        return {b"1": "2", b"key1": "value1", b"key2": [1, 2, 3]}

    def _empty_mapping(self) -> Any:
        self.made += 1
        return self.store.map(f"{self.made}/".encode())

    # The original passes its own str keys.
    test_update = None


class TestShelf(MapSuite):
    """As shelve has a dbm: bytes in, bytes out. What it stores is a pickle, by its own contract."""

    __test__ = True
    consistency = "strong"

    def _reference(self) -> Dict[Any, Any]:
        return {"key1": "value1", "key2": 2, "key3": (1, 2, 3)}

    def _empty_mapping(self) -> Any:
        self.made += 1
        return shelve.Shelf(self.store.with_options(codec=kvstore.BYTES).map(f"{self.made}/".encode()))


def test_a_shelf_is_there_for_the_next_one(host: kvstore.Node) -> None:
    raw = host.with_options(codec=kvstore.BYTES).map(b"shelf/")
    with shelve.Shelf(raw, writeback=True) as shelf:
        shelf["list"] = [1]
        shelf["list"].append((2, 3))
    with shelve.Shelf(raw) as shelf:
        assert dict(shelf) == {"list": [1, (2, 3)]}
    assert list(host.map("shelf/")) == ["list"]

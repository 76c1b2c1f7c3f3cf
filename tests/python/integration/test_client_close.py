"""A client that is closed leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import kvstore

from .harness import eventually

CLIENTS = 40
SPARE_DESCRIPTORS = 10


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows")
def test_closed_clients_close_their_connections() -> None:
    with kvstore.Node() as node:
        jobs = node.create_keyspace("jobs", consistency="strong")
        with kvstore.Client(node.address) as first:
            first.put("k", 1)
        before = open_descriptors()
        for number in range(CLIENTS):
            with kvstore.Client(node.address) as client:
                assert client.get("k") == 1
                client.status()
                client.keyspace("jobs").put("k", number)
        eventually(
            lambda: open_descriptors() <= before + SPARE_DESCRIPTORS,
            f"{CLIENTS} closed clients leave no connection",
        )
        assert jobs.get("k") == CLIENTS - 1

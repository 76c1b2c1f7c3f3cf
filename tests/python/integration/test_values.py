"""Values and batches at their bounds, over the wire."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import kvstore

if TYPE_CHECKING:
    from .harness import Cluster

KIB = 1024
MIB = 1024 * KIB


def test_a_value_of_exactly_one_mebibyte_passes_and_is_replicated(trio: Cluster) -> None:
    value = os.urandom(MIB)
    with trio.client(0) as client:
        client.put("big/edge", value)
        assert client.get("big/edge") == value
    trio.wait_value(2, "big/edge", value)


def test_one_byte_more_is_refused_by_name_and_changes_nothing(trio: Cluster) -> None:
    with trio.client(0) as client:
        client.put("big/over", "small")
        with pytest.raises(kvstore.LimitError, match=r"value.*1048577.*1048576"):
            client.put("big/over", b"x" * (MIB + 1))
        assert client.get("big/over") == "small"


def test_a_batch_passes_up_to_four_mebibytes_and_4096_operations(trio: Cluster) -> None:
    with trio.client(0) as client:
        edge = {f"batch/{number}": b"x" * (MIB - len(f"batch/{number}")) for number in range(4)}
        client.put_many(edge)
        assert client.get_many(edge) == edge
        many = {f"many/{number}": number for number in range(4096)}
        client.put_many(many)
        assert client.get_many(many) == many
    trio.wait_equal()


def test_a_batch_over_its_bounds_is_refused_by_name_and_changes_nothing(trio: Cluster) -> None:
    with trio.client(0) as client:
        with pytest.raises(kvstore.LimitError, match="batch"):
            client.put_many({f"over/{number}": b"x" * MIB for number in range(4)})
        with pytest.raises(kvstore.LimitError, match="batch"):
            client.put_many({f"over/{number}": 1 for number in range(4097)})
        assert client.count("over/") == 0


def test_scans_page_through_large_values(trio: Cluster) -> None:
    with trio.client(2) as client:
        for number in range(12):
            client.put(f"pages/{number:02}", bytes([number]) * MIB)
        assert [entry.value[0] for entry in client.scan("pages/")] == list(range(12))
        assert [entry.key for entry in client.scan("pages/", reverse=True, limit=2)] == ["pages/11", "pages/10"]

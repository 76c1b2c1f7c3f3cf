"""Writes reach every node, whichever took them."""

from __future__ import annotations

from .harness import Cluster, eventually


def test_a_put_reaches_every_node(trio: Cluster) -> None:
    with trio.client(0) as client:
        version = client.put("put/k", {"name": "Ada", "age": 36})
    for index in range(3):
        trio.wait_value(index, "put/k", {"name": "Ada", "age": 36})
        with trio.client(index) as client:
            entry = client.entry("put/k")
            assert entry is not None
            assert entry.version == version


def test_any_node_takes_writes_and_all_become_equal(trio: Cluster) -> None:
    for index in range(3):
        with trio.client(index) as client:
            client.put_many({f"any/{index}/{number}": number for number in range(500)})
    trio.wait_equal()
    with trio.client(1) as client:
        assert client.count("any/") == 1500


def test_a_delete_reaches_every_node_and_stays(trio: Cluster) -> None:
    with trio.client(0) as client:
        client.put("delete/k", "here")
    trio.wait_value(2, "delete/k", "here")
    with trio.client(2) as client:
        assert client.delete("delete/k")
    for index in range(3):
        trio.wait_value(index, "delete/k", None)
    trio.wait_equal()


def test_the_last_writer_wins_on_every_node(trio: Cluster) -> None:
    for round_number in range(6):
        writer = round_number % 3
        with trio.client(writer) as client:
            client.put("last/k", round_number)
        for index in range(3):
            trio.wait_value(index, "last/k", round_number)
    trio.wait_equal()


def test_a_ttl_is_replicated_and_every_node_hides_the_key_afterwards(trio: Cluster) -> None:
    with trio.client(0) as client:
        client.put("ttl/k", "long", ttl=3600)
        expires = client.entry("ttl/k").expires
    for index in (1, 2):
        with trio.client(index) as client:
            entry = eventually(lambda: client.entry("ttl/k"), "the entry arrives")
            assert entry.expires == expires
    # Another one, since nobody can tell how long the first would have to live to be seen everywhere.
    with trio.client(0) as client:
        client.put("ttl/k", "short", ttl=0.5)
    for index in range(3):
        trio.wait_value(index, "ttl/k", None)
        with trio.client(index) as client:
            assert not client.exists("ttl/k")
            assert list(client.keys("ttl/")) == []


def test_touch_is_replicated(trio: Cluster) -> None:
    with trio.client(0) as client:
        client.put("touch/k", "v", ttl=1000)
        assert client.touch("touch/k", None)
    for index in range(3):
        with trio.client(index) as client:
            eventually(lambda: client.exists("touch/k") and client.entry("touch/k").expires is None, "no expiry")


def test_no_conflict_is_counted_when_nobody_raced(trio: Cluster) -> None:
    for index in range(3):
        with trio.client(index) as client:
            client.put(f"calm/{index}", index)
    trio.wait_equal()
    for index in range(3):
        with trio.client(index) as client:
            assert client.status().conflicts == 0

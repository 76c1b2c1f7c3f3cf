"""What an eventual keyspace does not promise, in one place; and how stores end."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict

import pytest

import kvstore

from .conftest import NAMED_WAYS, Place, empty_keyspace


class GrantedLease(kvstore.Lease):
    """Of some strong keyspace."""

    id = 1


LEASE = object.__new__(GrantedLease)

# Every call and option that takes a strong keyspace. Nothing weaker is done instead.
STRONG_ONLY: Dict[str, Callable[[Any], Any]] = {
    "put(if_absent)": lambda db: db.put("k", 1, if_absent=True),
    "put(if_version)": lambda db: db.put("k", 1, if_version=1),
    "put(lease)": lambda db: db.put("k", 1, lease=LEASE),
    "add": lambda db: db.add("k", 1),
    "incr": lambda db: db.incr("k"),
    "update": lambda db: db.update("k", lambda _: 1),
    "transact": lambda db: db.transact(lambda txn: txn.put("k", 1)),
    "batch(atomic)": lambda db: db.batch(atomic=True),
    "batch.incr": lambda db: db.batch().__enter__().incr("k"),
    "batch.require": lambda db: db.batch().__enter__().require("k", absent=True),
    "delete(if_version)": lambda db: db.delete("there", if_version=1),
    "lease": lambda db: db.lease(1),
    "find_lease": lambda db: db.find_lease(1),
    "leases": lambda db: db.leases(),
    "lock": lambda db: db.lock("k"),
    "election": lambda db: db.election("k"),
    "get(linearizable)": lambda db: db.get("there", read="linearizable"),
    "entry(linearizable)": lambda db: db.entry("there", read=kvstore.ReadLevel.LINEARIZABLE),
    "get_many(linearizable)": lambda db: db.get_many(["there"], read="linearizable"),
    "exists(linearizable)": lambda db: db.exists("there", read="linearizable"),
    "count(linearizable)": lambda db: db.count(read="linearizable"),
    "scan(linearizable)": lambda db: db.scan(read="linearizable"),
    "keys(linearizable)": lambda db: db.keys(read="linearizable"),
    "with_options(linearizable)": lambda db: db.with_options(read="linearizable"),
}


@pytest.mark.parametrize("name", STRONG_ONLY)
def test_an_eventual_keyspace_refuses_what_it_cannot_promise_before_anything_is_written(
    eventual: Any, name: str
) -> None:
    eventual.put("there", 1)
    with pytest.raises(kvstore.UnsupportedError) as caught:
        STRONG_ONLY[name](eventual)
    error = caught.value
    assert (error.kind, error.code, error.retryable, error.maybe_applied) == (
        "Unsupported",
        "UNSUPPORTED",
        False,
        False,
    )
    assert isinstance(error, NotImplementedError)
    assert {entry.key: entry.value for entry in eventual.scan()} == {"there": 1}


@pytest.mark.parametrize("name", [name for name in STRONG_ONLY if not name.startswith(("put(", "delete(", "find"))])
def test_a_strong_keyspace_takes_all_of_it(host: kvstore.Node, name: str) -> None:
    with empty_keyspace(host, "strong") as keyspace:
        # Those with a version or a lease need one that is real: see the tests of strong keyspaces.
        made = STRONG_ONLY[name](host.keyspace(keyspace))
        if isinstance(made, kvstore.Lease):
            made.revoke()


def test_a_client_of_the_eventual_keyspace_can_only_be_asked_for_what_it_promises(host: kvstore.Node) -> None:
    async def ask() -> None:
        async with kvstore.AsyncClient(host.address, read="linearizable") as client:
            await client.get("k")

    # What `default` promises is known once it was asked.
    with kvstore.Client(host.address, read="linearizable") as client, pytest.raises(kvstore.UnsupportedError):
        client.get("k")
    with pytest.raises(kvstore.UnsupportedError):
        asyncio.run(ask())


def test_a_strong_keyspace_refuses_to_restore(host: kvstore.Node) -> None:
    lost = kvstore.Entry(b"k", 1, 1, 2, 1)
    conflict = kvstore.Conflict(b"k", lost, None, 1, host.id, b"\x01" + bytes(7))
    with empty_keyspace(host, "strong") as keyspace:
        with pytest.raises(kvstore.UnsupportedError):
            host.keyspace(keyspace).restore(conflict)
        assert host.keyspace(keyspace).count() == 0


@pytest.mark.parametrize("engine", ["eventual", "strong"])
def test_a_closed_client_says_so(host: kvstore.Node, engine: str) -> None:
    with empty_keyspace(host, engine) as keyspace:
        client: kvstore.Client[Any] = kvstore.Client(host.address, keyspace)
        client.put("k", 1)
        view = client.with_options(timeout=1)
        client.close()
        client.close()
        calls = [
            lambda: client.get("k"),
            lambda: client.put("k", 2),
            lambda: client.delete("k"),
            client.count,
            lambda: list(client.scan()),
            client.watch,
            client.ping,
            lambda: view.get("k"),
        ]
        for call in calls:
            with pytest.raises(kvstore.ClosedError) as caught:
                call()
            assert (caught.value.code, caught.value.maybe_applied) == ("CLIENT_CLOSED", False)
        assert host.keyspace(keyspace).get("k") == 1


@pytest.mark.parametrize("engine", ["eventual", "strong"])
def test_a_closed_asynchronous_client_says_so(host: kvstore.Node, engine: str) -> None:
    async def main(keyspace: str) -> None:
        db: kvstore.AsyncClient[Any] = kvstore.AsyncClient(host.address, keyspace)
        await db.put("k", 1)
        await db.aclose()
        await db.aclose()
        for call in (db.get("k"), db.put("k", 2), db.count(), db.ping()):
            with pytest.raises(kvstore.ClosedError):
                await call

    with empty_keyspace(host, engine) as keyspace:
        asyncio.run(main(keyspace))


@pytest.mark.parametrize("engine", ["eventual", "strong"])
def test_a_stopped_node_says_so(engine: str) -> None:
    with kvstore.Node().start(wait="ready") as node, empty_keyspace(node, "eventual"):
        store: Any = node if engine == "eventual" else node.create_keyspace("jobs", consistency="strong")
        store["k"] = 1
    for call in (lambda: store.get("k"), lambda: store.put("k", 1), store.count, store.watch):
        with pytest.raises(kvstore.ClosedError):
            call()


def test_every_place_is_looked_at(place: Place) -> None:
    """The suite itself: what it says of a store is true."""
    assert place.keyspace == "default" or place.engine == "strong" or place.way in NAMED_WAYS

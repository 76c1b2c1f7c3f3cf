"""How often a client tries a call, and what it calls itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

import pytest

import kvstore
from kvstore import AsyncClient, Client, InvalidArgumentError, KVError, Retry, UnavailableError
from kvstore._options import DEFAULT
from kvstore.calls import requests_of


@pytest.mark.parametrize(
    "retry",
    [
        3,
        (1, 0.1, 1.0, 0.5, "safe"),
        Retry(attempts=-1),
        Retry(attempts=True),
        Retry(attempts=1.5),  # type: ignore[arg-type]
        Retry(first=0),
        Retry(first=2, cap=1),
        Retry(first=float("nan")),
        Retry(cap=float("inf")),
        Retry(first="1"),  # type: ignore[arg-type]
        Retry(jitter=1.1),
        Retry(jitter=-0.1),
        Retry(writes="sometimes"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_is_no_retry_is_named(retry: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^retry: "):
        Client("h:1", retry=retry)


# Without a bound of their own these calls would wait for ever.
@pytest.mark.parametrize("retry", [None, Retry(attempts=1), Retry(attempts=3, first=0.001, cap=0.002, jitter=0)])
def test_a_call_is_tried_as_often_as_it_may_be(free_address: str, retry: Any) -> None:
    for keyspace in ("default", "jobs"):
        with Client([free_address, free_address], keyspace, timeout=None, retry=retry) as client:
            for call in (lambda: client.put("k", 1), lambda: client.get("k"), client.ping, client.status):
                with pytest.raises(UnavailableError) as caught:
                    call()
                assert (caught.value.code, caught.value.maybe_applied) == ("UNREACHABLE", False)
                assert caught.value.retryable


def test_an_asynchronous_call_is_tried_as_often_as_it_may_be(free_address: str) -> None:
    async def main() -> None:
        async with kvstore.AsyncClient(free_address, timeout=None, retry=None) as db:
            with pytest.raises(UnavailableError):
                await db.get("k")

    asyncio.run(main())


def test_a_client_that_never_retries_finds_the_node_that_is_there(node: kvstore.Node, free_address: str) -> None:
    with Client([free_address, node.address], retry=None) as client:
        client["k"] = 1
        assert client.get("k") == 1
        assert client.ping() > 0
        strong = client.create_keyspace("jobs", consistency="strong")
        assert strong.incr("n") == 1


def test_a_url_has_all_options(free_address: str) -> None:
    with Client(f"kv://{free_address}?timeout=none&retry=none&name=web-1") as client:
        for copy in (client, pickle.loads(pickle.dumps(client))):
            with pytest.raises(UnavailableError):
                copy.get("k")
            copy.close()
    with Client(f"kv://{free_address}?timeout=none", retry=Retry(attempts=1)) as client, pytest.raises(
        UnavailableError
    ):
        client.get("k")


NAMED = """
import kvstore
with kvstore.Node(log="stderr") as node, kvstore.Client(node.address, name="nightly report") as client:
    client["k"] = 1
"""


def test_a_node_writes_the_name_of_a_client_to_its_log() -> None:
    run = subprocess.run([sys.executable, "-c", NAMED], stderr=subprocess.PIPE, check=True)
    assert b"a client has come name=nightly report" in run.stderr


@pytest.mark.parametrize("name", ["", " web", "a\nb", "gr\u00fcn", "n" * 65])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^name: "):
        Client("h:1", name=name)
    with pytest.raises(InvalidArgumentError, match=r"^name: "):
        kvstore.AsyncClient("h:1", name=name)


# What an unknown keyspace is has to be asked first. Were the timeout of the call not that of the question, these would
# take the 20 seconds of the client, twice.
CONDITIONAL: Dict[str, Callable[[Any], Any]] = {
    "put(if_absent)": lambda db: db.put("k", 1, if_absent=True, timeout=0.1),
    "put(if_version)": lambda db: db.put("k", 1, if_version=1, timeout=0.1),
    "put_many": lambda db: db.put_many({str(number): 1 for number in range(5000)}, timeout=0.1),
    "delete": lambda db: db.delete("k", if_version=1, timeout=0.1),
    "add": lambda db: db.add("k", 1, timeout=0.1),
    "incr": lambda db: db.with_options(timeout=0.1).incr("k"),
    "delete_many": lambda db: db.with_options(timeout=0.1).delete_many(str(number) for number in range(5000)),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_timeout_of_a_call_is_that_of_the_question_before_it(free_address: str, name: str) -> None:
    async def main() -> None:
        async with AsyncClient(free_address, "jobs", timeout=20) as db:
            await CONDITIONAL[name](db)

    begun = time.monotonic()
    with Client(free_address, "jobs", timeout=20) as client, pytest.raises(KVError):
        CONDITIONAL[name](client)
    with pytest.raises(KVError):
        asyncio.run(main())
    assert time.monotonic() - begun < 18


class Slow(kvstore.Store[Any]):
    """A store of a keyspace that turns out to be strong, by a clock of its own."""

    def __init__(self) -> None:
        self._requests = requests_of("jobs")
        self.now = 1000.0
        self.timeouts: List[Any] = []

    def monotonic(self) -> float:
        return self.now

    def _run(self, request: Any, timeout: Any = DEFAULT, read: Any = DEFAULT) -> Any:
        self.timeouts.append(timeout)
        self.now += 3

    def _consistency(self, keyspace: str, /) -> Any:
        return "strong" if self.timeouts else None


@pytest.mark.parametrize(
    ("timeout", "left"), [(10, 7.0), (dt.timedelta(seconds=5), 2.0), (2, 0.0), (None, None), (DEFAULT, DEFAULT)]
)
def test_a_call_has_what_the_question_left_of_its_timeout(
    monkeypatch: pytest.MonkeyPatch, timeout: Any, left: Any
) -> None:
    calls: List[Callable[[Any], Any]] = [
        lambda db: db.put("k", 1, if_absent=True, timeout=timeout),
        lambda db: db.delete("k", if_version=1, timeout=timeout),
        lambda db: db.add("k", 1, timeout=timeout),
        lambda db: db.with_options(timeout=timeout).put("k", 1, if_version=1),
        lambda db: db.with_options(timeout=timeout).incr("k"),
    ]
    for call in calls:
        store = Slow()
        for module in ("calls", "_options"):
            monkeypatch.setattr(f"kvstore.{module}.time", store)
        call(store)
        assert store.timeouts == [timeout, left]
        # Nobody is asked twice.
        call(store)
        assert store.timeouts == [timeout, left, timeout]

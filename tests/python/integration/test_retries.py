"""What becomes of a write whose answer gets lost, by what the client was told about retries."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator

import pytest

import kvstore
from kvstore import Retry

from .harness import eventually
from .proxy import Proxy


@pytest.fixture
def proxy(host: kvstore.Node) -> Iterator[Proxy]:
    """A way to the host that can be cut."""
    made = Proxy()
    made.target = host.port
    yield made
    made.close()


def with_its_answer_lost(proxy: Proxy, call: Callable[[], Any], is_applied: Callable[[], bool]) -> Any:
    """Make a call that is done, and whose answer never comes; what the caller gets in the end."""
    proxy.mute()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(call)
        eventually(is_applied, "the node has done it")
        proxy.cut()
        proxy.heal()
        return outcome.result()


@contextlib.contextmanager
def connected(proxy: Proxy, keyspace: str, retry: Any) -> Iterator[kvstore.Client[Any]]:
    """A client whose connection to the keyspace stands."""
    with kvstore.Client(proxy.address, keyspace, timeout=20, retry=retry) as client:
        client.put("connected", 1)
        yield client


@pytest.mark.parametrize("retry", [Retry(), Retry(writes="never"), None], ids=repr)
def test_a_write_that_could_happen_twice_is_not_sent_again(host: kvstore.Node, proxy: Proxy, retry: Any) -> None:
    host.delete("k")
    with connected(proxy, "default", retry) as client:
        with pytest.raises(kvstore.UnavailableError) as caught:
            with_its_answer_lost(proxy, lambda: client.put("k", 1), lambda: host.exists("k"))
        assert (caught.value.code, caught.value.maybe_applied) == ("CONNECTION_LOST", True)
        version = host.entry("k").version
        assert host["k"] == 1
    assert host.entry("k").version == version


def test_it_is_sent_again_for_who_says_so(host: kvstore.Node, proxy: Proxy) -> None:
    host.delete("k")
    with connected(proxy, "default", Retry(writes="always")) as client:
        versions = []

        def is_applied() -> bool:
            entry = host.entry("k")
            if entry is not None:
                versions.append(entry.version)
            return entry is not None

        version = with_its_answer_lost(proxy, lambda: client.put("k", 1), is_applied)
        assert version == host.entry("k").version
        assert version > versions[0]


def test_a_write_that_is_recognised_is_sent_again_and_happens_once(strong: Any, proxy: Proxy) -> None:
    keyspace = strong.info().name
    with connected(proxy, keyspace, Retry()) as client:
        assert with_its_answer_lost(proxy, lambda: client.incr("n"), lambda: strong.get("n") == 1) == 1
        assert strong["n"] == 1


@pytest.mark.parametrize("retry", [Retry(writes="never"), None], ids=repr)
def test_not_even_that_is_sent_again_for_who_says_so(strong: Any, proxy: Proxy, retry: Any) -> None:
    keyspace = strong.info().name
    with connected(proxy, keyspace, retry) as client:
        # A slow machine may give the try up before the connection is cut.
        with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)) as caught:
            with_its_answer_lost(proxy, lambda: client.incr("n"), lambda: strong.get("n") == 1)
        assert caught.value.maybe_applied
    assert strong.incr("n") == 2

"""Watches on one node, in this process and over a socket, for threads and tasks."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import types
from typing import Any, List, Tuple

import pytest

import kvstore
from kvstore.watch import AsyncWatch

SECONDS = 60


def shown(event: Any) -> Tuple[str, str, Any]:
    return event.type, event.key, None if event.entry is None else event.entry.value


def take(watch: kvstore.Watch[Any], count: int) -> List[Tuple[str, str, Any]]:
    events = []
    for _ in range(count):
        event = watch.next(SECONDS)
        assert event is not None, events
        events.append(shown(event))
    return events


def test_every_position_resumes_after_its_event(store: Any) -> None:
    with store.watch() as watch:
        start = watch.position
        store.put_many({f"k{number}": number for number in range(100)})
        events = [watch.next(SECONDS) for _ in range(100)]
        assert watch.position == events[-1].position or len(watch.position) >= len(events[-1].position)
    assert len({event.position for event in events} | {start}) == 101
    for passed in (0, 1, 50, 99):
        since = start if passed == 0 else events[passed - 1].position
        with store.watch(since=since) as watch:
            rest = {watch.next(SECONDS).key for _ in range(100 - passed)}
            assert rest == {event.key for event in events[passed:]}
            assert watch.next(0.01) is None


def test_a_slow_watcher_sees_every_final_value(store: Any) -> None:
    with store.watch(buffer=1) as watch:
        for turn in range(30):
            store.put_many({f"k{number}": [turn, number] for number in range(500)})
        store.put("end", 1)
        final = {}
        versions = {}
        while "end" not in final or len(final) < 501 or any(final[f"k{n}"] != [29, n] for n in range(500)):
            event = watch.next(SECONDS)
            assert event is not None
            assert event.version > versions.get(event.key, 0)
            final[event.key], versions[event.key] = event.entry.value, event.version


def test_closing_the_client_or_the_node_ends_its_watches() -> None:
    with kvstore.Node() as node:
        client: kvstore.Client[Any] = kvstore.Client(node.address)
        remote, local = client.watch(), node.watch()
        client.close()
        with pytest.raises(kvstore.ClosedError):
            remote.next(SECONDS)
        with pytest.raises(kvstore.ClosedError):
            client.watch()
    with pytest.raises(kvstore.ClosedError):
        local.next(SECONDS)


def test_nobody_there_is_unavailable(free_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.watch._BEGIN_SECONDS", 0.2)
    with kvstore.Client(free_address) as client, pytest.raises(kvstore.UnavailableError):
        client.watch()


def test_ctrl_c_ends_a_wait(store: Any) -> None:
    with store.watch() as watch:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

        def wait() -> None:
            # Together, so that a busy machine may take its time between the two.
            timer.start()
            watch.next(SECONDS)

        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
        store.put("a", 1)
        assert take(watch, 1) == [("put", "a", 1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_watch_of_the_parent_is_refused_in_a_child(store: Any) -> None:
    watch = store.watch()
    child = os.fork()
    if child == 0:
        try:
            watch.next(0)
        except kvstore.ForkedError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
    watch.cancel()


def test_a_watch_is_no_value_and_its_events_show_themselves(store: Any) -> None:
    with store.watch() as watch:
        with pytest.raises(TypeError):
            pickle.dumps(watch)
        store.put("a", "x")
        event = watch.next(SECONDS)
        assert repr(event) == f"Event(type='put', key='a', version={event.version}, value='x')"
        assert (event.revision, event.previous, event.key_bytes) == (None, None, b"a")


class Told:
    """Stands in for what the native module tells: events and errors, in this order."""

    begun = True
    inside = False

    def __init__(self, *outcomes: Any) -> None:
        self.left = list(outcomes)
        self.position = b"start"

    def take(self, _: Any) -> Any:
        outcome = self.left[0]
        if not isinstance(outcome, kvstore.ClosedError):
            # The end of a watch is told again and again.
            self.left.pop(0)
            self.position = str(len(self.left)).encode()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize(
    "error",
    [
        kvstore.CodecError("c"),
        kvstore.CompactedError("c"),
        kvstore.InvalidArgumentError("c", code="UNKNOWN_KEYSPACE"),
        kvstore.ClosedError("c"),
        ValueError("of a codec"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_after_the_batch_before_it(error: Exception) -> None:
    async def main() -> None:
        watch = AsyncWatch[Any](Told(*told), None)  # type: ignore[arg-type]
        batches = watch.batches()
        assert await batches.__anext__() == [first, second]
        assert watch.position == b"2nd"
        with pytest.raises(type(error)):
            await batches.__anext__()

    first, second = (types.SimpleNamespace(position=position) for position in (b"1st", b"2nd"))
    told = (first, second, error, second)
    for take_next in (lambda watch: next(watch.batches()), lambda watch: watch.next()):
        watch = kvstore.Watch[Any](Told(*told), None)  # type: ignore[arg-type]
        assert next(watch.batches()) == [first, second]
        assert watch.position == b"2nd"
        with pytest.raises(type(error)):
            take_next(watch)
        if not isinstance(error, kvstore.ClosedError):
            assert watch.position != b"2nd"
            assert watch.next() is second
    asyncio.run(main())


@pytest.mark.parametrize("local", [True, False])
def test_tasks_watch_too(node: kvstore.Node, local: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        async with node.async_client() if local else kvstore.AsyncClient(node.address) as db:
            async with db.watch(prefix="k") as watch:
                await db.put("k1", 1)
                event = await watch.next(SECONDS)
                assert event is not None
                assert shown(event) == ("put", "k1", 1)
                assert await watch.next(0.01) is None
                # A wait that was cancelled has taken nothing.
                waiting = asyncio.ensure_future(watch.next())
                await asyncio.sleep(0)
                waiting.cancel()
                await db.put_many({"k2": 2, "k3": 3})
                found = set()
                async for event in watch:
                    found.add(shown(event))
                    if len(found) == 2:
                        break
                assert found == {("put", "k2", 2), ("put", "k3", 3)}
                await db.delete("k1")
                async for batch in watch.batches():
                    assert [shown(event) for event in batch] == [("delete", "k1", None)]
                    break
                position = watch.position
            await db.put("k4", 4)
            resumed = db.watch(prefix="k", since=position)
            event = await resumed.next(SECONDS)
            assert event is not None
            assert shown(event) == ("put", "k4", 4)
            asyncio.get_running_loop().call_later(0.01, resumed.cancel)
            assert [event async for event in resumed] == []

    asyncio.run(main())

"""Watches over nodes that are killed and restarted, and over slow readers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Dict, List, Optional

import pytest

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually

KEYS = 200


class Writer(threading.Thread):
    """Puts and deletes through a node that is never killed, until it is told to stop."""

    def __init__(self, cluster: Cluster, node: int) -> None:
        super().__init__()
        self._client = cluster.client(node)
        self._stop_now = threading.Event()
        self._node = node
        self.turns = 0

    def run(self) -> None:
        """In turns over all keys, so that each is written again and again."""
        with self._client as client:
            while not self._stop_now.is_set():
                self.turns += 1
                client.put_many({f"watched/{key}": [self._node, self.turns, key] for key in range(KEYS)})
                client.delete_many(f"watched/{key}" for key in range(self.turns % 7, KEYS, 7))

    def stop(self) -> None:
        """Return when the last write is done."""
        self._stop_now.set()
        self.join()


class Seen:
    """What a watcher was shown, with the laws that hold at each event."""

    def __init__(self) -> None:
        self.values: Dict[str, Any] = {}
        self.versions: Dict[str, int] = {}
        self.positions: List[bytes] = []

    def see(self, event: Any) -> None:
        """Take an event in."""
        assert event.version >= self.versions.get(event.key, 0), f"{event} goes back"
        self.versions[event.key] = event.version
        self.positions.append(event.position)
        if event.entry is None:
            self.values.pop(event.key, None)
        else:
            self.values[event.key] = event.entry.value

    def check(self, expected: Dict[str, Any]) -> None:
        """Compare with what the cluster holds."""
        assert len(set(self.positions)) == len(self.positions), "a position repeats"
        assert self.values == expected


def watch_until(over: threading.Event, client: kvstore.Client[Any], seen: Seen, errors: List[BaseException]) -> None:
    """See what there is until it is over, and then what comes too much."""
    try:
        with client.watch(initial=True) as watch:
            while True:
                is_over = over.is_set()
                event = watch.next(2 if is_over else 0.1)
                if event is not None:
                    seen.see(event)
                elif is_over:
                    return
    except BaseException as error:  # noqa: BLE001  # the test raises it
        errors.append(error)


def held(cluster: Cluster, index: int) -> Dict[str, Any]:
    with cluster.client(index) as client:
        return {entry.key: entry.value for entry in client.scan("watched/")}


@pytest.mark.timeout(120)
def test_a_watch_over_kill_and_restart_of_its_node_misses_and_repeats_nothing(cluster: Cluster) -> None:
    cluster.start(3)
    writers = [Writer(cluster, 1), Writer(cluster, 2)]
    seen, errors, over = Seen(), [], threading.Event()  # type: ignore[var-annotated]
    # The first target is the one that dies.
    with kvstore.Client([cluster.address(0), cluster.address(1)], discover=False) as client:
        watcher = threading.Thread(target=watch_until, args=(over, client, seen, errors))
        watcher.start()
        for writer in writers:
            writer.start()
        for _ in range(2):
            before = len(seen.positions)
            eventually(lambda: len(seen.positions) > before + 2000 or errors, "events come")  # noqa: B023
            cluster.kill(0)
            before = len(seen.positions)
            eventually(lambda: len(seen.positions) > before + 500 or errors, "the watch goes on elsewhere")  # noqa: B023
            cluster.restart(0)
            cluster.wait_connected()
        for writer in writers:
            writer.stop()
        cluster.wait_equal()
        final = held(cluster, 1)
        # Each partition is told of by itself, and how long that takes is up to the machine.
        eventually(lambda: dict(seen.values) == final or errors, "the watch has shown all that there is")
        over.set()
        watcher.join(DEADLINE_SECONDS * 2)
        assert not watcher.is_alive()
    assert not errors, errors
    seen.check(final)


def test_a_watch_with_one_target_waits_until_that_is_back(cluster: Cluster) -> None:
    cluster.start(3)
    with cluster.client(0) as client, cluster.client(1) as other, client.watch() as watch:
        client.put("a", 1)
        first = watch.next(DEADLINE_SECONDS)
        assert first is not None
        assert first.key == "a"
        # An event that is shown has reached one of the others: that which is to delete the key has to have it.
        cluster.wait_value(1, "a", 1)
        cluster.kill(0)
        other.put("b", 2)
        other.delete("a")
        assert watch.next(0.2) is None
        cluster.restart(0)
        found = {event.key: event.type for event in (watch.next(DEADLINE_SECONDS) for _ in range(2)) if event}
        assert found == {"a": "delete", "b": "put"}
        assert watch.next(1.5) is None


def test_a_stored_position_is_good_at_another_node(trio: Cluster) -> None:
    with trio.client(0) as client, client.watch(prefix="pos/") as watch:
        client.put_many({f"pos/{number}": number for number in range(10)})
        events = [watch.next(DEADLINE_SECONDS) for _ in range(10)]
    assert all(events)
    position: Optional[bytes] = events[4].position if events[4] else None
    with trio.client(2) as client, client.watch(prefix="pos/", since=position) as watch:
        rest = [watch.next(DEADLINE_SECONDS) for _ in range(5)]
        assert {event.key for event in rest if event} == {event.key for event in events[5:] if event}
        assert watch.next(0.1) is None


def test_an_event_shown_has_reached_another_node(trio: Cluster) -> None:
    with trio.client(0) as client, trio.client(1) as one, trio.client(2) as two, client.watch("shown") as watch:
        for number in range(50):
            client.put("shown", number)
            event = watch.next(DEADLINE_SECONDS)
            assert event is not None
            assert event.entry is not None
            assert number in (one.get("shown"), two.get("shown"))


def test_tasks_watch_over_a_lost_node(cluster: Cluster) -> None:
    cluster.start(3)

    async def main() -> None:
        targets = [cluster.address(0), cluster.address(1)]
        async with kvstore.AsyncClient(targets, discover=False) as db, db.watch(prefix="task/") as watch:
            await db.put("task/1", 1)
            event = await watch.next(DEADLINE_SECONDS)
            assert event is not None
            cluster.kill(0)
            with cluster.client(2) as other:
                other.put("task/2", 2)
            event = await watch.next(DEADLINE_SECONDS)
            assert event is not None
            assert (event.key, event.type) == ("task/2", "put")
            assert await watch.next(0.2) is None

    asyncio.run(main())

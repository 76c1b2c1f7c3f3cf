"""Watches of strong keyspaces: every write once, in the order of the log, also when nodes are killed."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List, Tuple

import pytest

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .test_strong_cluster import jobs, leader, strong_client

__all__ = ["jobs"]  # a fixture

Seen = Tuple[str, str, Any, Any]


def seen(event: Any) -> Seen:
    """Type, key, value and what was there before."""
    value, previous = (None if entry is None else entry.value for entry in (event.entry, event.previous))
    return event.type, event.key, value, previous


def take(watch: Any, count: int) -> List[Any]:
    """So many events, soon."""
    events = [watch.next(timeout=DEADLINE_SECONDS) for _ in range(count)]
    assert all(events), f"only {sum(map(bool, events))} of {count} came"
    return events


def test_every_write_is_told_once_in_order(strong: Any) -> None:
    strong["before"] = 0
    with strong.watch() as watch:
        strong["a"] = 1
        strong["a"] = 2
        strong.put_many({"c": 3, "b": 3})
        strong.touch("a", 60)
        strong.incr("n")
        strong.delete("a")
        strong.delete("missing")
        strong.put("a", 4, ttl=0.1)
        events = take(watch, 9)
        assert [seen(event) for event in events] == [
            ("put", "a", 1, None),
            ("put", "a", 2, 1),
            ("put", "b", 3, None),
            ("put", "c", 3, None),
            ("put", "a", 2, 2),
            ("put", "n", 1, None),
            ("delete", "a", None, 2),
            ("put", "a", 4, None),
            ("expire", "a", None, 4),
        ]
        revisions = [event.revision for event in events]
        assert revisions == sorted(revisions)
        assert revisions[2] == revisions[3]
        assert len(set(revisions)) == 8
        assert all(event.version == event.revision and not event.initial for event in events)
        assert strong.entry("b").version == revisions[2]
        assert watch.next(timeout=0.05) is None


def test_a_watch_is_of_a_key_or_a_prefix(strong: Any) -> None:
    with strong.watch("k") as key, strong.watch(prefix="k") as prefix, strong.watch(b"\xff") as binary:
        strong.put_many({"j": 0, "k": 1, "k2": 2, "l": 3})
        strong[b"\xff"] = 4
        assert [event.key for event in take(prefix, 2)] == ["k", "k2"]
        assert [event.key for event in take(key, 1)] == ["k"]
        assert [event.key_bytes for event in take(binary, 1)] == [b"\xff"]
        assert key.next(timeout=0.05) is None


def test_what_is_there_comes_first(strong: Any) -> None:
    strong.put_many({f"n:{number:04}": number for number in range(1500)})
    version = strong.entry("n:0000").version
    with strong.watch(prefix="n:", initial=True) as watch:
        events = take(watch, 1)
        strong["n:0000"] = "new"
        events += take(watch, 1500)
    assert [event.entry.value for event in events[:-1]] == list(range(1500))
    assert all(event.initial and event.version == version for event in events[:-1])
    assert seen(events[-1]) == ("put", "n:0000", "new", 0)
    assert not events[-1].initial


def test_any_event_is_a_place_to_go_on_from(strong: Any) -> None:
    with strong.watch(prefix="k") as watch:
        start = watch.position
        for number in range(3):
            strong["other"] = number
            strong.put_many({f"k{key}": number for key in range(3)})
        events = take(watch, 9)
        positions = [start, *(event.position for event in events)]
        for count, position in enumerate(positions):
            with strong.watch(prefix="k", since=position) as again:
                assert [seen(event) for event in take(again, 9 - count)] == [seen(event) for event in events[count:]]
                assert again.next(timeout=0.02) is None
        end = watch.position
    strong["k9"] = "late"
    with strong.watch(prefix="k", since=end) as again:
        assert [event.key for event in take(again, 1)] == ["k9"]
    for wrong in (b"", b"S", end[:-1], end + b"x", b"X" + end[1:]):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^since: "):
            strong.watch(prefix="k", since=wrong)
    for other in ({"prefix": "l"}, {"key": "k"}, {}):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^since: "):
            strong.watch(since=end, **other)


def test_what_is_written_together_is_in_one_batch(strong: Any) -> None:
    with strong.watch() as watch:
        for number in range(3):
            strong.put_many({f"k{key:04}": number for key in range(2000)})
        batches = watch.batches()
        total = 0
        while total < 6000:
            batch = next(batches)
            counts = {event.revision: 0 for event in batch}
            for event in batch:
                counts[event.revision] += 1
            assert set(counts.values()) == {2000}
            total += len(batch)


class Picky:
    """Texts, but one."""

    def encode(self, value: str) -> Tuple[bytes, int]:
        return value.encode(), 300

    def decode(self, payload: bytes, _: int) -> str:
        if payload == b"bad":
            msg = "bad"
            raise kvstore.CodecError(msg)
        return payload.decode()


def test_what_came_before_a_value_that_cannot_be_decoded_is_in_a_batch(strong: Any) -> None:
    picky = strong.with_options(codec=Picky())
    told: List[str] = []
    with picky.watch() as watch:
        picky.put_many({"a": "1", "b": "2", "c": "bad", "d": "4"})
        while "d" not in told:
            try:
                for batch in watch.batches():
                    told += [event.key for event in batch]
                    if "d" in told:
                        break
                    position = watch.position
            except kvstore.CodecError:
                told.append("error")
    assert told == ["a", "b", "error", "d"]
    # It was not told of yet.
    with picky.watch(since=position) as again:
        with pytest.raises(kvstore.CodecError):
            again.next(timeout=DEADLINE_SECONDS)
        assert [event.key for event in take(again, 1)] == ["d"]


def test_a_watch_ends_when_it_is_told_to(strong: Any) -> None:
    watch = strong.watch()
    ended: List[Any] = []
    thread = threading.Thread(target=lambda: ended.append(list(watch)))
    thread.start()
    watch.cancel()
    thread.join(DEADLINE_SECONDS)
    assert ended == [[]]
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^initial: "):
        strong.watch(since=watch.position, initial=True)


def test_a_keyspace_that_is_dropped_ends_its_watches(host: kvstore.Node) -> None:
    gone = host.create_keyspace("gone", consistency="strong")
    with gone.watch() as watch:
        host.drop_keyspace("gone")
        host.create_keyspace("other", consistency="strong", exist_ok=True)["k"] = 1
        with pytest.raises(kvstore.InvalidArgumentError) as caught:
            watch.next(timeout=DEADLINE_SECONDS)
        assert caught.value.code == "UNKNOWN_KEYSPACE"


def test_an_election_is_observed(strong: Any) -> None:
    first, second = strong.election("boss"), strong.election("boss")
    assert first.campaign("one")
    with second.observe() as watch, ThreadPoolExecutor(1) as pool:
        (event,) = take(watch, 1)
        assert (event.initial, event.entry.value) == (True, b"one")
        campaign = pool.submit(second.campaign, "two", 20)
        eventually(lambda: first.is_leader and not campaign.done(), "it waits")
        first.resign()
        assert campaign.result()
        told = [watch.next(timeout=DEADLINE_SECONDS)]
        while told[-1] is not None and told[-1].entry is None:
            told.append(watch.next(timeout=DEADLINE_SECONDS))
        assert told[-1] is not None
        assert told[-1].entry.value == b"two"
        second.resign()
        (last,) = take(watch, 1)
        assert last.type == "delete"
        assert strong.count() == 0


def test_the_asyncio_twin_sees_the_same(host: kvstore.Node) -> None:
    async def main(db: Any) -> None:
        strong = await db.create_keyspace("aio-watch", consistency="strong", exist_ok=True)
        await strong.delete_prefix("")
        async with strong.watch() as watch:
            await asyncio.gather(*(strong.put(f"k{number}", number) for number in range(50)))
            values = [(await watch.next(timeout=DEADLINE_SECONDS)).entry.value for _ in range(50)]
            assert sorted(values) == list(range(50))
            position = watch.position
        await strong.put("late", 1)
        async with strong.watch(since=position) as watch:
            async for event in watch:
                assert (event.key, event.revision) == ("late", event.version)
                break
        async with strong.election("e") as election, election.observe() as changes:
            event = await changes.next(timeout=DEADLINE_SECONDS)
            assert (event.initial, event.entry.value) == (True, b"")

    async def both() -> None:
        async with kvstore.AsyncClient(host.address) as db:
            await main(db)
        async with host.async_client() as db:
            await main(db)

    asyncio.run(both())


@pytest.mark.timeout(120)
def test_nothing_is_missed_or_told_twice_when_nodes_are_killed(jobs: Cluster) -> None:
    victim = leader(jobs)
    others = [node for node in range(3) if node != victim]
    with strong_client(jobs, victim, *others) as db, strong_client(jobs, *others) as writer:
        with db.watch() as watch:
            events: List[Any] = []

            def follow() -> None:
                while len(events) < 300:
                    event = watch.next(timeout=60)
                    assert event is not None
                    events.append(event)

            with ThreadPoolExecutor(1) as pool:
                follower = pool.submit(follow)
                for number in range(300):
                    if number == 100:
                        jobs.kill(victim)
                    if number == 200:
                        jobs.restart(victim)
                    writer["k"] = number
                follower.result()
        assert [event.entry.value for event in events] == list(range(300))
        revisions = [event.revision for event in events]
        assert revisions == sorted(set(revisions))


@pytest.mark.parametrize(
    ("settings", "is_forgotten"),
    [({}, False), ({"history_changes": 10_000, "history_age": 3600}, True), ({"history_age": 1}, True)],
)
def test_how_far_back_a_watch_may_begin_is_a_setting(settings: Any, *, is_forgotten: bool) -> None:
    node = kvstore.Node(default_consistency="strong", **settings)
    with node.start(wait="ready"), kvstore.Client(node.address) as client:
        position = _position_of_a_write(client)
        for start in (0, 6_000):
            client.put_many({f"k{number}": number for number in range(start, start + 6_000)})

        def is_told() -> bool:
            # Time passes with entries of the log.
            client.put("tick", 1)
            try:
                with client.watch(since=position) as watch:
                    return watch.next(timeout=10) is not None
            except kvstore.CompactedError:
                return False

        if is_forgotten:
            eventually(lambda: not is_told(), "the first writes are forgotten")
        else:
            assert is_told()


def _position_of_a_write(client: Any) -> bytes:
    with client.watch() as watch:
        client.put("first", 1)
        position: bytes = take(watch, 1)[0].position
    return position

"""Watches: what every engine tells, whoever looks."""

from __future__ import annotations

import threading
from typing import Any, List, Tuple

import pytest

import kvstore

# How long an event may take; how long to look for one that must not come.
SOON = 60
NOW = 0.01


def shown(event: Any) -> Tuple[str, str, Any]:
    return event.type, event.key, None if event.entry is None else event.entry.value


def take(watch: Any, count: int) -> List[Tuple[str, str, Any]]:
    events = []
    for _ in range(count):
        event = watch.next(SOON)
        assert event is not None, events
        events.append(shown(event))
    return events


def test_a_watch_tells_of_puts_and_deletes_from_now_on(store: Any) -> None:
    store.put("before", 1)
    with store.watch() as watch:
        store.put("a", {"n": 1})
        assert take(watch, 1) == [("put", "a", {"n": 1})]
        store.delete("a")
        assert take(watch, 1) == [("delete", "a", None)]
        assert watch.next(NOW) is None


def test_an_end_of_time_is_told_as_such(store: Any) -> None:
    with store.watch("k") as watch:
        store.put("k", 1, ttl=0.05)
        assert take(watch, 2) == [("put", "k", 1), ("expire", "k", None)]


def test_an_event_has_the_version_of_its_entry(store: Any, engine: str) -> None:
    with store.watch() as watch:
        version = store.put("k", 1)
        event = watch.next(SOON)
    assert event.version == event.entry.version == version
    assert event.key_bytes == b"k"
    assert (event.revision is None) == (engine == "eventual")
    assert not event.initial


def test_a_filter_leaves_the_others_out(store: Any) -> None:
    with store.watch("a") as one, store.watch(prefix="user:") as some, store.watch(b"\xff") as binary:
        store.put_many({"a": 1, "b": 2, "user:1": 3, "user:2": 4, "use": 5})
        store.put(b"\xff", 6)
        assert take(one, 1) == [("put", "a", 1)]
        assert sorted(take(some, 2)) == [("put", "user:1", 3), ("put", "user:2", 4)]
        assert take(binary, 1) == [("put", "\udcff", 6)]
        assert one.next(NOW) is None
        assert some.next(NOW) is None


def test_what_is_there_comes_first_and_is_marked(store: Any) -> None:
    store.put_many({f"k{number}": number for number in range(1000)})
    store.delete("k0")
    with store.watch(prefix="k", initial=True) as watch:
        events = [watch.next(SOON) for _ in range(999)]
        assert all(event.initial and event.type == "put" for event in events)
        assert {event.key: event.entry.value for event in events} == {f"k{number}": number for number in range(1, 1000)}
        store.put("k1", "new")
        event = watch.next(SOON)
        assert shown(event) == ("put", "k1", "new")
        assert not event.initial


def test_any_event_is_a_place_to_go_on_from(store: Any) -> None:
    with store.watch() as watch:
        start = watch.position
        for number in range(20):
            store.put(f"k{number}", number)
        events = [watch.next(SOON) for _ in range(20)]
        end = watch.position
    # In the order of the log, or in any order that has each key in the order of its versions.
    assert sorted(event.entry.value for event in events) == list(range(20))
    for passed, since in [(0, start), (1, events[0].position), (10, events[9].position), (20, end)]:
        with store.watch(since=since) as again:
            rest = {again.next(SOON).key for _ in range(20 - passed)}
            assert rest == {event.key for event in events[passed:]}
            assert again.next(NOW) is None
    store.put("late", 1)
    with store.watch(since=end) as again:
        assert take(again, 1) == [("put", "late", 1)]


def test_batches_give_what_is_there(store: Any) -> None:
    with store.watch(initial=True, buffer=10) as watch:
        store.put_many({f"k{number}": number for number in range(3000)})
        found: List[str] = []
        for batch in watch.batches():
            assert batch
            found.extend(event.key for event in batch)
            if len(found) >= 3000:
                break
        assert sorted(found) == sorted(f"k{number}" for number in range(3000))


def test_wrong_arguments_are_named(store: Any) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match="prefix"):
        store.watch("a", prefix="a")
    with store.watch() as watch:
        position = watch.position
    with pytest.raises(kvstore.InvalidArgumentError, match="initial"):
        store.watch(since=position, initial=True)
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^since: "):
        store.watch(since=b"nonsense")
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^since: "):
        store.watch("a", since=position)
    with pytest.raises(kvstore.InvalidArgumentError, match="buffer"):
        store.watch(buffer=0)


def test_cancel_ends_it(store: Any) -> None:
    with store.watch() as watch:
        watch.cancel()
        watch.cancel()
        assert list(watch) == []
        assert list(watch.batches()) == []
        with pytest.raises(kvstore.ClosedError):
            watch.next(1)


def test_cancel_drops_what_was_not_handed_out(store: Any) -> None:
    store.put_many({f"k{number:03}": number for number in range(500)})
    for look in (iter, lambda watch: watch.batches()):
        with store.watch(initial=True) as watch:
            told = {watch.next(SOON).key}
            position = watch.position
            watch.cancel()
            assert list(look(watch)) == []
            with pytest.raises(kvstore.ClosedError):
                watch.next(SOON)
            assert watch.position == position
        # What was dropped comes to whoever goes on from there.
        with store.watch(since=position) as rest:
            while len(told) < 500:
                told.add(rest.next(SOON).key)
    with store.watch(initial=True) as watch:
        seen = []
        for event in watch:
            seen.append(event)
            watch.cancel()
        assert len(seen) == 1


def test_cancel_from_another_thread_ends_the_iteration(blocking: Any) -> None:
    watch = blocking.watch()
    found: List[Any] = []
    reader = threading.Thread(target=lambda: found.extend(watch))
    reader.start()
    blocking.put("a", 1)
    while not found and reader.is_alive():
        reader.join(0.01)
    watch.cancel()
    reader.join(SOON)
    assert not reader.is_alive()
    assert [shown(event) for event in found] == [("put", "a", 1)]


def test_a_value_that_cannot_be_decoded_is_passed(store: Any) -> None:
    view = store.with_options(codec=kvstore.JSON)
    with view.watch() as watch:
        store.put("a", b"\xff")
        with pytest.raises(kvstore.CodecError):
            watch.next(SOON)
        view.put("b", [1])
        assert take(watch, 1) == [("put", "b", [1])]

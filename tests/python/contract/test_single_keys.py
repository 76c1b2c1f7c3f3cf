"""Calls about one key."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any, Callable

import pytest

import kvstore

Until = Callable[[Callable[[], bool]], None]


def test_a_key_is_there_from_its_put_to_its_delete(store: Any) -> None:
    assert store.get("k") is None
    assert store.get("k", "default") == "default"
    first = store.put("k", {"n": 1})
    assert store.get("k") == {"n": 1}
    assert store.exists(b"k")
    assert store.put("k", 2) > first
    assert store.get("k", "default") == 2
    assert store.delete("k") is True
    assert store.delete("k") is False
    assert not store.exists("k")
    assert store.count() == 0


def test_operators_are_calls(blocking: Any) -> None:
    assert "k" not in blocking
    blocking["k"] = None
    assert "k" in blocking
    assert blocking["k"] is None
    assert blocking.entry("k").value is None
    del blocking["k"]
    assert blocking.entry("k") is None
    with pytest.raises(kvstore.KeyNotFoundError, match="there is no key 'k'"):
        blocking["k"]
    with pytest.raises(KeyError):
        del blocking["k"]


def test_nothing_expensive_hides_behind_syntax(blocking: Any) -> None:
    with pytest.raises(TypeError):
        iter(blocking)
    with pytest.raises(TypeError):
        len(blocking)
    assert blocking


def test_str_keys_are_the_utf8_of_bytes_keys(store: Any) -> None:
    store.put("grün/日本", 1)
    assert store.get("grün/日本".encode()) == 1
    store.put(b"\xff\x00x", 2)
    entry = store.entry(b"\xff\x00x")
    assert entry.key_bytes == b"\xff\x00x"
    assert entry.key == "\udcff\x00x"
    assert store.get(entry.key) == 2
    assert list(store.keys()) == ["grün/日本", "\udcff\x00x"]


@pytest.mark.parametrize("key", [1, None, ("k",), bytearray(b"k")], ids=repr)
def test_other_keys_are_refused(store: Any, key: Any) -> None:
    for call in (store.get, store.delete, store.exists, store.entry, lambda key: store.put(key, 1)):
        with pytest.raises(TypeError, match="a key is str or bytes"):
            call(key)


def test_an_entry_tells_all(store: Any, engine: str) -> None:
    version = store.put("k", "v", ttl=60)
    entry = store.entry("k")
    assert (entry.key, entry.value, entry.version, entry.flags) == ("k", "v", version, 1)
    assert abs(entry.modified - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(minutes=1)
    # The group counts from when it takes a write, on another clock than that of the calendar.
    slack = dt.timedelta(seconds=0 if engine == "eventual" else 10)
    assert abs(entry.expires - entry.modified - dt.timedelta(seconds=60)) <= slack
    assert 0 < entry.ttl <= 60
    assert entry == pickle.loads(pickle.dumps(entry))
    assert repr(entry).startswith("Entry(key='k', value='v', version=")
    with pytest.raises(AttributeError):
        entry.value = 1
    store.put("k", "v")
    assert store.entry("k") != entry
    assert store.entry("k") == store.entry("k")
    assert hash(store.entry("k")) == hash(store.entry("k"))
    assert store.entry("k").ttl is None
    assert store.entry("k").expires is None
    assert store.entry("missing") is None


def test_a_stored_none_is_told_from_a_missing_key(store: Any) -> None:
    store.put("k", None)
    assert store.get("k", "default") is None
    assert store.exists("k")
    assert store.entry("k").value is None


def test_time_to_live_is_set_and_taken_away(store: Any) -> None:
    store.put("k", 1, ttl=dt.timedelta(hours=1))
    assert 3500 < store.entry("k").ttl <= 3600
    assert store.touch("k", 100.5) is True
    assert 50 < store.entry("k").ttl <= 100.5
    assert store.touch("k", None) is True
    assert store.entry("k").ttl is None
    assert store.get("k") == 1
    assert store.touch("missing", 1) is False
    assert not store.exists("missing")


def test_an_expired_key_is_gone(store: Any, until: Until) -> None:
    store.put("k", 1, ttl=0.001)
    until(lambda: store.get("k") is None)
    until(lambda: store.count() == 0)
    assert list(store.keys()) == []
    assert store.delete("k") is False
    assert store.touch("k", 1) is False


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12, dt.timedelta(0)], ids=repr)
def test_an_impossible_ttl_is_named(store: Any, ttl: Any) -> None:
    for call in (lambda: store.put("k", 1, ttl=ttl), lambda: store.touch("k", ttl)):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^ttl: "):
            call()
    with pytest.raises(TypeError, match="ttl is seconds"):
        store.put("k", 1, ttl="soon")
    assert not store.exists("k")


def test_a_value_is_popped(store: Any) -> None:
    store.put("k", None)
    assert store.pop("k", 7) is None
    assert store.pop("k", 7) == 7
    with pytest.raises(kvstore.KeyNotFoundError, match="there is no key 'k'"):
        store.pop("k")


@pytest.mark.parametrize("read", ["local", "session", kvstore.ReadLevel.SESSION, ...], ids=repr)
def test_own_writes_are_read_at_every_level(store: Any, read: Any) -> None:
    version = store.put("k", 1)
    assert store.get("k", read=read) == 1
    assert store.entry("k", read=read).version == version
    assert store.exists("k", read=read)
    assert store.count(read=read) == 1
    assert store.get_many(["k"], read=read) == {"k": 1}
    assert [entry.value for entry in store.scan(read=read)] == [1]
    assert list(store.keys(read=read)) == ["k"]
    assert store.with_options(read=read).get("k") == 1


def test_what_one_writes_another_reads(store: Any, another: Any) -> None:
    for number in range(20):
        store.put("k", number)
        assert another.get("k") == number


def test_an_unknown_read_level_is_named(store: Any) -> None:
    calls = [
        lambda: store.get("k", read="newest"),
        lambda: store.entry("k", read="newest"),
        lambda: store.scan(read="newest"),
        lambda: store.keys(read="newest"),
        lambda: store.with_options(read="newest"),
    ]
    for call in calls:
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^read: "):
            call()


@pytest.mark.parametrize("timeout", [-1, float("nan"), dt.timedelta(seconds=-1)], ids=repr)
def test_an_impossible_timeout_is_named(store: Any, timeout: Any) -> None:
    for call in (lambda: store.get("k", timeout=timeout), lambda: store.put("k", 1, timeout=timeout)):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^timeout: "):
            call()
    assert not store.exists("k")


@pytest.mark.parametrize("timeout", [None, 20, 20.5, dt.timedelta(seconds=20), ...], ids=repr)
def test_every_form_of_a_timeout_will_do(store: Any, timeout: Any) -> None:
    store.put("k", 1, timeout=timeout)
    assert store.get("k", timeout=timeout) == 1
    assert store.get_many(["k"], timeout=timeout) == {"k": 1}
    assert store.delete("k", timeout=timeout) is True


def test_the_contacted_node_answers(store: Any, host: kvstore.Node) -> None:
    assert store.ping() >= 0
    assert store.status().id == host.id
    assert [member.id for member in store.members()] == [host.id]
    assert store.metrics()

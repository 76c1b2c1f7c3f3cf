"""What a store promises, by a node in this process and by a client over a socket alike."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any, Callable

import pytest

import kvstore

KEY_BYTES_MAX = 8 * 1024
VALUE_BYTES_MAX = 1024 * 1024
BATCH_OPERATIONS_MAX = 4096


def test_a_key_is_there_from_its_put_to_its_delete(store: Any) -> None:
    assert store.get("k") is None
    assert store.get("k", "default") == "default"
    assert "k" not in store
    first = store.put("k", {"n": 1})
    assert store.get("k") == store["k"] == {"n": 1}
    assert "k" in store
    assert store.exists(b"k")
    assert store.put("k", 2) > first
    assert store.delete("k") is True
    assert store.delete("k") is False
    assert not store.exists("k")


def test_operators_are_calls(store: Any) -> None:
    store["k"] = None
    assert store["k"] is None
    assert store.entry("k").value is None
    del store["k"]
    assert store.entry("k") is None
    with pytest.raises(kvstore.KeyNotFoundError, match="there is no key 'k'"):
        store["k"]
    with pytest.raises(KeyError):
        del store["k"]


def test_nothing_expensive_hides_behind_syntax(store: Any) -> None:
    with pytest.raises(TypeError):
        iter(store)
    with pytest.raises(TypeError):
        len(store)
    assert store


def test_str_keys_are_the_utf8_of_bytes_keys(store: Any) -> None:
    store["grün/日本"] = 1
    assert store["grün/日本".encode()] == 1
    store[b"\xff\x00x"] = 2
    entry = store.entry(b"\xff\x00x")
    assert entry.key_bytes == b"\xff\x00x"
    assert entry.key == "\udcff\x00x"
    assert store[entry.key] == 2
    assert list(store.keys()) == ["grün/日本", "\udcff\x00x"]


@pytest.mark.parametrize("key", [1, None, ("k",), bytearray(b"k")])
def test_other_keys_are_refused(store: Any, key: Any) -> None:
    for call in (store.get, store.delete, store.exists, store.entry, store.__contains__):
        with pytest.raises(TypeError, match="a key is str or bytes"):
            call(key)


def test_an_entry_tells_all(store: Any) -> None:
    version = store.put("k", "v", ttl=60)
    entry = store.entry("k")
    assert (entry.key, entry.value, entry.version, entry.flags) == ("k", "v", version, 1)
    assert abs(entry.modified - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(minutes=1)
    assert entry.expires - entry.modified == dt.timedelta(seconds=60)
    assert 0 < entry.ttl <= 60
    assert entry == store.entry("k") == pickle.loads(pickle.dumps(entry))
    assert hash(entry) == hash(store.entry("k"))
    assert repr(entry).startswith("Entry(key='k', value='v', version=")
    with pytest.raises(AttributeError):
        entry.value = 1
    store.put("k", "v")
    assert store.entry("k") != entry
    assert store.entry("k").ttl is None
    assert store.entry("k").expires is None


def test_many_keys_take_one_call(store: Any) -> None:
    assert store.put_many({"a": 1, b"b": 2, "c": 3}) is None
    assert store.get_many(iter(["a", b"b", "missing"])) == {"a": 1, "b": 2}
    assert store.delete_many(["a", "missing", "c"]) == 2
    assert store.count() == 1
    store.put_many({})
    assert store.get_many([]) == {}
    assert store.delete_many([]) == 0


def test_a_bad_item_leaves_nothing_of_a_batch(store: Any) -> None:
    for items in ({"a": 1, "b": object()}, {"a": 1, "": 2}):
        with pytest.raises(kvstore.InvalidArgumentError):
            store.put_many(items)
    assert store.count() == 0


def test_time_to_live_is_set_and_taken_away(store: Any) -> None:
    store.put("k", 1, ttl=dt.timedelta(hours=1))
    assert 3590 < store.entry("k").ttl <= 3600
    assert store.touch("k", 10.5) is True
    assert 10 < store.entry("k").ttl <= 10.5
    assert store.touch("k", None) is True
    assert store.entry("k").ttl is None
    assert store.touch("missing", 1) is False
    assert "missing" not in store


def test_an_expired_key_is_gone(store: Any, until: Any) -> None:
    store.put("k", 1, ttl=0.001)
    until(lambda: store.get("k") is None)
    assert store.count() == 0
    assert list(store.keys()) == []
    assert store.delete("k") is False


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12, dt.timedelta(0)])
def test_an_impossible_ttl_is_named(store: Any, ttl: Any) -> None:
    for call in (lambda: store.put("k", 1, ttl=ttl), lambda: store.touch("k", ttl)):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^ttl: "):
            call()
    with pytest.raises(TypeError, match="ttl is seconds"):
        store.put("k", 1, ttl="soon")
    assert "k" not in store


def test_limits_accept_their_edge_and_name_the_field_beyond(store: Any) -> None:
    store.put("k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX)
    assert store.get("k" * KEY_BYTES_MAX) == b"v" * VALUE_BYTES_MAX
    refused = [
        (lambda: store.put("k" * (KEY_BYTES_MAX + 1), 1), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.get("k" * (KEY_BYTES_MAX + 1)), "^key: ", "KEY_TOO_LONG"),
        (lambda: store.put("k", b"v" * (VALUE_BYTES_MAX + 1)), "^value: ", "VALUE_TOO_LARGE"),
        (lambda: store.put_many({str(n): b"v" * VALUE_BYTES_MAX for n in range(5)}), "^batch: ", "BATCH_TOO_LARGE"),
        (lambda: store.get_many(map(str, range(BATCH_OPERATIONS_MAX + 1))), "^batch: ", "BATCH_TOO_LARGE"),
    ]
    for call, text, code in refused:
        with pytest.raises(kvstore.LimitError, match=text) as caught:
            call()
        assert caught.value.code == code
    for call in (store.get, store.delete, store.exists, lambda key: store.put(key, 1)):
        with pytest.raises(kvstore.InvalidArgumentError, match=r"^key: must not be empty"):
            call("")
    assert store.count() == 1


class GrantedLease(kvstore.Lease):
    """Of some strong keyspace."""

    id = 1


def test_what_an_eventual_keyspace_cannot_promise_is_refused_before_anything_is_written(store: Any) -> None:
    refused = [
        lambda: store.put("k", 1, if_absent=True),
        lambda: store.put("k", 1, if_version=1),
        lambda: store.put("k", 1, lease=object.__new__(GrantedLease)),
        lambda: store.add("k", 1),
        lambda: store.incr("k"),
        lambda: store.update("k", lambda _: 1),
        lambda: store.transact(lambda txn: txn.put("k", 1)),
        lambda: store.batch(atomic=True),
        lambda: store.batch().incr("k"),
        lambda: store.batch().require("k", absent=True),
        lambda: store.lease(1),
        lambda: store.lock("k"),
        lambda: store.election("k"),
        lambda: store.create_keyspace("k"),
        lambda: store.create_keyspace("k", consistency="eventual"),
        lambda: store.delete("k", if_version=1),
        lambda: store.get("k", read="linearizable"),
        lambda: store.entry("k", read=kvstore.ReadLevel.LINEARIZABLE),
        lambda: store.count(read="linearizable"),
        lambda: store.scan(read="linearizable"),
        lambda: store.with_options(read="linearizable"),
    ]
    for call in refused:
        with pytest.raises(kvstore.UnsupportedError) as caught:
            call()
        assert caught.value.kind == "Unsupported"
    assert store.count() == 0
    for read in ("local", kvstore.ReadLevel.LOCAL, "session", kvstore.ReadLevel.SESSION, ...):
        assert store.get("k", read=read) is None
        assert list(store.with_options(read=read).scan()) == []
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^read: "):
        store.get("k", read="newest")


def test_there_is_one_eventual_keyspace(store: Any) -> None:
    store["k"] = 1
    assert store.info() == kvstore.KeyspaceInfo("default", "eventual", 1, store.status().bytes, 0)
    assert store.info() in store.keyspaces()
    assert store.keyspace("default")["k"] == 1
    assert store.create_keyspace("default", exist_ok=True)["k"] == 1
    for consistency in ("eventual", "strong"):
        with pytest.raises(kvstore.KeyExistsError, match="default"):
            store.create_keyspace("default", consistency=consistency)
    for call in (store.drop_keyspace, store.create_keyspace):
        with pytest.raises(kvstore.DeniedError, match="system"):
            call("system")
    with pytest.raises(kvstore.InvalidArgumentError, match="default"):
        store.drop_keyspace("default")
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^consistency: "):
        store.create_keyspace("k", consistency="weak")


def test_a_batch_is_sent_at_its_end(store: Any) -> None:
    store["old"] = 1
    with store.batch() as batch:
        before, version = batch.get("new"), batch.put("new", 2)
        after, gone, missing = batch.get("new"), batch.delete("old"), batch.delete("missing")
        with pytest.raises(kvstore.ClosedError):
            before.result()
    assert (before.result(), after.result(), gone.result(), missing.result()) == (None, 2, True, False)
    assert store.entry("new").version == version.result()
    with pytest.raises(kvstore.ClosedError):
        batch.put("late", 1)
    with store.batch():
        pass
    unsent = []
    with pytest.raises(ZeroDivisionError), store.batch() as batch:
        unsent.append((batch.put("new", 3), 1 / 0))
    assert store["new"] == 2
    assert unsent == []


def test_each_operation_of_a_batch_has_an_error_of_its_own(store: Any) -> None:
    class Picky:
        def encode(self, value: Any) -> Any:
            return bytes(value, "ascii"), 300

        def decode(self, payload: bytes, flags: int) -> Any:
            if payload == b"bad":
                msg = "bad"
                raise kvstore.CodecError(msg)
            return payload.decode()

    picky = store.with_options(codec=Picky())
    with picky.batch() as batch:
        batch.put("a", "good")
        batch.put("b", "bad")
        good, bad = batch.get("a"), batch.get("b")
    assert good.result() == "good"
    with pytest.raises(kvstore.CodecError, match="bad"):
        bad.result()


def test_a_value_is_popped(store: Any) -> None:
    store["k"] = None
    assert store.pop("k", 7) is None
    assert store.pop("k", 7) == 7
    with pytest.raises(kvstore.KeyNotFoundError):
        store.pop("k")


def test_keys_are_deleted_by_their_prefix(store: Any) -> None:
    store.put_many({f"p:{number:04}": number for number in range(1500)})
    store["q"] = 1
    assert store.delete_prefix("p:") == 1500
    assert list(store.keys()) == ["q"]
    assert store.delete_prefix("") == 1
    assert store.delete_prefix("") == 0


@pytest.fixture
def numbers(store: Any) -> Any:
    store.put_many({f"n:{number:04}": number for number in range(2500)})
    store.put_many({"a": -1, "z": -2})
    return store


def test_a_scan_gives_each_key_once_in_order(numbers: Any) -> None:
    assert [entry.value for entry in numbers.scan("n:")] == list(range(2500))
    assert [entry.value for entry in numbers.scan("n:", reverse=True)] == list(range(2499, -1, -1))
    assert next(numbers.keys()) == "a"
    assert list(numbers.keys())[-1] == "z"
    assert numbers.count() == 2502
    assert numbers.count(b"n:") == 2500


@pytest.mark.parametrize("page_size", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_do_not_show(numbers: Any, page_size: int, reverse: Any) -> None:
    found = [entry.value for entry in numbers.scan(start="n:0100", end="n:0150", page_size=page_size, reverse=reverse)]
    assert sorted(found) == list(range(100, 150))
    assert found == sorted(found, reverse=reverse)


@pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001, 5000])
def test_a_limit_is_exact(numbers: Any, limit: int) -> None:
    assert len(list(numbers.scan("n:", limit=limit))) == min(limit, 2500)
    assert list(numbers.keys("n:", limit=limit)) == [f"n:{number:04}" for number in range(min(limit, 2500))]


def test_a_scan_is_lazy_and_sees_what_is_written_ahead_of_it(store: Any) -> None:
    store.put_many({"a": 1, "b": 2})
    entries = store.scan(page_size=1)
    assert next(entries).key == "a"
    store["c"] = 3
    assert [entry.key for entry in entries] == ["b", "c"]


def test_empty_ranges_are_empty(numbers: Any) -> None:
    assert list(numbers.keys("missing")) == []
    assert list(numbers.keys(start="b", end="a")) == []
    assert list(numbers.keys("n:", start="o")) == []


def test_bad_pages_are_refused_at_once(store: Any) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^page_size: "):
        store.scan(page_size=0)
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^limit: "):
        store.keys(limit=-1)


def test_a_page_of_large_values_stays_small(store: Any) -> None:
    for number in range(5):
        store.put(str(number), b"v" * VALUE_BYTES_MAX)
    assert [len(entry.value) for entry in store.scan()] == [VALUE_BYTES_MAX] * 5


def test_status_tells_what_is_held(store: Any, until: Callable[[Callable[[], bool]], None]) -> None:
    store.put_many({"a": 1, "b": 2})
    store.delete("b")
    status = store.status(digests=True)
    assert (status.keys, status.tombstones, status.healthy) == (1, 1, True)
    # It founds its group by itself, in a moment.
    until(lambda: store.status().role == "leader")
    assert store.status().leader == status.id
    assert status.version == kvstore.__version__
    assert sum(digest.records for digest in status.digests) == 1
    assert (status.divergences, status.refused_writes, status.held_back_by) == (0, 0, ())
    assert store.status().digests == ()
    assert [(member.id, member.connected) for member in store.members()] == [(status.id, True)]
    assert store.ping() >= 0


def test_a_view_has_defaults_of_its_own(store: Any) -> None:
    view = store.with_options(codec=kvstore.TEXT, timeout=1)
    view["k"] = "text"
    assert view["k"] == store["k"] == "text"
    with pytest.raises(kvstore.CodecError):
        view.put("k", 1)
    assert "view of" in repr(view)
    # An option that is not given stays.
    assert view.with_options(timeout=2).get("k") == "text"

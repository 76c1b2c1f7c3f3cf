"""What a strong keyspace promises to single calls, by a node in this process and by a client over a socket alike."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import kvstore

if TYPE_CHECKING:
    from pathlib import Path

READS = ["local", "session", "linearizable", kvstore.ReadLevel.LINEARIZABLE, ...]


@pytest.mark.parametrize("read", READS)
def test_a_key_is_there_from_its_put_to_its_delete(strong: Any, read: Any) -> None:
    assert strong.get("k", read=read) is None
    first = strong.put("k", {"n": 1})
    assert strong.get("k", read=read) == strong["k"] == {"n": 1}
    assert "k" in strong
    assert strong.exists(b"k", read=read)
    assert strong.count(read=read) == 1
    assert strong.put("k", 2) > first
    assert strong.delete("k") is True
    assert strong.delete("k") is False
    assert strong.get("k", 7, read=read) == 7
    with pytest.raises(kvstore.KeyNotFoundError):
        strong["k"]


def test_many_keys_are_read_and_written_together(strong: Any) -> None:
    strong.put_many({f"n:{number:04}": number for number in range(2500)})
    assert len({strong.entry(f"n:{number:04}").version for number in (0, 1000, 2499)}) == 1
    assert strong.count("n:") == 2500
    assert [entry.value for entry in strong.scan("n:")] == list(range(2500))
    assert list(strong.keys("n:", reverse=True, limit=2)) == ["n:2499", "n:2498"]
    assert [entry.key for entry in strong.scan(start="n:0001", end="n:0003")] == ["n:0001", "n:0002"]
    assert strong.get_many(["n:0007", "missing", b"n:0008"]) == {"n:0007": 7, "n:0008": 8}
    assert strong.delete_many(["n:0007", "missing", "n:0008"]) == 2
    assert strong.delete_prefix("n:") == 2498
    assert strong.count() == 0


def test_more_than_fits_into_a_message_is_read_all_the_same(strong: Any) -> None:
    values = {f"big:{number}": bytes([number]) * 1_000_000 for number in range(8)}
    for key, value in values.items():
        strong.put(key, value)
    assert strong.get_many(list(values)) == values
    with pytest.raises(kvstore.LimitError):
        strong.put_many(values)
    with pytest.raises(kvstore.LimitError):
        strong.put_many({str(number): 0 for number in range(10_001)})


def test_a_condition_is_kept_or_named(strong: Any) -> None:
    with pytest.raises(kvstore.ConflictError, match="'k' is not there") as missing:
        strong.put("k", 1, if_version=5)
    assert (missing.value.key, missing.value.current_version, missing.value.code) == ("k", None, "VERSION_CONFLICT")
    first = strong.put("k", 1, if_absent=True)
    with pytest.raises(kvstore.KeyExistsError) as exists:
        strong.put("k", 2, if_absent=True)
    assert (exists.value.key, exists.value.current_version, exists.value.code) == ("k", first, "KEY_EXISTS")
    second = strong.put("k", 2, if_version=first)
    for late in (lambda: strong.put("k", 3, if_version=first), lambda: strong.delete("k", if_version=first)):
        with pytest.raises(kvstore.ConflictError) as conflict:
            late()
        assert (conflict.value.key, conflict.value.current_version) == ("k", second)
        assert conflict.value.retryable
        assert not conflict.value.maybe_applied
    assert strong["k"] == 2
    assert strong.delete("k", if_version=second) is True
    assert strong.add("k", 4) is True
    assert strong.add("k", 5, ttl=1) is False
    assert strong["k"] == 4


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"if_absent": True, "if_version": 1}, "if_version"),
        ({"if_version": 0}, "if_version"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
    ],
)
def test_bad_options_of_a_put_are_named(strong: Any, options: Any, name: str) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=f"^{name}: "):
        strong.put("k", 1, **options)


def test_a_counter_counts(strong: Any) -> None:
    assert strong.incr("n") == 1
    assert strong.incr("n", 5) == 6
    assert strong.incr("n", -10) == -4
    assert strong["n"] == -4
    assert strong.incr("m", 2, initial=40, ttl=60) == 42
    assert strong.entry("m").ttl > 50
    assert strong.incr("m", initial=7) == 43
    assert strong.entry("m").ttl > 50
    strong["text"] = "1"
    with pytest.raises(kvstore.CodecError) as caught:
        strong.incr("text")
    assert caught.value.code == "NOT_AN_INTEGER"
    strong["n"] = 2**63 - 1
    for call in (lambda: strong.incr("n"), lambda: strong.incr("n", 2**63)):
        with pytest.raises(kvstore.LimitError) as beyond:
            call()
        assert beyond.value.code == "OVERFLOW"
    assert strong["n"] == 2**63 - 1
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^by: "):
        strong.incr("n", "1")


def test_no_increment_is_lost_among_threads(strong: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda _: strong.incr("n"), range(200)))
    assert sorted(sums) == list(range(1, 201))


def test_one_of_many_adds_a_key(strong: Any) -> None:
    ready = threading.Barrier(8)

    def add(number: int) -> bool:
        ready.wait()
        return bool(strong.add("k", number))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 1


def test_one_of_many_pops_a_value(strong: Any) -> None:
    strong["k"] = "prize"
    with ThreadPoolExecutor(8) as pool:
        popped = list(pool.map(lambda _: strong.pop("k", None), range(8)))
    assert sorted(popped, key=bool) == [None] * 7 + ["prize"]
    with pytest.raises(kvstore.KeyNotFoundError):
        strong.pop("k")


def test_keyspaces_are_made_listed_and_dropped(host: kvstore.Node) -> None:
    with kvstore.Client(host.address) as db:
        jobs = db.create_keyspace("jobs", consistency="strong")
        jobs["k"] = 1
        assert "k" not in db
        with pytest.raises(kvstore.KeyExistsError) as exists:
            db.create_keyspace("jobs", consistency="strong")
        assert exists.value.code == "KEYSPACE_EXISTS"
        assert host.create_keyspace("jobs", consistency="strong", exist_ok=True)["k"] == 1
        assert jobs.info() == kvstore.KeyspaceInfo("jobs", "strong", 1, len("k") + 8, 0)
        assert jobs.info() in db.keyspaces()
        names = [info.name for info in host.keyspaces()]
        assert names == sorted(names)
        assert "default" in names
        db.drop_keyspace("jobs")
        for call in (jobs.info, lambda: jobs.get("k"), lambda: jobs.put("k", 1), lambda: db.drop_keyspace("jobs")):
            with pytest.raises(kvstore.InvalidArgumentError) as unknown:
                call()
            assert unknown.value.code == "UNKNOWN_KEYSPACE"
        assert db.create_keyspace("jobs", consistency="strong").count() == 0
        db.drop_keyspace("jobs")
    with pytest.raises(kvstore.InvalidArgumentError, match=r"^keyspace: "):
        host.keyspace("")


def test_a_client_remembers_its_keyspace(host: kvstore.Node) -> None:
    host.create_keyspace("kept", consistency="strong", exist_ok=True)
    with kvstore.Client(f"kv://{host.address}/kept?read=linearizable") as db:
        db["k"] = 1
        with pickle.loads(pickle.dumps(db)) as copy:
            assert copy["k"] == 1
        assert db.keyspace("default").get("k", read="local") is None
    assert host.keyspace("kept")["k"] == 1
    assert host.keyspace("kept").keyspace("kept").with_options(read="local")["k"] == 1


def test_a_durable_node_comes_back_with_its_strong_keyspaces(tmp_path: Path) -> None:
    with kvstore.Node(data_dir=tmp_path) as node:
        jobs = node.create_keyspace("jobs", consistency="strong")
        version = jobs.put("k", {"n": 1})
        jobs.put("short", 1, ttl=600)
        jobs.incr("n", 41)
        with jobs.lock("l") as lock:
            token = lock.fencing_token
        with jobs.watch() as watch:
            position = watch.position
        jobs["late"] = 2
    with kvstore.Node(data_dir=tmp_path) as node:
        jobs = node.keyspace("jobs").with_options(timeout=60)
        assert (jobs.entry("k").value, jobs.entry("k").version) == ({"n": 1}, version)
        assert 500 < jobs.entry("short").ttl <= 600
        assert jobs.incr("n") == 42
        with jobs.lock("l") as lock:
            assert lock.fencing_token > token
        with jobs.watch(since=position) as watch:
            event = watch.next(timeout=60)
            assert event is not None
            assert (event.key, event.revision) == ("late", jobs.entry("late").version)

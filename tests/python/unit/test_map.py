"""A prefix as a mapping. What every mapping promises is in conformance/test_mapping.py."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Iterator, List

import pytest

import kvstore

if TYPE_CHECKING:
    from typing import Callable


@pytest.fixture(params=["eventual node", "eventual client", "strong node", "strong client"])
def both(request: pytest.FixtureRequest, node: kvstore.Node) -> Iterator[Any]:
    """The same promises in both kinds of keyspaces, in this process and over a socket."""
    consistency, _, kind = request.param.partition(" ")
    with kvstore.Client(node.address) as client:
        store: Any = node if kind == "node" else client
        yield store if consistency == "eventual" else store.create_keyspace("strong", consistency="strong")


class Counted:
    """A store that notes which calls a map makes of it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: List[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            self.calls.append(name)
        return getattr(self._store, name)


def test_stores_hand_it_out_unless_they_have_to_be_awaited() -> None:
    for cls in (kvstore.Store, kvstore.Client, kvstore.Node):
        assert str(inspect.signature(cls.map)) == "(self, prefix: 'Any' = '') -> 'Any'"
    for twin in (kvstore.AsyncStore, kvstore.AsyncClient):
        assert not hasattr(twin, "map")


def test_keys_have_the_type_of_the_prefix_and_lack_it(both: Any) -> None:
    users = both.map("user:")
    users["ada"] = {"born": 1815}
    users["grün"] = 1
    both.put_many({"user": 1, "user;": 1, "x": 1})
    both.put(b"user:\xff", 2)
    assert both["user:ada"] == {"born": 1815}
    assert list(users) == list(users.keys()) == ["ada", "grün", "\udcff"]
    assert list(users.items()) == [("ada", {"born": 1815}), ("grün", 1), ("\udcff", 2)]
    assert list(users.values()) == [{"born": 1815}, 1, 2]
    raw = both.map(b"user:")
    assert list(raw) == [b"ada", "grün".encode(), b"\xff"]
    assert raw[b"\xff"] == users["\udcff"] == 2
    assert len(users) == len(raw) == 3
    assert len(both.map()) == len(both.map(b"")) == 6


def test_a_prefix_may_end_inside_a_character(both: Any) -> None:
    both["grün"] = 1
    half = both.map("gr\udcc3")
    assert list(half) == ["\udcbcn"]
    assert half["\udcbcn"] == 1
    half["\udcbcner"] = 2
    assert both["grüner"] == 2


def test_keys_and_prefixes_of_other_types_are_refused(both: Any) -> None:
    for users, wrong in ((both.map("user:"), b"ada"), (both.map(b"user:"), "ada")):
        for key in (wrong, 1, None):
            for call in (users.__getitem__, users.__delitem__, users.get, users.pop, users.setdefault):
                with pytest.raises(TypeError, match="like the prefix, not"):
                    call(key)
            with pytest.raises(TypeError, match="like the prefix, not"):
                users[key] = 1
            assert key not in users
    assert both.count() == 0
    with pytest.raises(TypeError, match="a prefix is str or bytes, not int"):
        both.map(1)


def test_a_stored_none_is_there(both: Any) -> None:
    users = both.map("user:")
    users["x"] = None
    assert users["x"] is None
    assert users.get("x", 7) is None
    assert users.setdefault("x", 7) is None
    assert users.pop("x", 7) is None
    assert users.pop("x", 7) == 7


def test_a_missing_key_is_named_without_the_prefix(both: Any) -> None:
    users = both.map("user:")
    for call in (users.__getitem__, users.__delitem__, users.pop):
        with pytest.raises(kvstore.KeyNotFoundError, match="there is no key 'ada'"):
            call("ada")
    with pytest.raises(KeyError, match="there is no key below 'user:'"):
        users.popitem()


def test_clear_leaves_the_rest(both: Any) -> None:
    both["x"] = 1
    users = both.map("user:")
    users.update({str(number): number for number in range(10)}, more=1)
    assert len(users) == 11
    users.clear()
    assert not users
    assert both["x"] == 1


def test_maps_are_equal_by_what_is_in_them(both: Any) -> None:
    a, b = both.map("a:"), both.map("b:")
    assert a == b == {}
    a.update(x=1, y=2)
    assert a != b
    b.update(x=1, y=3)
    assert a != b
    b["y"] = 2
    assert a == b == {"y": 2, "x": 1}
    assert a != [("x", 1), ("y", 2)]
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


def test_views_are_sets_of_what_is_there(both: Any) -> None:
    users = both.map("user:")
    users.update(a=1, b=2)
    assert users.keys() & {"b", 3} == {"b"}
    assert ("a", 1) in users.items()
    assert ("a", 2) not in users.items()
    assert 2 in users.values()
    assert 3 not in users.values()
    assert len(users.items()) == len(users.values()) == 2


def test_little_is_asked_for(node: kvstore.Node) -> None:
    node.put_many({f"n:{number:04}": number for number in range(2500)})
    counted = Counted(node)
    numbers: Any = kvstore.Map(counted, "n:")  # type: ignore[arg-type]  # it stands in for a store
    assert "n:" in repr(numbers)
    assert counted.calls == []
    assert numbers
    assert len(numbers) == 2500
    assert counted.calls == ["keys", "count"]
    counted.calls.clear()
    assert len(dict(numbers.items())) == 2500
    assert sum(numbers.values()) == sum(range(2500))
    assert numbers != {"a": 1}
    assert counted.calls == ["scan", "scan", "count"]


def test_iteration_goes_on_while_keys_come_and_go(both: Any) -> None:
    numbers = both.map("n:")
    for number in range(20):
        numbers[f"{number:02}"] = number
    seen = []
    for key in numbers:
        seen.append(key)
        del numbers[key]
        numbers["0" + key] = 0
    assert set(seen) >= {f"{number:02}" for number in range(20)}


def test_a_view_has_its_codec_in_a_map(both: Any) -> None:
    texts = both.with_options(codec=kvstore.TEXT).map("t:")
    texts["a"] = "b"
    with pytest.raises(kvstore.CodecError):
        texts["a"] = 1
    assert texts == {"a": "b"}


def in_threads(count: int, work: Callable[[int], Any]) -> List[Any]:
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("kind", ["node", "client"])
def test_pop_and_setdefault_have_one_winner_in_a_strong_keyspace(node: kvstore.Node, kind: str) -> None:
    with kvstore.Client(node.address) as client:
        store: Any = node if kind == "node" else client
        jobs = store.create_keyspace("jobs", consistency="strong").with_options(read="local").map("job:")
        for attempt in range(10):
            winners = set(in_threads(4, lambda number, key=str(attempt): jobs.setdefault(key, number)))
            assert winners == {jobs[str(attempt)]}
            popped = in_threads(4, lambda _, key=str(attempt): jobs.pop(key, None))
            assert sorted(popped, key=str) == sorted([*winners, None, None, None], key=str)
        jobs.update({str(number): number for number in range(40)})
        taken = in_threads(4, lambda _: [jobs.popitem() for _ in range(10)])
        assert sorted(value for part in taken for _, value in part) == list(range(40))
        assert not jobs

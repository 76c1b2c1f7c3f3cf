"""How much room keys take, against what a scan of all of them says."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Tuple

import pytest

import kvstore
from kvstore.survey import Fold, LargeValue, share_of, survey

# More than two pages.
KEYS = 2500


def written(seed: int) -> Dict[str, bytes]:
    """Keys with and without prefixes, many of which share one."""
    rng = random.Random(seed)
    prefixes = ["", "user:", "user:7/", "z/", "a"]
    return {f"{rng.choice(prefixes)}{number:05}": b"x" * rng.randrange(40) for number in range(KEYS)}


def twin(items: Dict[str, bytes], prefix: str, top: int) -> Tuple[List[LargeValue], List[Fold], int]:
    """The same by sorting everything."""
    within = {key: value for key, value in items.items() if key.startswith(prefix)}
    largest = sorted((LargeValue(key.encode(), len(value)) for key, value in within.items()), key=lambda v: v.key)
    largest = sorted(largest, key=lambda value: -value.value_bytes)[:top]
    folds: Dict[str, Tuple[int, int]] = {}
    for key, value in within.items():
        ends = [at for at in range(len(prefix), len(key)) if key[at] in "/:"]
        name = key[: ends[0] + 1] if ends else prefix
        keys, size = folds.get(name, (0, 0))
        folds[name] = keys + 1, size + len(key) + len(value)
    sums = [Fold(name.encode(), keys, size) for name, (keys, size) in folds.items()]
    sums.sort(key=lambda fold: (-fold.total_bytes, fold.prefix))
    return largest, sums[:top], sum(len(key) + len(value) for key, value in within.items())


@pytest.fixture(params=["node", "client", "named", "strong"])
def store(node: kvstore.Node, request: pytest.FixtureRequest) -> Any:
    """A node of the process, a client, and keyspaces of both kinds."""
    if request.param == "node":
        yield node
        return
    with kvstore.Client(node.address, timeout=20) as client:
        if request.param == "client":
            yield client
        elif request.param == "named":
            yield client.create_keyspace("named", consistency="eventual")
        else:
            yield client.create_keyspace("jobs", consistency="strong")


@pytest.mark.parametrize(("prefix", "top"), [("", 20), ("", 2), ("user:", 5), ("z", 3), ("nothing", 3)])
def test_it_tells_what_a_scan_would(store: Any, prefix: str, top: int) -> None:
    items = written(len(prefix) + top)
    keys = list(items)
    for start in range(0, KEYS, 500):
        store.put_many({key: items[key] for key in keys[start : start + 500]})
    found = survey(store, prefix, top=top)
    largest, folds, total_bytes = twin(items, prefix, top)
    assert found.largest == largest
    assert found.folds == folds
    assert (found.keys, found.total_bytes) == (found.visited, total_bytes)
    assert found.keys == store.count(prefix)


def test_a_survey_that_comes_too_late_has_changed_nothing() -> None:
    # Of more threads than one another looks at the time.
    with kvstore.Node(threads=4).start(wait="ready") as node:
        node.put_many({f"k/{number}": number for number in range(KEYS)})
        hurried = node.with_options(timeout=0)

        def tell() -> None:
            # It may be in time all the same.
            for _ in range(10_000):
                survey(hurried)

        with pytest.raises(kvstore.DeadlineError) as caught:
            tell()
    assert not caught.value.maybe_applied


def test_a_sample_is_of_the_same_keys_again(node: kvstore.Node) -> None:
    node.put_many({f"{number:04}": b"x" for number in range(1000)})
    found = survey(node, sample=0.1)
    assert 50 < found.keys < 200
    assert found.visited == 1000
    assert found == survey(node, sample=0.1)


def test_keys_that_are_no_text_are_told_exactly(node: kvstore.Node) -> None:
    node.put(b"\xff\x00/k", b"xyz")
    found = survey(node, b"\xff")
    assert found.largest == [LargeValue(b"\xff\x00/k", 3)]
    assert found.folds == [Fold(b"\xff\x00/", 1, 7)]


@pytest.mark.parametrize("sample", [0, -1, 1.1, 1e-9, float("nan")])
def test_what_is_no_share_is_refused(node: kvstore.Node, sample: float) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match="sample"):
        survey(node, sample=sample)


@pytest.mark.parametrize("top", [-1, 0, 1001, 1 << 64])
def test_how_much_is_told_is_bounded(node: kvstore.Node, top: int) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match="top"):
        survey(node, top=top)


def test_a_keyspace_that_is_none_is_named(node: kvstore.Node) -> None:
    with kvstore.Client(node.address, "none") as client, pytest.raises(kvstore.InvalidArgumentError) as refused:
        survey(client)
    assert refused.value.code == "UNKNOWN_KEYSPACE"


def test_a_share_is_in_a_million() -> None:
    assert (share_of(1), share_of(0.01), share_of(0.000001)) == (1_000_000, 10_000, 1)

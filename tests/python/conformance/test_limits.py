"""limits' suites for storages and strategies, over KVStoreStorage; and what is ours alone.

Tests of fixed windows go by the real clock, since the store's counters do. Those of moving windows go by a clock of
ours: by the real one several of them fail on a slow machine, or at the turn of a second.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import random
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Type
from unittest import mock

import limits
import pytest
from limits.aio import strategies as aio_strategies
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

import kvstore
from kvstore.contrib import limits as contrib
from kvstore.contrib.limits import AsyncKVStoreStorage, KVStoreStorage

from . import limits_utils
from .clocks import FakeClock, RealClock
from .suites import suite


def load(name: str) -> Any:
    """A module of the suite, whose `tests.utils` is ours."""
    spec = importlib.util.spec_from_file_location(f"limits_{name}", suite("limits", "tests", f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    theirs = {"tests": types.ModuleType("tests"), "tests.utils": limits_utils}
    lazy_fixture = mock.patch.object(pytest, "lazy_fixture", str, create=True)
    with mock.patch.dict(sys.modules, theirs), lazy_fixture:  # type: ignore[arg-type]  # as modules go
        spec.loader.exec_module(module)
    return module


storages, strategies = load("test_storage"), load("test_strategy")


def cases_of(cls: type, *left_out: str) -> Type[Any]:
    """The class without its parameters, which are the storages of limits: here they are fixtures."""
    found = {name: test for name, test in vars(cls).items() if name.startswith("test_") and name not in left_out}
    return type(cls.__name__, (), found)


@pytest.fixture
def uri(host: kvstore.Node, strong_name: str) -> str:
    return f"kvstore://{host.address}/{strong_name}"


@pytest.fixture
def args() -> Dict[str, Any]:
    return {}


@pytest.fixture
def expected_instance() -> Type[Any]:
    return KVStoreStorage


@pytest.fixture
def fixture(uri: str) -> Any:
    """Of the storage that the suites make of the same address."""
    return KVStoreStorage(uri)


@pytest.fixture
def storage(fixture: Any) -> Any:
    return fixture


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real one for what goes by the store's clock."""
    is_real = "fixed" in request.node.name or "expiry" in request.node.name
    made: Any = RealClock() if is_real else FakeClock()
    for module in (storages, strategies, contrib):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(limits_utils, "clock", made)
    return made


class TestConcreteStorages(cases_of(storages.TestConcreteStorages)):  # type: ignore[misc]
    pass


class TestWindow(cases_of(strategies.TestWindow, "test_moving_window_memcached")):  # type: ignore[misc]
    pass


def test_no_hit_is_lost_or_taken_twice(uri: str) -> None:
    """By clients of their own, as other processes have them."""
    fixed, moving = limits.parse("40 per hour"), limits.parse("30 per hour")

    def hit(_: int) -> List[bool]:
        storage = storage_from_string(uri)
        counts = [FixedWindowRateLimiter(storage).hit(fixed) for _ in range(20)]
        return [sum(counts), sum(MovingWindowRateLimiter(storage).hit(moving) for _ in range(20))]

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(hit, range(4)))
    assert [sum(each) for each in zip(*taken)] == [40, 30]


def test_a_moving_window_never_takes_more_and_is_full_for_little_longer() -> None:
    """Against a list of every hit."""
    for seed in range(20):
        rng = random.Random(seed)
        limit, expiry, now = rng.choice([1, 3, 50, 2000]), rng.choice([1, 60]), 1e9
        runs: Any = None
        hits: List[float] = []
        for _ in range(300):
            now += rng.expovariate(limit / expiry / 2)
            amount = rng.randint(1, max(1, limit // 3))
            decision = contrib._moving(limit, expiry, amount)(runs, now)
            exact = sum(1 for hit in hits if hit >= now - expiry)
            cautious = sum(1 for hit in hits if hit >= now - expiry - expiry / 512)
            if decision.is_taken:
                assert exact + amount <= limit
                hits.extend([now] * amount)
                runs = decision.value
            else:
                assert cautious + amount > limit
            assert len(runs or []) <= 513
            assert (
                exact <= contrib._moving_window(runs, now, expiry)[1] - (amount if decision.is_taken else 0) <= cautious
            )


def test_a_window_takes_a_clock_that_is_behind() -> None:
    runs = contrib._moving(3, 10, 1)(None, 1000.0).value
    runs = contrib._moving(3, 10, 1)(runs, 995.0).value
    assert contrib._moving_window(runs, 1000.0, 10) == (1000, 2)
    counts = contrib._sliding(3, 10, 1)(None, 1000.0).value
    counts = contrib._sliding(3, 10, 1)(counts, 999.0).value
    assert counts == [100, 0, 2]
    assert not contrib._sliding(2, 10, 1)(counts, 999.0).is_taken


def test_sliding_windows_weigh_the_one_before(storage: Any, clock: Any) -> None:
    clock.now = 1000.0
    assert not storage.acquire_sliding_window_entry("k", 10, 100, 11)
    assert all(storage.acquire_sliding_window_entry("k", 10, 100) for _ in range(10))
    assert not storage.acquire_sliding_window_entry("k", 10, 100)
    assert storage.get_sliding_window("k", 100) == (0, 0.0, 10, 200.0)
    clock.sleep(150)
    assert storage.get_sliding_window("k", 100) == (10, 50.0, 0, 150.0)
    assert storage.acquire_sliding_window_entry("k", 10, 100, 5)
    assert not storage.acquire_sliding_window_entry("k", 10, 100)
    clock.sleep(10)
    previous, left, current, _ = storage.get_sliding_window("k", 100)
    assert (previous, current) == (10, 5)
    assert math.isclose(left, 40)
    assert storage.acquire_sliding_window_entry("k", 10, 100)
    clock.sleep(200)
    assert storage.get_sliding_window("k", 100)[::2] == (0, 0)
    storage.clear_sliding_window("k", 100)
    assert storage.reset() == 0


def test_what_cannot_be_counted_on_is_told(host: kvstore.Node, free_address: str) -> None:
    storage = KVStoreStorage(target=host)
    with pytest.raises(kvstore.UnsupportedError, match=r"contrib.limits: the keyspace 'default' is eventual"):
        storage.incr("k", 1)
    with pytest.raises(StorageError) as caught:
        KVStoreStorage(target=host, wrap_exceptions=True).acquire_entry("k", 1, 1)
    assert isinstance(caught.value.storage_error, kvstore.UnsupportedError)
    with pytest.raises(kvstore.InvalidArgumentError, match="did you mean 'timeout'"):
        storage_from_string(f"kvstore://{host.address}", timout=1)
    assert storage_from_string(f"kvstore://{free_address}/limits?timeout=0.2").check() is False


def test_a_hit_that_always_loses_says_so(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = storage._store()
    lost = kvstore.KeyExistsError("it is there")
    monkeypatch.setattr(type(store), "put", mock.Mock(side_effect=lost))
    with pytest.raises(kvstore.ConflictError, match="other hits were faster 100 times"):
        storage.acquire_entry("k", 1, 1)
    unknown = kvstore.ConflictError("who knows", code="VERSION_CONFLICT", maybe_applied=True)
    monkeypatch.setattr(type(store), "put", mock.Mock(side_effect=unknown))
    with pytest.raises(kvstore.ConflictError, match="who knows"):
        storage.acquire_entry("k", 1, 1)


def test_the_asynchronous_twin_does_the_same(uri: str, storage: Any, clock: Any) -> None:
    async def use() -> None:
        twin: Any = storage_from_string("async+" + uri)
        assert isinstance(twin, AsyncKVStoreStorage)
        try:
            assert await twin.check()
            fixed = aio_strategies.FixedWindowRateLimiter(twin)
            moving = aio_strategies.MovingWindowRateLimiter(twin)
            three = limits.parse("3 per minute")
            assert [await fixed.hit(three, "a") for _ in range(4)] == [True] * 3 + [False]
            assert (await fixed.get_window_stats(three, "a")).remaining == 0
            assert sorted(await asyncio.gather(*[moving.hit(three, "b") for _ in range(5)])) == [False] * 2 + [True] * 3
            assert not await moving.test(three, "b")
            clock.sleep(61)
            assert await moving.hit(three, "b")
            assert storage.get_moving_window(three.key_for("b"), 3, 60) == (int(clock.now), 1)
            assert await twin.acquire_sliding_window_entry("k", 2, 60, 2)
            assert not await twin.acquire_sliding_window_entry("k", 2, 60)
            assert await twin.get_sliding_window("k", 60) == storage.get_sliding_window("k", 60)
            await twin.clear_sliding_window("k", 60)
            await fixed.clear(three, "a")
            assert await twin.get(three.key_for("a")) == 0
            assert await twin.incr("e", 10, elastic_expiry=True) == 1
            before = await twin.get_expiry("e")
            assert await twin.incr("e", 100, elastic_expiry=True) == 2
            assert await twin.get_expiry("e") == storage.get_expiry("e") > before + 50
            assert await twin.reset() == 2
        finally:
            await twin.aclose()

    asyncio.run(use())

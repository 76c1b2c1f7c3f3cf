"""Django's suites for cache backends and for sessions in the cache, over KVStoreCache; and what is ours alone."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import Any, Dict, Iterator

import django
import pytest
from django.conf import settings

import kvstore

from .clocks import patiently_in
from .suites import importable, suite

importable(suite("django", "tests"))
if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["cache", "sessions_tests", "django.contrib.contenttypes", "django.contrib.sessions"],
        SECRET_KEY="of the tests",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=False,
    )
    django.setup()

# After the settings, which they read.
from django.core.cache import caches  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import TestCase, override_settings  # noqa: E402

cache_tests = importlib.import_module("cache.tests")
session_tests = importlib.import_module("sessions_tests.tests")

BACKEND = "kvstore.contrib.django.KVStoreCache"


@pytest.fixture(scope="module", autouse=True)
def _database() -> Iterator[None]:
    """For the tests that cache rows."""
    connection.creation.create_test_db(verbosity=0)
    yield
    connection.creation.destroy_test_db(":memory:", verbosity=0)
    connection.close()


@pytest.fixture
def setting(host: kvstore.Node, strong_name: str) -> Dict[str, Any]:
    """Of a cache in a strong keyspace."""
    return {"BACKEND": BACKEND, "LOCATION": host.address, "OPTIONS": {"keyspace": strong_name}}


class TestKVStoreCache(cache_tests.BaseCacheTests, TestCase):
    @pytest.fixture(autouse=True)
    def _caches(self, setting: Dict[str, Any]) -> Iterator[None]:
        # Those two have an option which this backend refuses: nothing is culled. Their tests skip themselves.
        made = cache_tests.caches_setting_for_tests(base=setting, exclude={"cull", "zero_cull"})
        with override_settings(CACHES=made):
            yield

    def test_expiration(self) -> None:
        patiently_in(cache_tests, super().test_expiration, cache_tests.cache.clear)

    def test_touch(self) -> None:
        patiently_in(cache_tests, super().test_touch, cache_tests.cache.clear)

    def test_set_many_expiration(self) -> None:
        patiently_in(cache_tests, super().test_set_many_expiration, cache_tests.cache.clear)

    def test_forever_timeout(self) -> None:
        patiently_in(cache_tests, super().test_forever_timeout, cache_tests.cache.clear)


class TestSessions(session_tests.CacheSessionTests):
    @pytest.fixture(autouse=True)
    def _caches(self, setting: Dict[str, Any]) -> Iterator[None]:
        with override_settings(CACHES={"default": setting}, SESSION_ENGINE="django.contrib.sessions.backends.cache"):
            yield


@pytest.fixture
def made(setting: Dict[str, Any]) -> Iterator[Any]:
    """A cache, by its settings."""
    with override_settings(CACHES={"default": setting}):
        yield caches["default"]


@pytest.fixture
def raw(host: kvstore.Node, strong_name: str) -> Any:
    """What is stored."""
    return host.keyspace(strong_name)


def options(setting: Dict[str, Any], **more: Any) -> Dict[str, Any]:
    return {**setting, "OPTIONS": {**setting["OPTIONS"], **more}}


def test_clear_leaves_what_is_not_of_the_cache(made: Any, raw: Any) -> None:
    raw["django"] = raw["other"] = 1
    made.set_many({str(number): number for number in range(2500)})
    made.set("k", "v", version=7)
    assert raw.count("django/") == 2501
    made.clear()
    assert sorted(raw.keys()) == ["django", "other"]


def test_integers_can_be_added_to_and_all_else_is_of_the_serializer(setting: Dict[str, Any], raw: Any) -> None:
    setting = options(setting, serializer="django.core.signing.JSONSerializer", prefix="")
    with override_settings(CACHES={"default": setting}):
        cache = caches["default"]
        values = {"int": 1, "big": 2**64, "bool": True, "none": None, "list": [1, "a"], "bytes": "x"}
        cache.set_many(values)
        assert cache.get_many(values) == values
        assert [type(cache.get(key)) for key in ("int", "bool")] == [int, bool]
        assert raw.get(":1:int") == 1
        assert raw.get(":1:list") == b'[1,"a"]'
        with pytest.raises(TypeError, match="'list' is no integer"):
            cache.incr("list")


def test_incr_keeps_the_timeout_and_makes_no_key(made: Any, raw: Any) -> None:
    made.set("n", 1, timeout=100)
    assert made.incr("n", 2**40) == 2**40 + 1
    assert 0 < raw.entry("django/:1:n").ttl <= 100
    with pytest.raises(ValueError, match="'missing' not found"):
        made.incr("missing")
    assert raw.count() == 1
    made.set("n", 2**63 - 1)
    with pytest.raises(kvstore.LimitError):
        made.incr("n")


def test_incr_loses_no_count_among_threads(made: Any) -> None:
    made.set("n", 0)

    def count() -> None:
        # Each thread has a cache of its own, from its own caches[...].
        for _ in range(50):
            caches["default"].incr("n")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.get("n") == 200


def test_no_timeout_is_no_value(made: Any) -> None:
    for timeout in (0, -1, -0.5):
        made.set("k", 1)
        made.set("k", 2, timeout=timeout)
        assert made.get("k") is None
        assert made.add("k", 2, timeout=timeout) is True
        assert made.get("k") is None
        made.set_many({"k": 1, "l": 2}, timeout=timeout)
        assert not made.get_many(["k", "l"])
        made.set("k", 1)
        assert made.add("k", 2, timeout=timeout) is False
        assert made.touch("k", timeout) is True
        assert made.touch("k", timeout) is False


def test_many_large_values_are_stored_in_several_trips(made: Any) -> None:
    values = {str(number): bytes([number]) * 500_000 for number in range(12)}
    assert made.set_many(values) == []
    assert made.get_many(values) == values
    with pytest.raises(kvstore.LimitError):
        made.set("large", b"x" * 2_000_000)


def test_caches_of_the_same_settings_share_a_client(setting: Dict[str, Any]) -> None:
    both = {"a": setting, "b": {**setting, "KEY_PREFIX": "b"}, "default": options(setting, read="local")}
    with override_settings(CACHES=both):
        a, b, other = (caches[name]._store() for name in both)
        assert a is b
        assert a is not other


def test_the_asynchronous_calls_are_there(made: Any) -> None:
    async def use() -> Any:
        await made.aset("k", [1])
        await made.aset_many({"a": 1, "b": 2})
        return await made.aget("k"), await made.aget_many(["a", "b", "c"]), await made.aincr("a")

    assert asyncio.run(use()) == ([1], {"a": 1, "b": 2}, 2)


def test_an_eventual_keyspace_is_refused_at_the_first_use(setting: Dict[str, Any], host: kvstore.Node) -> None:
    with override_settings(CACHES={"default": {"BACKEND": BACKEND, "LOCATION": host.address}}):
        cache = caches["default"]
        with pytest.raises(
            kvstore.UnsupportedError, match=r"kvstore.contrib.django: the keyspace 'default' is eventual"
        ):
            cache.set("k", 1)
        assert host.count() == 0
    text = 'keyspace "missing": there is none; `kvstore keyspace create NAME` makes'
    missing = pytest.raises(kvstore.InvalidArgumentError, match=text)
    with override_settings(CACHES={"default": options(setting, keyspace="missing")}), missing:
        caches["default"].get("k")


def test_a_misspelt_option_is_refused(setting: Dict[str, Any]) -> None:
    refused = pytest.raises(kvstore.InvalidArgumentError, match="did you mean 'timeout'")
    with override_settings(CACHES={"default": options(setting, timout=1)}), refused:
        caches["default"]


def test_a_location_may_be_a_target_of_any_kind(host: kvstore.Node, strong_name: str) -> None:
    for location in ([host.address], f"kv://{host.address}/{strong_name}?timeout=3"):
        setting = {"BACKEND": BACKEND, "LOCATION": location}
        if location == [host.address]:
            setting["OPTIONS"] = {"keyspace": strong_name}
        with override_settings(CACHES={"default": setting}):
            caches["default"].set("k", "v")
            assert caches["default"].get("k") == "v"

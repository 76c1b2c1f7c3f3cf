"""Celery's tests of key-value backends, over KVStoreBackend; and what comes of it with a worker."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List

import celery
import pytest
from celery import chain, chord, group, states
from celery.contrib.testing.worker import start_worker

import kvstore
from kvstore.contrib.celery import KVStoreBackend

from .suites import suite

SOURCES = suite("celery")


def application(address: str, keyspace: str, **settings: Any) -> Any:
    """An application whose broker is in memory."""
    backend = f"kvstore.contrib.celery:KVStoreBackend+kv://{address}/{keyspace}?timeout=10"
    app = celery.Celery("tests", broker="memory://", backend=backend, set_as_current=False)
    app.conf.update(broker_transport_options={"polling_interval": 0.01}, **settings)
    # Logging and standard output are the tests' own.
    app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
    return app


@pytest.fixture
def app(host: kvstore.Node, strong_name: str) -> Any:
    return application(host.address, strong_name)


def test_the_tests_of_celery_pass(host: kvstore.Node, strong_name: str) -> None:
    """In a process of its own: they look at all threads and logging of theirs."""
    # Left out: two of backends that cannot count, and two of serializers that are not installed.
    left_out = ["interface", "test_on_chord_part_return", "test_chord_apply_fallback", "yaml", "msgpack"]
    chosen = " and not ".join(["test_KeyValueStoreBackend", *left_out])
    here = pathlib.Path(__file__).parent
    plugins = ["-p", "celery_plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(SOURCES), "-q"]
    settings = ["python_classes=test_*", "markers=celery", "asyncio_default_fixture_loop_scope=function"]
    arguments = [*plugins, *(part for each in settings for part in ("-o", each))]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-k", chosen, "t/unit/backends/test_base.py"],
        cwd=SOURCES,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), *sys.path]),
            "TARGET_OF_THE_TEST": f"kv://{host.address}/{strong_name}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "28 passed" in run.stdout, run.stdout
    # It was ours that they tried.
    assert host.keyspace(strong_name).count("celery/celery-task-meta-") > 0


@pytest.fixture
def tasks(app: Any) -> Any:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: List[int]) -> int:
        return sum(numbers)

    @app.task(name="fail")
    def fail() -> None:
        msg = "as asked"
        raise ValueError(msg)

    return app.tasks


def test_results_come_from_a_worker(app: Any, tasks: Any, host: kvstore.Node, strong_name: str) -> None:
    """With few tasks: the broker in memory takes a tenth of a second for each."""
    add, total, fail = tasks["add"], tasks["total"], tasks["fail"]
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        assert add.delay(1, 2).get(timeout=20) == 3
        assert group(add.s(number, number) for number in range(4))().get(timeout=20) == [0, 2, 4, 6]
        assert chain(add.s(1, 2), add.s(3))().get(timeout=20) == 6
        chords = [chord([add.s(number, 1) for number in range(4)])(total.s()) for _ in range(3)]
        assert [each.get(timeout=20) for each in chords] == [10, 10, 10]
        with pytest.raises(ValueError, match="as asked"):
            fail.delay().get(timeout=20)
    raw = host.keyspace(strong_name)
    assert raw.count("celery/celery-task-meta-") == 1 + 4 + 2 + 3 * 5 + 1
    assert all(86_000 < (entry.ttl or 0) <= 86_400 for entry in raw.scan("celery/celery-task-meta-"))


def test_a_chord_goes_on_once_however_its_parts_end(app: Any) -> None:
    backend = app.backend
    start = threading.Barrier(8)
    counts: List[int] = []

    def end(_: int) -> None:
        start.wait()
        counts.append(backend.incr(backend.get_key_for_chord("g")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(8)))
    assert sorted(counts) == list(range(1, 9))
    assert backend.expire(backend.get_key_for_chord("g"), 100)


def test_whoever_waits_is_told_at_once(app: Any) -> None:
    """The interval is far longer than the test may take."""
    backend = app.backend
    outcomes: List[Any] = []
    waiter = threading.Thread(target=lambda: outcomes.append(backend.wait_for("t", timeout=20, interval=20)))
    waiter.start()
    application_of_the_worker = pickle.loads(pickle.dumps(app)).backend
    application_of_the_worker.store_result("t", {"n": 1}, states.SUCCESS)
    waiter.join()
    assert outcomes[0]["result"] == {"n": 1}
    with pytest.raises(celery.exceptions.TimeoutError):
        backend.wait_for("missing", timeout=0.05)
    looks: List[int] = []
    with pytest.raises(celery.exceptions.TimeoutError):
        backend.wait_for("missing", timeout=0.05, interval=0.01, on_interval=lambda: looks.append(1))
    assert looks


def test_an_eventual_keyspace_has_results_and_no_chords(host: kvstore.Node) -> None:
    app = application(host.address, "default", result_expires=None)
    app.backend.store_result("t", 1, states.SUCCESS)
    assert app.backend.get_result("t") == 1
    assert [entry.ttl for entry in host.scan("celery/")] == [None]

    @app.task(name="total")
    def total(numbers: List[int]) -> int:
        return sum(numbers)

    with pytest.raises(kvstore.UnsupportedError, match=r"contrib.celery: the keyspace 'default' is eventual"):
        chord([total.s([1])])(total.s())


def test_many_results_are_read_in_several_trips(app: Any) -> None:
    backend = app.backend
    keys = [backend.get_key_for_task(str(number)) for number in range(1200)]
    for key in keys[::2]:
        backend.set(key, b"x")
    assert backend.mget(keys) == [b"x", None] * 600


def test_errors_that_may_go_away_are_told_apart(app: Any) -> None:
    backend = app.backend
    assert backend.exception_safe_to_retry(kvstore.UnavailableError("no leader"))
    assert not backend.exception_safe_to_retry(kvstore.LimitError("too large"))
    assert not backend.exception_safe_to_retry(ValueError())


def test_a_uri_tells_no_secrets() -> None:
    app = celery.Celery("tests", broker="memory://", set_as_current=False)
    backend = KVStoreBackend(app, url="kv://h1:1,h2:2/results")
    assert backend.as_uri() == "kv://h1:1,h2:2/results"
    backend.url = "kv://:secret@h1:1,h2:2/results"
    assert backend.as_uri() == "kv://**@h1:1,h2:2/results"
    assert backend.as_uri(include_password=True) == backend.url

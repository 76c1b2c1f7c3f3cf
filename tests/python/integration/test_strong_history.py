from __future__ import annotations

import functools
import json
import multiprocessing
import random
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from . import strong_history
from .strong_history import Recorder, Store, collect, run_workers

_ROOT = Path(__file__).parents[3]
_KEYS = ["a", "b", "c"]


class LostAnswerError(Exception):
    maybe_applied = True


class RefusedError(Exception):
    maybe_applied = False


class VersionConflictError(Exception):
    def __init__(self, found: Optional[int]) -> None:
        super().__init__(found)
        self.found = found


class FakeStore:
    """Atomic, but for one mistake; now and then an answer is lost, or a call refused."""

    def __init__(self, *, seed: int, mistake: str = "") -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._items: Dict[str, Tuple[int, int]] = {}
        self._older: Dict[str, Optional[Tuple[int, int]]] = {}
        self._version = 0
        self._mistake = mistake
        self.mistakes = 0

    def client(self) -> Store:
        return Store(
            get=self._locked(self._get),
            put=self._locked(self._set),
            delete=self._locked(self._delete),
            cas=self._locked(self._cas),
            incr=self._locked(self._incr),
            conflicts=(VersionConflictError,),
        )

    def _locked(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            # Lets another thread in between the call and the act, and between the act and its return.
            threading.Event().wait(0.0001)
            with self._lock:
                fate = self._random.random()
                if fate < 0.01:
                    raise RefusedError
                lost_before, lost_after = fate < 0.015, fate < 0.02
                answer = None if lost_before else act(*arguments)
            threading.Event().wait(0.0001)
            if lost_before or lost_after:
                raise LostAnswerError
            return answer

        return call

    def _errs(self, mistake: str) -> bool:
        errs = self._mistake == mistake and self._random.random() < 0.1
        self.mistakes += errs
        return errs

    def _get(self, key: str) -> Optional[Tuple[int, int]]:
        now, older = self._items.get(key), self._older.get(key)
        return older if older != now and self._errs("stale read") else now

    def _set(self, key: str, value: int) -> int:
        self._version += 1
        if not self._errs("lost write"):
            self._older[key] = self._items.get(key)
            self._items[key] = (value, self._version)
        return self._version

    def _delete(self, key: str) -> bool:
        existed = key in self._items
        if existed:
            self._version += 1
            self._older[key] = self._items.pop(key)
        return existed

    def _cas(self, key: str, expected: Optional[int], value: int) -> int:
        item = self._items.get(key)
        found = None if item is None else item[1]
        if found != expected:
            raise VersionConflictError(found)
        return self._set(key, value)

    def _incr(self, key: str, by: int) -> int:
        item = self._items.get(key)
        total = (0 if item is None else item[0]) + by
        self._set(key, total + by if self._errs("increment twice") else total)
        return total


@pytest.fixture(scope="session")
def checker() -> Path:
    """The program that judges, as `make test-python` builds it."""
    path = _ROOT / "target" / "debug" / "examples" / "check"
    if not path.exists():
        pytest.skip("the checker is not built: cargo build --example check")
    return path


def record(path: Path, store: FakeStore, seed: int) -> str:
    run_workers(path, [store.client() for _ in range(8)], keys=_KEYS, calls=60, seed=seed)
    return collect([path])


def record_alone(path: Path, store: FakeStore) -> str:
    """One client with a key of its own, which looks at each thing that it did.

    Of what several do at the same time nobody may see the one thing that was wrong, or a lost answer may explain it.
    Here there are some twenty wrong ones, and a few lost answers.
    """
    client, key = store.client(), "alone"

    def put(value: int) -> Dict[str, Any]:
        return {"version": client.put(key, value)}

    def found() -> Dict[str, Any]:
        item = client.get(key)
        return {"value": None} if item is None else {"value": item[0], "version": item[1]}

    with closing(Recorder(path)) as recorder:
        for number in range(200):
            value = 100_000_000 + number * 1_000
            recorder.call(9, {"op": "put", "key": key, "value": value}, functools.partial(put, value))
            recorder.call(9, {"op": "get", "key": key}, found)
            recorder.call(9, {"op": "incr", "key": key, "by": 1}, lambda: {"sum": client.incr(key, 1)})
            recorder.call(9, {"op": "get", "key": key}, found)
    return collect([path])


@pytest.mark.parametrize("seed", range(5))
def test_a_right_store_is_linearizable(tmp_path: Path, checker: Path, seed: int) -> None:
    store = FakeStore(seed=seed)
    history = record(tmp_path / "calls", store, seed)
    outcomes = [json.loads(line)["outcome"] for line in history.splitlines()]
    assert len(outcomes) == 8 * 60
    assert {"ok", "conflict", "refused", "unknown"} == set(outcomes)
    verdict = strong_history.check(checker, history + record_alone(tmp_path / "alone", store))
    assert verdict.exit_code == 0, verdict.report
    assert verdict.report.endswith("\nlinearizable\n")


@pytest.mark.parametrize("mistake", ["stale read", "lost write", "increment twice"])
def test_a_store_that_is_sometimes_wrong_is_found_out(tmp_path: Path, checker: Path, mistake: str) -> None:
    store = FakeStore(seed=1, mistake=mistake)
    history = record(tmp_path / "calls", store, seed=1) + record_alone(tmp_path / "alone", store)
    assert store.mistakes > 0
    verdict = strong_history.check(checker, history)
    assert verdict.exit_code == 1, verdict.report
    assert verdict.report.endswith("\nNOT linearizable\n")
    assert "-> client" in verdict.report


def begin_and_hang(path: Path, begun: Any) -> None:
    def hang() -> Dict[str, Any]:
        begun.set()
        threading.Event().wait()
        return {}

    with closing(Recorder(path)) as recorder:
        recorder.call(1, {"op": "get", "key": "k"}, lambda: {"value": None})
        recorder.call(1, {"op": "put", "key": "k", "value": 7}, hang)


def test_a_call_during_which_its_process_is_killed_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=begin_and_hang, args=(path, begun))
    process.start()
    assert begun.wait(20)
    process.kill()
    process.join()
    with path.open("a", encoding="utf-8") as torn:
        torn.write('{"client": 1, "op": "pu')
    lines: List[Dict[str, Any]] = [json.loads(line) for line in collect([path]).splitlines()]
    assert [(line["op"], line["outcome"]) for line in lines] == [("get", "ok"), ("put", "unknown")]
    assert lines[1]["return"] is None


def test_an_exception_that_does_not_tell_the_outcome_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_workers(
            tmp_path / "calls",
            [FakeStore(seed=1).client()._replace(incr=lambda _key, _by: 1 // 0)],
            keys=_KEYS,
            calls=100,
            seed=1,
        )
    outcomes = [json.loads(line)["outcome"] for line in collect([tmp_path / "calls"]).splitlines()]
    assert outcomes[-1] == "unknown"

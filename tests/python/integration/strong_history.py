"""Records what clients of a strong keyspace see, as a history that `cargo run --example check` judges.

It knows no client library: it is given callables, and tells how a call ended by the exceptions that they raise:

* one with a true `maybe_applied`: unknown; the write may take effect at any later time, or never;
* one with a false `maybe_applied`: refused; it has had no effect and will have none;
* one of the types named as conflicts: the condition of a compare-and-set did not hold;
* any other is a mistake of the test, and is raised again. The call is unknown all the same.

Each call is written down before it begins, so one during which its process is killed is there as unknown. Times are
those of the monotonic clock, which all processes of a machine share. What is not done: transactions, snapshots,
processes on several machines. The format is described in `tests/support/linear/lines.rs`.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from contextlib import closing
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple, Type

if TYPE_CHECKING:
    from pathlib import Path

# A call is chosen from these, as often as they are here.
_MIX = ("get", "get", "get", "put", "put", "cas", "cas", "incr", "delete")

# More than a search may take: see STEPS_MAX in tests/support/linear/mod.rs.
_CHECK_SECONDS = 120.0


class Store(NamedTuple):
    """What one client can do. Versions are None where the client is not told of them."""

    get: Callable[[str], Optional[Tuple[int, Optional[int]]]]
    """The value and its version, or None."""
    put: Callable[[str, int], Optional[int]]
    """Returns the version that was made."""
    delete: Callable[[str], Optional[bool]]
    """Returns whether the key was there."""
    cas: Callable[[str, Optional[int], int], Optional[int]]
    """Puts the value if the key has that version, or is absent if it is None; returns the version that was made."""
    incr: Callable[[str, int], int]
    """Returns the sum."""
    conflicts: Tuple[Type[Exception], ...]
    """What `cas` raises when the condition does not hold. `found`, if they have it, is the version that was there."""


class Recorder:
    """Writes the calls of one process to a file, from any of its threads."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("x", encoding="utf-8")
        self._lock = threading.Lock()
        self._serial = 0

    def close(self) -> None:
        self._file.close()

    def call(
        self,
        client: int,
        asked: Dict[str, Any],
        run: Callable[[], Dict[str, Any]],
        conflicts: Tuple[Type[Exception], ...] = (),
    ) -> Optional[Dict[str, Any]]:
        """Run one call and write down how it went.

        Args:
            client: Who asks.
            asked: The operation, in the fields of the format.
            run: Does it, and returns the fields of the answer.
            conflicts: What it raises when a condition does not hold.

        Returns:
            The answer; None if there is none.
        """
        line = {"client": client, **asked, "call": time.monotonic_ns(), "return": None, "outcome": "unknown"}
        with self._lock:
            self._serial += 1
            line["serial"] = self._serial
        self._write(line)
        try:
            answer = run()
        except conflicts as error:
            found = {"found": error.found} if hasattr(error, "found") else {}
            self._write({**line, **found, "outcome": "conflict", "return": time.monotonic_ns()})
            return None
        except Exception as error:
            if not hasattr(error, "maybe_applied"):
                raise
            outcome = "unknown" if error.maybe_applied else "refused"
            self._write({**line, "outcome": outcome, "return": time.monotonic_ns()})
            return None
        self._write({**line, **answer, "outcome": "ok", "return": time.monotonic_ns()})
        return answer

    def _write(self, line: Dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        with self._lock:
            # Handed to the system at once: what a killed process had begun is in the file.
            self._file.write(text)
            self._file.flush()


class Worker(threading.Thread):
    """One client that does random things to a few keys, one after another, each value unique."""

    def __init__(
        self,
        recorder: Recorder,
        store: Store,
        *,
        client: int,
        keys: List[str],
        calls: int,
        seed: int,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name=f"client {client}")
        self._recorder = recorder
        self._store = store
        self._client = client
        self._keys = keys
        self._calls = calls
        self._goes_on = goes_on
        self._random = random.Random(f"{seed} {client}")
        self._seen: Dict[str, Optional[int]] = {}
        self.mistake: Optional[BaseException] = None

    def run(self) -> None:
        try:
            for number in range(self._calls):
                if not self._goes_on():
                    return
                # The clients' ranges do not meet, even when increments are added.
                self._call(self._random.choice(self._keys), (self._client * 1_000_000 + number) * 1_000)
        except Exception as mistake:  # noqa: BLE001 - told by whoever joins this thread
            self.mistake = mistake

    def _call(self, key: str, value: int) -> None:
        op = self._random.choice(_MIX)
        store = self._store
        if op == "get":
            self._ask({"op": op, "key": key}, lambda: _found(store.get(key)))
        elif op == "put":
            self._ask({"op": op, "key": key, "value": value}, lambda: _made(store.put(key, value)))
        elif op == "delete":
            self._ask({"op": op, "key": key}, lambda: _existed(store.delete(key)))
        elif op == "incr":
            by = self._random.randint(1, 3)
            self._ask({"op": op, "key": key, "by": by}, lambda: {"sum": store.incr(key, by)})
        else:
            expected = self._seen.get(key)
            asked = {"op": op, "key": key, "expected": expected, "value": value}
            self._ask(asked, lambda: _made(store.cas(key, expected, value)))

    def _ask(self, asked: Dict[str, Any], run: Callable[[], Dict[str, Any]]) -> None:
        answer = self._recorder.call(self._client, asked, run, self._store.conflicts)
        # What was read is expected by the next compare-and-set; without a version that is that nothing is there.
        if answer is not None and asked["op"] == "get":
            self._seen[asked["key"]] = answer.get("version")


def _found(item: Optional[Tuple[int, Optional[int]]]) -> Dict[str, Any]:
    if item is None:
        return {"value": None}
    value, version = item
    return {"value": value} if version is None else {"value": value, "version": version}


def _made(version: Optional[int]) -> Dict[str, Any]:
    return {} if version is None else {"version": version}


def _existed(existed: Optional[bool]) -> Dict[str, Any]:  # noqa: FBT001 - an answer, not an option
    return {} if existed is None else {"existed": existed}


def run_workers(
    path: Path,
    stores: List[Store],
    *,
    keys: List[str],
    calls: int,
    seed: int,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Let one worker a store make so many calls, all at the same time, and write them to a new file.

    `goes_on` is called before each call, by any of them: it may wait, and ends the worker when it is false.
    """
    with closing(Recorder(path)) as recorder:
        workers = [
            Worker(recorder, store, client=client, keys=keys, calls=calls, seed=seed, goes_on=goes_on)
            for client, store in enumerate(stores)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for worker in workers:
        if worker.mistake is not None:
            raise worker.mistake


def collect(paths: Iterable[Path]) -> str:
    """The history that the files of some processes make together, in the format of the checker."""
    lines: Dict[Tuple[Path, int], Dict[str, Any]] = {}
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
            # The last line of a killed process may be torn: its call is there as unknown, if it had begun.
            if text.endswith("\n"):
                line = json.loads(text)
                lines[path, line.pop("serial")] = line
    return "".join(json.dumps(line) + "\n" for line in lines.values())


class Verdict(NamedTuple):
    """What the checker says."""

    exit_code: int
    """0: linearizable; 1: not; 2: undecided, or unreadable."""
    report: str


def check(checker: Path, history: str) -> Verdict:
    """Judge a history with the program that `cargo build --example check` makes."""
    ended = subprocess.run(
        [str(checker)], input=history, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False
    )
    return Verdict(ended.returncode, ended.stdout + ended.stderr)

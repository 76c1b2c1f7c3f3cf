"""A program that takes a lock again and again, and counts on under it: a worker of test_strong_hand_overs.

It is told where nodes are, its own name, and the ttl of the lock. What it does it writes to stdout, one line each:

* `held TOKEN`: it has the lock;
* `step NUMBER TOKEN`: one step under the lock was acknowledged;
* `refused TOKEN`: a step was refused, because the lock was lost;
* `unknown TOKEN`: nobody knows whether a step was made;
* `waited in vain`: it lost its place in line, or could not ask for one.

On SIGUSR1 it tells on stderr where each of its threads is.
"""

from __future__ import annotations

import contextlib
import faulthandler
import random
import signal
import sys
import threading
from typing import Any

import kvstore

LOCK = "baton"
KEYSPACE = "relay"
STEPS = 3

# Steps are so far apart, at random, so that others get a chance to do harm.
_BETWEEN_SECONDS = 0.02


def main(targets: str, name: str, ttl: float) -> None:
    """Work until killed."""
    pause = threading.Event()
    with kvstore.Client(targets.split(","), KEYSPACE, timeout=10) as db:
        while True:
            lock = db.lock(LOCK, ttl=ttl)
            try:
                lock.acquire()
            except (kvstore.LockLostError, kvstore.UnavailableError, kvstore.DeadlineError):
                say("waited", "in", "vain")
                continue
            _hold(db, lock, name, pause)
            # Whoever cannot say that it gives the lock back leaves that to the end of its lease.
            with contextlib.suppress(kvstore.LockLostError, kvstore.UnavailableError, kvstore.DeadlineError):
                lock.release()


def say(*words: object) -> None:
    """One line."""
    print(*words, flush=True)  # noqa: T201 - this is what it is for


def _hold(db: kvstore.Client[Any], lock: Any, name: str, pause: threading.Event) -> None:
    token = lock.fencing_token
    say("held", token)
    scope = lock.scope()
    for _ in range(STEPS):
        try:
            # A read and a write that nothing keeps together but the lock.
            number = db.get("count", 0) + 1
            pause.wait(random.uniform(0, _BETWEEN_SECONDS))
            with scope.batch(atomic=True) as batch:
                batch.put("count", number)
                batch.put(f"step/{number:08}", {"token": token, "holder": name})
                batch.incr("writes")
        except kvstore.LockLostError:
            say("refused", token)
            return
        except (kvstore.UnavailableError, kvstore.DeadlineError):
            say("unknown", token)
            return
        say("step", number, token)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))

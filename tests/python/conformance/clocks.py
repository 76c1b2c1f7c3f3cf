"""Clocks to run the tests of others by, many of which count on not being kept from running."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable
from unittest import mock

BUSY_SECONDS = 0.3
"""How long such a test may take beside its waits. They allow for a second, or for what is left of one."""

_ATTEMPTS = 5


class RealClock:
    """Stands for the module `time`, and knows how long it was asked to wait."""

    def __init__(self) -> None:
        self.waited = 0.0

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.waited += seconds
        threading.Event().wait(seconds)


class FakeClock:
    """Moves when it is asked to wait, and at no other time."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def patiently(clock: RealClock, test: Callable[[], None], reset: Callable[[], Any]) -> None:
    """Run a test. If it fails and was kept from running for long, that says nothing: it is run again after a reset."""
    for attempt in range(_ATTEMPTS):
        begin, waited = time.monotonic(), clock.waited
        try:
            test()
        except AssertionError:
            busy = time.monotonic() - begin - (clock.waited - waited)
            if busy < BUSY_SECONDS or attempt == _ATTEMPTS - 1:
                raise
            reset()
        else:
            return


def patiently_in(module: Any, test: Callable[[], None], reset: Callable[[], Any] = int) -> None:
    """As patiently(), a test of a module that imports `time`."""
    clock = RealClock()
    with mock.patch.object(module, "time", clock):
        patiently(clock, test, reset)

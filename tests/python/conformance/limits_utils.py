"""What the tests of limits take from their `tests.utils`, which no release has; and clocks to run them by."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from typing import Any, Callable, Iterator, Optional, Tuple

_BUSY_SECONDS = 0.3
"""How long a test may compute: those of fixed windows count on getting through within the second that has begun."""

_YOUNG_SECONDS = 0.2
"""How much of the second may be over when such a test begins."""


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


clock: Any = RealClock()


def as_it_is(test: Callable[..., None]) -> Callable[..., None]:
    """The storages are fixtures here, no parameters."""
    return test


all_storage = moving_window_storage = as_it_is


def fixed_start(test: Callable[..., None]) -> Callable[..., None]:
    """Begin with a second. A failure of a test that was kept from running for long says nothing: it is repeated."""

    @functools.wraps(test)
    def run(self: Any, **fixtures: Any) -> None:
        for attempt in range(5):
            if clock.time() % 1 > _YOUNG_SECONDS:
                # A little later: a wait may end a little early.
                clock.sleep(math.ceil(clock.time()) + 0.01 - clock.time())
            begin, waited = time.monotonic(), clock.waited
            try:
                test(self, **fixtures)
            except AssertionError:
                busy = time.monotonic() - begin - (clock.waited - waited)
                if busy < _BUSY_SECONDS or attempt == 4:
                    raise
                fixtures["fixture"].reset()
            else:
                return

    return run


@contextlib.contextmanager
def window(end: float, delay: Optional[float] = None) -> Iterator[Tuple[int, int]]:
    """The block begins after `delay` and ends after `end`, both from now. Gives now and then, in whole seconds."""
    begin = clock.time()
    _wait_until(begin + (delay or 0))
    yield int(begin), int(begin + end)
    _wait_until(begin + end)


def _wait_until(moment: float) -> None:
    left = moment - clock.time()
    if left > 0:
        clock.sleep(left)

"""What the tests of limits take from their `tests.utils`, which no release has."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any, Callable, Iterator, Optional, Tuple

from .clocks import RealClock, patiently

_YOUNG_SECONDS = 0.2
"""How much of the second may be over when such a test begins."""


clock: Any = RealClock()


def as_it_is(test: Callable[..., None]) -> Callable[..., None]:
    """The storages are fixtures here, no parameters."""
    return test


all_storage = moving_window_storage = as_it_is


def fixed_start(test: Callable[..., None]) -> Callable[..., None]:
    """Begin with a second, and patiently."""

    @functools.wraps(test)
    def run(self: Any, **fixtures: Any) -> None:
        def once() -> None:
            if clock.time() % 1 > _YOUNG_SECONDS:
                # A little later: a wait may end a little early.
                clock.sleep(math.ceil(clock.time()) + 0.01 - clock.time())
            test(self, **fixtures)

        patiently(clock, once, fixtures["fixture"].reset)

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

"""Looks at all members in a thread of its own, because they wait for those that do not answer."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Final, Iterator, List, Mapping, NamedTuple, Optional

import kvstore

if TYPE_CHECKING:
    from typing_extensions import Self

    from .top import Watched

# Seconds between two attempts to end the calls of the thread.
_PATIENCE: Final = 0.02


class Seen(NamedTuple):
    """What a look has found, or how it went wrong."""

    records: Optional[List[Mapping[str, Any]]] = None
    headline: str = ""
    error: Optional[BaseException] = None
    is_last: bool = False


class Looks:
    """One look after the other, at a pace that may be changed at any time; leaving the block ends them.

    Args:
        watched: Whom to look at.
        interval: Seconds from one look to the next, in which the time that it takes counts.
        count: How many looks there are; None is no end.
    """

    def __init__(self, watched: Watched, interval: float, count: Optional[int]) -> None:
        self._watched = watched
        self._interval = interval
        self._count = count
        self._is_paused = False
        self._is_stopped = False
        # Guards the interval and both flags.
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    @property
    def interval(self) -> float:
        """Seconds."""
        return self._interval

    @property
    def is_paused(self) -> bool:
        """Whether none is told, and none begins."""
        return self._is_paused

    def set_interval(self, seconds: float) -> None:
        """Change the pace, also of the look that is waited for."""
        with self._changed:
            self._interval = seconds
            self._changed.notify_all()

    def set_paused(self, *, is_paused: bool) -> None:
        """Stand still, or go on."""
        with self._changed:
            self._is_paused = is_paused
            self._changed.notify_all()

    def start(self, tell: Callable[[Seen], object]) -> None:
        """Begin; `tell` is called in the thread with what each look has found."""
        self._thread = threading.Thread(target=self._run, args=(tell,), name="kvstore-top", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        while self._thread is not None and self._thread.is_alive():
            # Again and again, because the thread may be about to call with a client that it has just made.
            self._watched.interrupt()
            self._thread.join(_PATIENCE)

    def _run(self, tell: Callable[[Seen], object]) -> None:
        # RuntimeError: whom to tell has ended meanwhile.
        with suppress(RuntimeError):
            tell(self._seen(tell))

    def _seen(self, tell: Callable[[Seen], object]) -> Seen:
        """Tell of all looks but the end, which is returned."""
        try:
            tell(Seen(self._watched.first(), self._watched.headline()))
            for _ in self._ticks():
                seen = self._look()
                self._wait()
                tell(seen)
        except Exception as error:  # noqa: BLE001 - the screen has to end before it can be reported
            return Seen(error=error, is_last=True)
        return Seen(is_last=True)

    def _look(self) -> Seen:
        try:
            return Seen(self._watched.again(), self._watched.headline())
        except kvstore.KVError as error:
            return Seen(error=error)

    def _ticks(self) -> Iterator[int]:
        number = 0
        began = time.monotonic()
        while (self._count is None or number < self._count) and self._wait(since=began):
            began = time.monotonic()
            yield number
            number += 1

    def _wait(self, since: Optional[float] = None) -> bool:
        """Wait until an interval has passed, if `since` is given, and until nothing is paused; False at the end."""
        with self._changed:
            while not self._is_stopped:
                left = 0.0 if since is None else since + self._interval - time.monotonic()
                if not self._is_paused and left <= 0:
                    return True
                self._changed.wait(None if self._is_paused else left)
            return False

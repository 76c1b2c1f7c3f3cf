"""Watching keys: an endless iteration over what happens to them."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, AsyncIterator, Final, Generic, Iterator, List, NoReturn, Optional, Tuple, TypeVar

from kvstore._bridge import queue_of
from kvstore.errors import ClosedError, UnavailableError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self

    from kvstore import _core
    from kvstore._core import Event
    from kvstore._options import Timeout
    from kvstore.codecs import Codec

__all__ = ["AsyncWatch", "Watch"]

V = TypeVar("V")

_BEGIN_SECONDS: Final = 5.0
"""How long a watch may take to begin: as a call of a client."""

_BATCH_EVENTS: Final = 1024
"""Events of one batch at most: what has piled up beyond that comes with the next."""

_CANCELLED: Final = "WATCH_CANCELLED"


class _Watch(Generic[V]):
    """What the two kinds have in common: taking what is there."""

    def __init__(self, native: _core.Changes, codec: Optional[Codec[V]]) -> None:
        self._native = native
        self._codec = codec
        # What is raised next, and the position before it.
        self._held: Optional[Tuple[Exception, bytes]] = None

    @property
    def position(self) -> bytes:
        """After the last event handed out: pass it to `since` to resume at any node. To be stored, not compared."""
        return self._native.position if self._held is None else self._held[1]

    def cancel(self) -> None:
        """From any thread: iteration ends, next() raises ClosedError. Idempotent."""
        self._native.cancel()

    def _take(self) -> Optional[Event[V]]:
        if self._held is not None:
            (error, _), self._held = self._held, None
            raise error
        return self._native.take(self._codec)

    def _take_batch(self) -> List[Event[V]]:
        batch: List[Event[V]] = []
        # What was written together stays together, however much it is.
        while len(batch) < _BATCH_EVENTS or self._native.inside:
            event = self._take_more(batch)
            if event is None:
                break
            batch.append(event)
        return batch

    def _take_more(self, batch: List[Event[V]]) -> Optional[Event[V]]:
        try:
            return self._take()
        except Exception as error:
            if not batch:
                raise
            # It comes after what was taken before it.
            self._held = error, batch[-1].position
            return None

    def __reduce__(self) -> NoReturn:
        """A watch is not a value: keep its position."""
        msg = "a watch cannot be pickled: send its position, and watch again with since=position"
        raise TypeError(msg)


def _is_cancelled(error: ClosedError) -> bool:
    return error.code == _CANCELLED


def _no_begin() -> UnavailableError:
    return UnavailableError(f"no node has taken the watch within {_BEGIN_SECONDS:.0f} s")


class Watch(_Watch[V]):
    """Iterates for ever, over lost connections and nodes, without gaps or repeats, or raises CompactedError.

    In a strong keyspace every write comes, in the order of the log. In an eventual one each key comes in the order of
    its versions; versions that were replaced before they were told of are skipped, and an event is shown once another
    node has it too. For one thread, but for cancel(). A `with` block ends it.

    Raises:
        CompactedError: What came after `since` is forgotten: watch again with initial=True.
        ClosedError: The client was closed, or the node stopped.

    Example:
        >>> with db.watch(prefix="user:") as changes:
        ...     for event in changes:
        ...         print(event.type, event.key, event.entry)
    """

    def _begin(self) -> None:
        ends = time.monotonic() + _BEGIN_SECONDS
        while not self._native.begun:
            if not self._native.wait(max(0.0, ends - time.monotonic())):
                self.cancel()
                raise _no_begin()

    def next(self, timeout: Timeout = None) -> Optional[Event[V]]:
        """The next event; None when the timeout passed.

        Raises:
            CodecError: Its value cannot be decoded. The watch has passed it and can go on.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            event = self._take()
            if event is not None:
                return event
            if not self._native.wait(None if ends is None else max(0.0, ends - time.monotonic())):
                return None

    def batches(self) -> Iterator[List[Event[V]]]:
        """All that is there, at least one event, again and again; what was written together is in one of them.

        Raises:
            CodecError: A value cannot be decoded; what came before it was handed out. batches() again goes on after it.
        """
        while True:
            try:
                batch = self._take_batch()
                while not batch:
                    self._native.wait(None)
                    batch = self._take_batch()
            except ClosedError as error:
                if _is_cancelled(error):
                    return
                raise
            yield batch

    def __iter__(self) -> Iterator[Event[V]]:
        """As next() without a timeout, until cancel()."""
        while True:
            try:
                event = self.next()
            except ClosedError as error:
                if _is_cancelled(error):
                    return
                raise
            if event is not None:
                yield event

    def __enter__(self) -> Self:
        """The watch itself."""
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """End it."""
        self.cancel()


class AsyncWatch(_Watch[V]):
    """As Watch, for asyncio. It begins in the background; after `async with` has entered it, nothing is missed.

    A wait that is cancelled loses no event.

    Example:
        >>> async with db.watch(prefix="user:") as changes:
        ...     async for event in changes:
        ...         print(event.type, event.key, event.entry)
    """

    def _begin(self) -> None:
        """Waiting is for __aenter__."""

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        queue, future = queue_of(loop), loop.create_future()
        await queue.wait(queue.native.watch(self._native, future), future)

    async def next(self, timeout: Timeout = None) -> Optional[Event[V]]:
        """The next event; None when the timeout passed.

        Raises:
            CodecError: Its value cannot be decoded. The watch has passed it and can go on.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            event = self._take()
            if event is not None:
                return event
            try:
                await asyncio.wait_for(self._wait(), None if ends is None else max(0.0, ends - time.monotonic()))
            except asyncio.TimeoutError:
                # What came at the last moment is there to be taken.
                return self._take()

    async def batches(self) -> AsyncIterator[List[Event[V]]]:
        """All that is there, at least one event, again and again; what was written together is in one of them.

        Raises:
            CodecError: A value cannot be decoded; what came before it was handed out. batches() again goes on after it.
        """
        while True:
            try:
                batch = self._take_batch()
                while not batch:
                    await self._wait()
                    batch = self._take_batch()
            except ClosedError as error:
                if _is_cancelled(error):
                    return
                raise
            yield batch

    async def __aiter__(self) -> AsyncIterator[Event[V]]:
        """As next() without a timeout, until cancel()."""
        while True:
            try:
                event = await self.next()
            except ClosedError as error:
                if _is_cancelled(error):
                    return
                raise
            if event is not None:
                yield event

    async def __aenter__(self) -> Self:
        """Wait until it has begun."""
        ends = time.monotonic() + _BEGIN_SECONDS
        while not self._native.begun:
            try:
                await asyncio.wait_for(self._wait(), max(0.0, ends - time.monotonic()))
            except asyncio.TimeoutError:  # noqa: PERF203  # the loop waits anyway
                self.cancel()
                raise _no_begin() from None
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """End it."""
        self.cancel()

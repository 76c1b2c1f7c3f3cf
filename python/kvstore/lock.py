"""Locks and elections: one holder at a time, in the order of asking, with a token that only grows.

`kvstore/aio/lock.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Final, List, NoReturn, Optional, Tuple, TypeVar, Union, cast, overload

from kvstore._core import StrongRequests
from kvstore._options import DEFAULT, Wanted, in_seconds
from kvstore.codecs import BYTES, native
from kvstore.errors import (
    ConflictError,
    DeadlineError,
    InvalidArgumentError,
    KVError,
    LockLostError,
    UnavailableError,
)
from kvstore.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self

    from kvstore import _core
    from kvstore._core import Entry
    from kvstore._options import Seconds, Timeout
    from kvstore.store import Store

__all__ = ["Election", "Lock"]

V = TypeVar("V")

_WAIT_SECONDS: Final = 15.0
"""How long one call waits in line. The next goes on where it ended."""

_ANSWER_SECONDS: Final = 5.0
"""How long the answer to it may take on top."""

_OBSERVED_MAX: Final = 64
"""Changes of leadership that may wait to be taken."""


class _Claim:
    """What lock and election share: a place of this object alone, with a lease that native threads keep alive."""

    _what = "lock"

    def __init__(self, store: Store[Any], name: str, ttl: Seconds) -> None:
        self._store = store
        self._requests = store._may_be_strong(self._what)  # noqa: SLF001
        self._name = name
        self._ttl = ttl
        self._lease = 0
        self._token: Optional[int] = None
        self._kept: Optional[_core.Kept] = None
        self._when_lost: List[Callable[[], None]] = []

    @property
    def fencing_token(self) -> int:
        """Grows with each holder; pass it to what is protected. Stays the same after a loss.

        Raises:
            InvalidArgumentError: Nothing is held.
        """
        if self._token is None:
            msg = f"{self._what} {self._name!r}: it is not held"
            raise InvalidArgumentError(msg)
        return self._token

    @overload
    def scope(self) -> Store[Any]: ...
    @overload
    def scope(self, store: Store[V]) -> Store[V]: ...
    def scope(self, store: Optional[Store[Any]] = None) -> Store[Any]:
        """A view whose every write is refused with LockLostError, by the store itself, unless it is still held.

        That is safe where a look at the clock is not: a program that was stopped for a minute does no harm.

        Args:
            store: A view of the same keyspace, for its codec and defaults; default: the one this was made from.

        Raises:
            InvalidArgumentError: Nothing is held, or `store` is another keyspace.
        """
        view = self._store if store is None else store
        if view._may_be_strong("scope").keyspace != self._requests.keyspace:  # noqa: SLF001
            msg = f"store: the {self._what} is of the keyspace {self._requests.keyspace!r}, and guards no other"
            raise InvalidArgumentError(msg)
        return view._fenced(self._name, self.fencing_token)  # noqa: SLF001

    def on_lost(self, fn: Callable[[], None]) -> None:
        """Call `fn` once, on a Python thread, when it is lost: not when it is given back."""
        self._when_lost.append(fn)
        if self._kept is not None:
            _watch(self._kept, fn, self._when_lost)

    def _is_held(self) -> bool:
        return self._token is not None and self._kept is not None and self._kept.alive

    def _claim(self, value: bytes, timeout: Timeout) -> bool:
        """Get in line and wait; False when the timeout passed, and the line is left."""
        if self._token is not None:
            msg = f"{self._what} {self._name!r}: this object has it already, or has lost it; give it back first"
            raise InvalidArgumentError(msg)
        self._store._strong(self._what)  # noqa: SLF001
        seconds = in_seconds(timeout)
        ends = None if seconds is None else time.monotonic() + seconds
        granted = self._store._run(StrongRequests.grant(self._ttl))  # noqa: SLF001
        lease, ttl = cast("Tuple[int, float]", granted)
        kept = self._store._keep(lease, ttl)  # noqa: SLF001
        try:
            token = self._queue(lease, kept, value, ends)
        except BaseException:
            # Also Ctrl-C, or a task that is cancelled: nobody waits for it any more.
            kept.abandon()
            raise
        if token is None:
            kept.abandon()
            return False
        self._lease, self._token, self._kept = lease, token, kept
        for fn in self._when_lost:
            _watch(kept, fn, self._when_lost)
        return True

    def _queue(self, lease: int, kept: _core.Kept, value: bytes, ends: Optional[float]) -> Optional[int]:
        waits = ends is None or ends > time.monotonic()
        try:
            request = self._requests.acquire(self._name, lease, value, waits)
            token = cast("Optional[int]", self._store._run(request))  # noqa: SLF001
        except ConflictError as error:
            if error.code != "LOCK_HELD":
                raise
            return None
        while token is None:
            left = _WAIT_SECONDS if ends is None else min(_WAIT_SECONDS, ends - time.monotonic())
            if left <= 0:
                return None
            if not kept.alive:
                msg = f"{self._what} {self._name!r}: the place in line was lost; no node could be reached for too long"
                raise LockLostError(msg)
            # A cluster without a leader for a moment is no reason to leave the line.
            with contextlib.suppress(UnavailableError, DeadlineError):
                token = self._await(lease, left)
        return token

    def _await(self, lease: int, seconds: float) -> Optional[int]:
        request = self._requests.await_lock(self._name, lease, int(seconds * 1000) + 1)
        return cast("Optional[int]", self._store._run(request, seconds + _ANSWER_SECONDS))  # noqa: SLF001

    def _give_back(self) -> None:
        """Give it back; LockLostError when it was lost before."""
        kept, self._kept, self._token = self._kept, None, None
        if kept is None:
            return
        try:
            # Refused in a forked child: what is held is its parent's.
            _ = kept.alive
            # Refused unless it was held all the time, also if no sign of life got through for a while.
            self._store._run(self._requests.release(self._name, self._lease))  # noqa: SLF001
        finally:
            # The lease has nothing on it any more; nobody needs to wait for its end.
            kept.abandon()

    def _leave(self, error: Optional[BaseException]) -> None:
        try:
            self._give_back()
        except KVError:
            # What went wrong inside says more.
            if error is None:
                raise

    def __del__(self) -> None:
        """Only warn, and let go without waiting."""
        kept = getattr(self, "_kept", None)
        if kept is not None:
            with contextlib.suppress(KVError):
                kept.abandon()
                text = f"{self._what} {self._name!r} was not given back: use `with`"
                # What let it go is wherever the garbage collector was called from.
                warnings.warn(text, ResourceWarning, stacklevel=1, source=self)

    def __reduce__(self) -> NoReturn:
        """What is held is not a value."""
        msg = f"a {self._what} cannot be pickled: it belongs to the process that has it; send its fencing_token"
        raise TypeError(msg)


class Lock(_Claim):
    """From `Store.lock()`. Kept alive from native threads; fair: first come, first served. For one thread.

    Whoever holds it may lose it, when no node can be reached for its `ttl`; `held` and on_lost() tell at once. What
    must not happen then goes through scope(), or is given the `fencing_token`.

    Raises:
        DeadlineError: `with` waited too long.
        LockLostError: At the end of the block: it was lost inside.
    """

    def __init__(self, store: Store[Any], name: str, ttl: Seconds, timeout: Timeout) -> None:
        super().__init__(store, name, ttl)
        self._timeout = timeout

    @property
    def held(self) -> bool:
        """Whether it is certainly held: by a clock that counts from before the last sign of life."""
        return self._is_held()

    def acquire(self, timeout: Timeout = DEFAULT) -> bool:
        """Wait for it; False when the timeout passed.

        Args:
            timeout: How long to wait in line: 0: not at all; None: until it comes; default: that of lock().

        Raises:
            LockLostError: The place in line was lost, as no node could be reached.
        """
        return self._claim(b"", self._timeout if timeout is DEFAULT else timeout)

    def release(self) -> None:
        """Give it back. Idempotent.

        Raises:
            LockLostError: It was lost before.
        """
        self._give_back()

    def __enter__(self) -> Self:
        """Wait for it."""
        if not self.acquire():
            msg = f"lock {self._name!r}: another holds it, and {in_seconds(self._timeout)} s were too few"
            raise DeadlineError(msg)
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Give it back."""
        self._leave(error)

    def __repr__(self) -> str:
        return f"<kvstore lock {self._name!r}, {'not held' if self._token is None else f'token {self._token}'}>"


class Election(_Claim):
    """From `Store.election()`. `with` campaigns and resigns. For one thread at a time.

    Raises:
        LockLostError: At the end of the block: leadership was lost inside.
    """

    _what = "election"

    @property
    def is_leader(self) -> bool:
        """Whether this certainly leads: by a clock that counts from before the last sign of life."""
        return self._is_held()

    def campaign(self, value: Union[str, bytes] = "", timeout: Timeout = None) -> bool:
        """Wait until this leads; False after the timeout.

        Args:
            value: What leader() tells the others, such as an address.
            timeout: How long to wait. 0: not at all; None: until it leads.
        """
        return self._claim(value.encode() if isinstance(value, str) else value, timeout)

    def resign(self) -> None:
        """Let the next one lead. Idempotent.

        Raises:
            LockLostError: Leadership was lost before.
        """
        self._give_back()

    def leader(self) -> Optional[Entry[bytes]]:
        """Who leads, with the value it campaigned with; None: nobody."""
        self._store._strong(self._what)  # noqa: SLF001
        request = self._requests.holder(self._name, native(BYTES))
        return cast("Optional[Entry[bytes]]", self._store._run(request))  # noqa: SLF001

    def observe(self) -> Watch[bytes]:
        """Changes of leadership, the present one first: a put says who leads, a delete or expire that nobody does."""
        wanted = Wanted(self._name, None, None, True, _OBSERVED_MAX, self._requests.keyspace, strong=True, locks=True)  # noqa: FBT003
        watch: Watch[bytes] = Watch(self._store._open_watch(wanted), native(BYTES))  # noqa: SLF001
        watch._begin()  # noqa: SLF001
        return watch

    def __enter__(self) -> Self:
        """Campaign until this leads."""
        self.campaign()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Resign."""
        self._leave(error)

    def __repr__(self) -> str:
        return f"<kvstore election {self._name!r}, {'not leading' if self._token is None else f'token {self._token}'}>"


def _watch(kept: _core.Kept, fn: Callable[[], None], when_lost: List[Callable[[], None]]) -> None:
    def wait() -> None:
        if kept.wait(None) and fn in when_lost:
            # Once: what is taken again may be lost again.
            when_lost.remove(fn)
            fn()

    threading.Thread(target=wait, name="kvstore-lost", daemon=True).start()

"""Leases: what hangs on one vanishes with it.

`kvstore/aio/lease.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Tuple, cast

from kvstore import _fork
from kvstore._core import StrongRequests
from kvstore.errors import ForkedError, InvalidArgumentError, KVError, LockLostError
from kvstore.status import LeaseInfo

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self

    from kvstore import _core
    from kvstore._options import Seconds
    from kvstore.store import Store

__all__ = ["Lease"]


class Lease:
    """From `Store.lease()`. Revoked at the end of its `with` block; LockLostError there when it ended by itself.

    With `keep_alive` native threads keep it alive until it is revoked or the object is gone. In a forked child it is
    its parent's: all but `id` raises ForkedError there, and find_lease() makes one that does not.

    Example:
        >>> with db.lease(10) as lease:
        ...     db.put("worker/1", "up", lease=lease)
    """

    def __init__(self, store: Store[Any], ttl: Seconds, *, keep_alive: bool) -> None:
        self._store = store
        self._wanted = ttl
        self._keeps_alive = keep_alive
        self._id: Optional[int] = None
        self._kept: Optional[_core.Kept] = None
        self._ends = 0.0
        self._is_revoked = False
        self._generation = _fork.generation()

    @property
    def id(self) -> int:
        """Names it for ever; no other lease gets it."""
        if self._id is None:
            msg = "lease: it is not granted yet; enter it, or refresh() it"
            raise InvalidArgumentError(msg)
        return self._id

    @property
    def ttl(self) -> float:
        """Seconds for which it certainly lasts; 0 when it has ended, or may have."""
        self._check_process()
        if self._is_revoked or (self._kept is not None and not self._kept.alive):
            return 0.0
        left = max(0.0, self._ends - time.monotonic())
        return left if self._kept is None else max(left, self._kept.remaining)

    @property
    def alive(self) -> bool:
        """Whether it certainly lasts."""
        return self.ttl > 0

    def refresh(self) -> float:
        """Let it last for its whole time again; the new ttl.

        Raises:
            LockLostError: It has ended.
        """
        self._check_process()
        sent = time.monotonic()
        if self._id is None:
            self._begin()
        elif self._is_revoked:
            msg = f"lease {self._id}: it was revoked"
            raise LockLostError(msg, code="LEASE_LOST")
        else:
            renewed = self._store._run(StrongRequests.keep_alive(self._id))  # noqa: SLF001
            self._ends = max(self._ends, sent + cast("Tuple[int, float]", renewed)[1])
        return self.ttl

    def revoke(self) -> None:
        """End it, and all that hangs on it, now. Idempotent.

        Raises:
            LockLostError: It had ended by itself.
        """
        if self._id is None or self._is_revoked:
            return
        self._check_process()
        if self._kept is not None:
            self._kept.stop()
        self._store._run(StrongRequests.revoke(self._id))  # noqa: SLF001
        self._is_revoked = True

    def info(self) -> LeaseInfo:
        """What the store says of it.

        Raises:
            LockLostError: It has ended.
        """
        self._check_process()
        found = self._store._run(StrongRequests.lease(self.id))  # noqa: SLF001
        remaining, ttl, places = cast("Tuple[float, float, int]", found)
        return LeaseInfo(self.id, ttl, remaining, places)

    def _check_process(self) -> None:
        """Refused in a forked child, with or without a thread that keeps it alive: the lease is its parent's."""
        if self._generation != _fork.generation():
            msg = "this lease was made before a fork: make a new one in the child"
            raise ForkedError(msg)

    def _find(self, lease_id: int) -> None:
        sent = time.monotonic()
        found = self._store._run(StrongRequests.lease(lease_id))  # noqa: SLF001
        remaining, ttl, _ = cast("Tuple[float, float, int]", found)
        self._id, self._ends = lease_id, sent + remaining
        if self._keeps_alive:
            self._kept = self._store._keep(lease_id, ttl)  # noqa: SLF001

    def _begin(self) -> None:
        self._store._strong("lease")  # noqa: SLF001
        # Counted from before it was asked for: the store counts from later on.
        sent = time.monotonic()
        granted = self._store._run(StrongRequests.grant(self._wanted))  # noqa: SLF001
        self._id, seconds = cast("Tuple[int, float]", granted)
        self._ends = sent + seconds
        if self._keeps_alive:
            self._kept = self._store._keep(self._id, seconds)  # noqa: SLF001

    def __enter__(self) -> Self:
        """The lease itself, granted."""
        self._check_process()
        if self._id is None:
            self._begin()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Revoke it."""
        try:
            self.revoke()
        except KVError:
            # What went wrong inside says more.
            if error is None:
                raise

    def __repr__(self) -> str:
        if self._generation != _fork.generation():
            return f"<kvstore lease {self._id} of the parent process>"
        return f"<kvstore lease {self._id}, {self.ttl:.1f} s left>"

    def __reduce__(self) -> NoReturn:
        """A lease is not a value."""
        msg = "a lease cannot be pickled: it is kept alive by the process that has it"
        raise TypeError(msg)

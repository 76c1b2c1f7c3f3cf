"""Storages for limits, and with it for Flask-Limiter and slowapi: one budget for all processes and machines.

    import kvstore.contrib.limits                                           # makes the schemes known
    Limiter(get_remote_address, storage_uri="kvstore://10.0.0.1:7001/limits")

The schemes are "kvstore" and "async+kvstore"; what follows is the target of a Client, with the keyspace.

Fixed windows are counters of the store and end by the clock of its nodes; when that will be is noted beside them.
Moving windows, and the sliding ones of limits 4 and later, go by the clocks of the programs, as with limits' own
storages. A moving window remembers when each hit was, but counts those of 1/512 of its length as one moment, the
latest: it may be full that much longer, and never takes more.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Callable, Final, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

from limits.aio.storage.base import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage.base import Storage as AsyncStorage
from limits.storage.base import MovingWindowSupport, Storage

from kvstore.aio.client import AsyncClient
from kvstore.contrib._keyspace import DEFAULT_TARGET, AsyncStrongStore, StrongStore, open_store
from kvstore.errors import ConflictError, DeadlineError, KVError, UnavailableError

try:
    from limits.aio.storage.base import SlidingWindowCounterSupport as AsyncSlidingWindowCounterSupport
    from limits.storage.base import SlidingWindowCounterSupport
except ImportError:  # limits before 4.0

    class SlidingWindowCounterSupport:  # type: ignore[no-redef]
        """Not asked for."""

    class AsyncSlidingWindowCounterSupport:  # type: ignore[no-redef]
        """Not asked for."""


if TYPE_CHECKING:
    from kvstore._options import Target
    from kvstore.store import Store

__all__ = ["AsyncKVStoreStorage", "KVStoreStorage"]

T = TypeVar("T")

_WHO: Final = "kvstore.contrib.limits"
_WHAT: Final = "that no hit is lost"

_SLOTS: Final = 512
"""Hits of one slot count as one moment. More of them make the value larger, which each hit writes: 12 KB at most."""

_KINDS: Final = ("e/", "f/", "m/", "s/")
"""Below the prefix: ends of fixed windows, then the windows of the three kinds."""

_ATTEMPTS: Final = 100
"""How often a hit of a window may lose the race against other hits before it says so."""


# ------------------------------------------------------------------------------------------------ windows, as values
class _Decision(NamedTuple):
    """What comes of a hit: whether it is taken, and what is to be stored then."""

    is_taken: bool
    value: Any = None


_Decide = Callable[[Any, float], _Decision]
"""Decides on a hit by what is stored (None: nothing) and the time."""


def _live(runs: Optional[List[List[float]]], now: float, expiry: int) -> List[List[float]]:
    """Moments and hits of a moving window, the oldest first, without those that have left it."""
    return [[moment, hits] for moment, hits in runs or [] if moment >= now - expiry]


def _moving(limit: int, expiry: int, amount: int) -> _Decide:
    def decide(runs: Any, now: float) -> _Decision:
        live = _live(runs, now, expiry)
        if sum(hits for _, hits in live) + amount > limit:
            return _Decision(is_taken=False)
        slot = expiry / _SLOTS
        # Another program's clock may be ahead: the order has to stay.
        moment = max(now, live[-1][0]) if live else now
        if live and live[-1][0] // slot == moment // slot:
            live[-1] = [moment, live[-1][1] + amount]
        else:
            live.append([moment, amount])
        return _Decision(is_taken=True, value=live)

    return decide


def _moving_window(runs: Any, now: float, expiry: int) -> Tuple[int, int]:
    live = _live(runs, now, expiry)
    return int(live[0][0] if live else now), int(sum(hits for _, hits in live))


def _counts(stored: Any, now: float, expiry: int) -> Tuple[int, int, int]:
    """The number of a sliding window, the hits in the one before it, and its own."""
    index = int(now // expiry)
    last, previous, current = stored or (index, 0, 0)
    if last == index - 1:
        return index, current, 0
    # A clock that is behind counts where the others count.
    return (last, previous, current) if last >= index else (index, 0, 0)


def _sliding(limit: int, expiry: int, amount: int) -> _Decide:
    def decide(stored: Any, now: float) -> _Decision:
        index, previous, current = _counts(stored, now, expiry)
        weighted = previous * (1 - now / expiry % 1) + current
        if math.floor(weighted) + amount > limit:
            return _Decision(is_taken=False)
        return _Decision(is_taken=True, value=[index, previous, current + amount])

    return decide


def _sliding_window(stored: Any, now: float, expiry: int) -> Tuple[int, float, int, float]:
    _, previous, current = _counts(stored, now, expiry)
    left = (1 - now / expiry % 1) * expiry
    return previous, left if previous else 0.0, current, left + expiry


def _target(uri: Optional[str]) -> Optional[str]:
    return None if uri is None else "kv://" + uri.partition("://")[2]


def _is_lost(error: ConflictError) -> bool:
    """Whether it is a race that was lost, and nothing worse."""
    return error.code in {"VERSION_CONFLICT", "KEY_EXISTS"} and not error.maybe_applied


def _too_many() -> ConflictError:
    return ConflictError(f"limits: other hits were faster {_ATTEMPTS} times; try again", code="VERSION_CONFLICT")


class _Keys:
    """Where the windows of a rate limit are; what storages of both kinds have in common."""

    _below: str

    @property
    def base_exceptions(self) -> Type[Exception]:
        """What `wrap_exceptions` wraps."""
        return KVError

    def _fixed_key(self, key: str) -> str:
        return f"{self._below}f/{key}"

    def _end_key(self, key: str) -> str:
        # An entry of a strong keyspace knows how much time is left to it as of the last write to the cluster.
        return f"{self._below}e/{key}"

    def _moving_key(self, key: str) -> str:
        return f"{self._below}m/{key}"

    def _sliding_key(self, key: str) -> str:
        return f"{self._below}s/{key}"


# ---------------------------------------------------------------------------------------------------------- storages
class KVStoreStorage(_Keys, Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Windows in a strong keyspace, which counts each hit once.

    Args:
        uri: "kvstore://host:port,host:port/keyspace", with options of a Client behind a question mark.
        wrap_exceptions: Have errors raised as limits.errors.StorageError.
        target: Instead of `uri`: of a Client, or a store, such as a Node of this process.
        keyspace: A strong one, if `uri` does not say.
        prefix: Of all keys; reset() deletes what is below it and nothing else.
        **options: Of a Client.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: The keyspace is eventual (at the first use).
    """

    STORAGE_SCHEME = ["kvstore"]  # noqa: RUF012  # as limits has it

    def __init__(
        self,
        uri: Optional[str] = None,
        wrap_exceptions: bool = False,  # noqa: FBT001, FBT002  # the signature is that of limits
        *,
        target: Union[Target, Store[Any], None] = None,
        keyspace: Optional[str] = None,
        prefix: str = "limits/",
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._below = prefix
        self._store = StrongStore(open_store(target or _target(uri), keyspace, options), _WHO, _WHAT)

    def incr(self, key: str, expiry: int, elastic_expiry: bool = False, amount: int = 1) -> int:  # noqa: FBT001, FBT002
        """Count hits of a fixed window, and return how many there are; `elastic_expiry` begins its time anew."""
        full = self._fixed_key(key)
        count = self._store().incr(full, amount, ttl=expiry)
        if elastic_expiry and count != amount:
            self._store().touch(full, expiry)
        if elastic_expiry or count == amount:
            self._store().put(self._end_key(key), time.time() + expiry, ttl=expiry)
        return count

    def get(self, key: str) -> int:
        """Hits of a fixed window."""
        return int(self._store().get(self._fixed_key(key)) or 0)

    def get_expiry(self, key: str) -> int:
        """When a fixed window ends, in seconds since 1970; now, if there is none."""
        return int(self._store().get(self._end_key(key)) or time.time())

    def check(self) -> bool:
        """Whether the cluster can count: a node is reached, and it has a leader."""
        try:
            self._store().exists(self._below)
        except (UnavailableError, DeadlineError):
            return False
        return True

    def reset(self) -> int:
        """Forget all windows; how many there were."""
        counts = [self._store().delete_prefix(self._below + kind) for kind in _KINDS]
        return sum(counts[1:])

    def clear(self, key: str) -> None:
        """Forget the fixed and the moving window of a key."""
        self._store().delete_many([self._end_key(key), self._fixed_key(key), self._moving_key(key)])

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether the hits fit into the moving window; they are in it then."""
        return amount <= limit and self._decide(self._moving_key(key), expiry, _moving(limit, expiry, amount))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> Tuple[int, int]:  # noqa: ARG002
        """When the oldest hit of the window was, and how many there are."""
        return _moving_window(self._store().get(self._moving_key(key)), time.time(), expiry)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether the hits fit into this window, with what is left of the one before; they are counted then."""
        return amount <= limit and self._decide(self._sliding_key(key), 2 * expiry, _sliding(limit, expiry, amount))

    def get_sliding_window(self, key: str, expiry: int) -> Tuple[int, float, int, float]:
        """Hits of the window before and how long they count, and the same of this one."""
        return _sliding_window(self._store().get(self._sliding_key(key)), time.time(), expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        """Forget the sliding window of a key."""
        self._store().delete(self._sliding_key(key))

    def _decide(self, key: str, ttl: int, decide: _Decide) -> bool:
        """Take hits, unless what they were decided by has changed meanwhile: then decide again."""
        for _ in range(_ATTEMPTS):
            entry = self._store().entry(key, read="linearizable")
            decision = decide(None if entry is None else entry.value, time.time())
            if not decision.is_taken:
                return False
            version = None if entry is None else entry.version
            try:
                self._store().put(key, decision.value, ttl=ttl, if_absent=entry is None, if_version=version)
            except ConflictError as error:
                if not _is_lost(error):
                    raise
            else:
                return True
        raise _too_many()


class AsyncKVStoreStorage(_Keys, AsyncStorage, AsyncMovingWindowSupport, AsyncSlidingWindowCounterSupport):
    """As KVStoreStorage, for asyncio. Ends with aclose().

    Args:
        uri: "async+kvstore://host:port,host:port/keyspace", with options of a Client behind a question mark.
        wrap_exceptions: Have errors raised as limits.errors.StorageError.
        target: Instead of `uri`: of a Client.
        keyspace: A strong one, if `uri` does not say.
        prefix: Of all keys; reset() deletes what is below it and nothing else.
        **options: Of a Client.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: The keyspace is eventual (at the first use).
    """

    STORAGE_SCHEME = ["async+kvstore"]  # noqa: RUF012  # as limits has it

    def __init__(
        self,
        uri: Optional[str] = None,
        wrap_exceptions: bool = False,  # noqa: FBT001, FBT002  # the signature is that of limits
        *,
        target: Optional[Target] = None,
        keyspace: Optional[str] = None,
        prefix: str = "limits/",
        **options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._below = prefix
        self._client: AsyncClient[Any] = AsyncClient(
            target or _target(uri) or DEFAULT_TARGET, keyspace or "default", **options
        )
        self._store = AsyncStrongStore(self._client, _WHO, _WHAT)

    async def aclose(self) -> None:
        """Close the client; idempotent."""
        await self._client.aclose()

    async def incr(self, key: str, expiry: int, elastic_expiry: bool = False, amount: int = 1) -> int:  # noqa: FBT001, FBT002
        """Count hits of a fixed window, and return how many there are; `elastic_expiry` begins its time anew."""
        store, full = await self._store(), self._fixed_key(key)
        count = await store.incr(full, amount, ttl=expiry)
        if elastic_expiry and count != amount:
            await store.touch(full, expiry)
        if elastic_expiry or count == amount:
            await store.put(self._end_key(key), time.time() + expiry, ttl=expiry)
        return count

    async def get(self, key: str) -> int:
        """Hits of a fixed window."""
        return int(await (await self._store()).get(self._fixed_key(key)) or 0)

    async def get_expiry(self, key: str) -> int:
        """When a fixed window ends, in seconds since 1970; now, if there is none."""
        return int(await (await self._store()).get(self._end_key(key)) or time.time())

    async def check(self) -> bool:
        """Whether the cluster can count: a node is reached, and it has a leader."""
        try:
            await (await self._store()).exists(self._below)
        except (UnavailableError, DeadlineError):
            return False
        return True

    async def reset(self) -> int:
        """Forget all windows; how many there were."""
        store = await self._store()
        counts = [await store.delete_prefix(self._below + kind) for kind in _KINDS]
        return sum(counts[1:])

    async def clear(self, key: str) -> None:
        """Forget the fixed and the moving window of a key."""
        keys = [self._end_key(key), self._fixed_key(key), self._moving_key(key)]
        await (await self._store()).delete_many(keys)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether the hits fit into the moving window; they are in it then."""
        return amount <= limit and await self._decide(self._moving_key(key), expiry, _moving(limit, expiry, amount))

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> Tuple[int, int]:  # noqa: ARG002
        """When the oldest hit of the window was, and how many there are."""
        return _moving_window(await (await self._store()).get(self._moving_key(key)), time.time(), expiry)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether the hits fit into this window, with what is left of the one before; they are counted then."""
        decide = _sliding(limit, expiry, amount)
        return amount <= limit and await self._decide(self._sliding_key(key), 2 * expiry, decide)

    async def get_sliding_window(self, key: str, expiry: int) -> Tuple[int, float, int, float]:
        """Hits of the window before and how long they count, and the same of this one."""
        return _sliding_window(await (await self._store()).get(self._sliding_key(key)), time.time(), expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        """Forget the sliding window of a key."""
        await (await self._store()).delete(self._sliding_key(key))

    async def _decide(self, key: str, ttl: int, decide: _Decide) -> bool:
        """Take hits, unless what they were decided by has changed meanwhile: then decide again."""
        store = await self._store()
        for _ in range(_ATTEMPTS):
            entry = await store.entry(key, read="linearizable")
            decision = decide(None if entry is None else entry.value, time.time())
            if not decision.is_taken:
                return False
            version = None if entry is None else entry.version
            try:
                await store.put(key, decision.value, ttl=ttl, if_absent=entry is None, if_version=version)
            except ConflictError as error:
                if not _is_lost(error):
                    raise
            else:
                return True
        raise _too_many()

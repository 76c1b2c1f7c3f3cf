"""What `Client`, `Node` and their views have in common. `aio.py` is made from this file by scripts/generate_aio.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Generic, Iterable, Iterator, Mapping, Optional, Tuple, TypeVar, Union, cast, overload

from kvstore._core import Request
from kvstore._options import DEFAULT, Key, Read, Seconds, Timeout, check_read, refuse_conditions
from kvstore.errors import KeyNotFoundError

if TYPE_CHECKING:
    from kvstore.codecs import Codec
    from kvstore.entry import Entry
    from kvstore.status import MemberStatus, NodeStatus

__all__ = ["Store"]

V = TypeVar("V")
D = TypeVar("D")


class Store(Generic[V]):
    """The methods of `Client`, `Node` and the views they hand out; use it in annotations. Thread-safe.

    Keys are bytes on the wire; a str is its UTF-8. Durations are seconds (int, float) or timedelta. A default of `...`
    means "as the client was configured". Any call may raise DeadlineError, UnavailableError, DeniedError, ClosedError,
    CorruptError or InternalError; docstrings name what comes on top. No len(), no iteration: see count(), scan().
    """

    __slots__ = ()
    __iter__ = None  # Else Python would iterate by calling store[0], store[1], ...

    # What answers a get: None means AUTO, which the native module does itself.
    _codec: Optional[Codec[V]] = None

    def _run(self, request: Request, timeout: Timeout = DEFAULT) -> Any:
        """Do what was asked and give the converted answer."""
        raise NotImplementedError

    @overload
    def get(self, key: Key, *, read: Read = ..., timeout: Timeout = ...) -> Optional[V]: ...
    @overload
    def get(self, key: Key, default: D, *, read: Read = ..., timeout: Timeout = ...) -> Union[V, D]: ...
    def get(self, key: Key, default: Any = None, *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Any:
        """The value, or `default` when the key is missing or expired.

        Example:
            >>> db.get("user:1", {})
        """
        check_read(read)
        return self._run(Request.get(key, default, self._codec), timeout)

    def entry(self, key: Key, *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Optional[Entry[V]]:
        """Value, version and expiry in one read; tells a stored None from a missing key."""

    def get_many(self, keys: Iterable[Key], *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Dict[str, V]:
        """One round trip; missing keys are left out. LimitError: over 4096 keys."""

    def exists(self, key: Key, *, read: Read = DEFAULT) -> bool:
        """Without fetching the value."""

    def count(self, prefix: Key = "", *, read: Read = DEFAULT) -> int:
        """Keys under a prefix, counted on the server."""

    def scan(
        self,
        prefix: Key = "",
        *,
        start: Optional[Key] = None,
        end: Optional[Key] = None,
        read: Read = DEFAULT,
        limit: Optional[int] = None,
        reverse: bool = False,
        page_size: int = 1000,
    ) -> Iterator[Entry[V]]:
        """Entries in bytewise key order, `start` included, `end` not; paged lazily, no cursor on the server.

        Each page has its own timeout. The whole is no snapshot: a key written meanwhile may be seen or not.
        """

    def keys(
        self,
        prefix: Key = "",
        *,
        start: Optional[Key] = None,
        end: Optional[Key] = None,
        read: Read = DEFAULT,
        limit: Optional[int] = None,
        reverse: bool = False,
    ) -> Iterator[str]:
        """scan() without the values."""

    def put(
        self,
        key: Key,
        value: V,
        *,
        ttl: Optional[Seconds] = None,
        if_absent: bool = False,
        if_version: Optional[int] = None,
        timeout: Timeout = DEFAULT,
    ) -> int:
        """Store and return the new version; without `ttl` the key never expires.

        Raises:
            CodecError: The codec has no form for this value.
            LimitError: Key or value is too large.
            UnsupportedError: `if_absent` or `if_version` in an eventual keyspace.
        """

    def put_many(self, items: Mapping[str, V], *, ttl: Optional[Seconds] = None, timeout: Timeout = DEFAULT) -> None:
        """One round trip, at most 4096 items of 4 MiB together. An error may leave some of it applied."""

    def delete(self, key: Key, *, if_version: Optional[int] = None, timeout: Timeout = DEFAULT) -> bool:
        """Whether the key was there, as the answering node saw it."""

    def delete_many(self, keys: Iterable[Key]) -> int:
        """How many were there."""

    def touch(self, key: Key, ttl: Optional[Seconds]) -> bool:
        """New ttl (None: for ever); False when missing."""

    def ping(self) -> float:
        """Round trip to the contacted node, in seconds."""

    def status(self, *, digests: bool = False, timeout: Timeout = DEFAULT) -> NodeStatus:
        """How the contacted node is. `digests` reads every record."""

    def members(self, *, timeout: Timeout = DEFAULT) -> Tuple[MemberStatus, ...]:
        """The members that the contacted node knows, itself first."""

    def __getitem__(self, key: Key) -> V:
        """The value; KeyNotFoundError when missing."""

    def __setitem__(self, key: Key, value: V) -> None:
        """As put()."""

    def __delitem__(self, key: Key) -> None:
        """KeyNotFoundError when missing."""

    def __contains__(self, key: object) -> bool:
        """Whether the key exists."""

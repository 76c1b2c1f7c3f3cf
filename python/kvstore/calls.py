"""The calls that every keyspace takes. `Store` adds those that only a strong one takes, and those about keyspaces.

`kvstore/aio/calls.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

import time
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Final,
    Generic,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    TypeVar,
    Union,
    cast,
    overload,
)

from kvstore._core import EventualRequests, Request, StrongRequests
from kvstore._options import (
    DEFAULT,
    MISSING,
    Key,
    Page,
    Path,
    Read,
    Seconds,
    Timeout,
    Wanted,
    absolute,
    check_page,
    left_of,
    since_ms,
)
from kvstore.errors import UnsupportedError, key_not_found
from kvstore.watch import Watch

if TYPE_CHECKING:
    import datetime as dt

    from kvstore import _core
    from kvstore._core import Conflict, Entry
    from kvstore.codecs import Codec
    from kvstore.lease import Lease
    from kvstore.status import Consistency, MemberStatus, NodeStatus

__all__ = ["Calls", "Requests", "requests_of"]

V = TypeVar("V")
D = TypeVar("D")

_BATCH_MAX: Final = 4096
"""Keys of one call in an eventual keyspace."""

Requests = Union[EventualRequests, StrongRequests]
"""What makes the requests of a keyspace: both have the same names, as far as both promise the same."""


def requests_of(keyspace: str) -> Requests:
    """What makes the requests of a keyspace: those of an eventual one, until it is known to be strong.

    `system` is reserved, and the group's own: nobody need be asked what it is.
    """
    return StrongRequests(keyspace) if keyspace == "system" else EventualRequests(keyspace)


class Calls(Generic[V]):
    """Reads and writes, conflicts, watches, and questions about the contacted node."""

    # Else Python would iterate by calling store[0], store[1], ...
    __iter__: None = None

    _codec: Optional[Codec[V]] = None  # None stands for AUTO, which the native module does itself.
    _requests: Requests = EventualRequests("default")

    def _run(self, request: Request, timeout: Timeout = DEFAULT, read: Optional[Read] = DEFAULT) -> Any:
        """Do what was asked, and give the converted answer."""
        raise NotImplementedError

    def _consistency(self, keyspace: str, /) -> Optional[Consistency]:
        """What a keyspace is, if this is known without asking."""
        raise NotImplementedError

    def _limit(self, timeout: Timeout, /) -> Timeout:
        """A timeout with the default in its place, if that is known here."""
        return timeout

    def _learn(self, timeout: Timeout = DEFAULT) -> Requests:
        """What makes the requests of this keyspace; asks what it is, unless that is known."""
        requests = self._requests
        if isinstance(requests, EventualRequests) and not self._is_known():
            self._run(requests.question(), timeout, "local")
        return self._as_known()

    def _learn_within(self, timeout: Timeout) -> Tuple[Requests, Timeout]:
        """As _learn(), and what that has left of the timeout of the call."""
        if self._is_known():
            return self._as_known(), timeout
        limit, begun = self._limit(timeout), time.monotonic()
        requests = self._learn(limit)
        return requests, left_of(limit, begun)

    def _is_known(self) -> bool:
        """Whether nobody need be asked what this keyspace is."""
        requests = self._requests
        return isinstance(requests, StrongRequests) or self._consistency(requests.keyspace) is not None

    def _as_known(self) -> Requests:
        """As _learn(), but asks nobody."""
        requests = self._requests
        if isinstance(requests, EventualRequests) and self._consistency(requests.keyspace) == "strong":
            self._requests = StrongRequests(requests.keyspace)
        return self._requests

    def _for_many(self, count: int, timeout: Timeout) -> Tuple[Requests, Timeout]:
        """As _learn_within(), if a strong keyspace takes so many keys in one call, and an eventual one does not."""
        if count <= _BATCH_MAX:
            return self._requests, timeout
        return self._learn_within(timeout)

    def _check_read(self, read: Optional[Read]) -> None:
        """Refuse a read level that the keyspace does not promise, as far as it is known what it is."""
        is_eventual = self._consistency(self._requests.keyspace) == "eventual"
        (EventualRequests if is_eventual else StrongRequests).check_read(read)

    def _open_watch(self, wanted: Wanted, /) -> _core.Changes:
        """Begin a watch, in the background."""
        raise NotImplementedError

    @overload
    def get(self, key: Key, *, read: Read = ..., timeout: Timeout = ...) -> Optional[V]: ...
    @overload
    def get(self, key: Key, default: D, *, read: Read = ..., timeout: Timeout = ...) -> Union[V, D]: ...
    def get(self, key: Key, default: Any = None, *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Any:
        """The value, or `default` when the key is missing or expired."""
        return self._run(self._requests.get(key, default, self._codec), timeout, read)

    def entry(self, key: Key, *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Optional[Entry[V]]:
        """Value, version and expiry in one read; tells a stored None from a missing key."""
        return cast("Optional[Entry[V]]", self._run(self._requests.entry(key, self._codec), timeout, read))

    def get_many(self, keys: Iterable[Key], *, read: Read = DEFAULT, timeout: Timeout = DEFAULT) -> Dict[str, V]:
        """The values by key, in one round trip; missing keys are left out. As of one moment in a strong keyspace.

        Raises:
            LimitError: More than 4096 keys.
        """
        return cast("Dict[str, V]", self._run(self._requests.get_many(keys, self._codec), timeout, read))

    def exists(self, key: Key, *, read: Read = DEFAULT) -> bool:
        """Whether the key is there, without fetching the value."""
        return cast("bool", self._run(self._requests.exists(key), read=read))

    def count(self, prefix: Key = "", *, read: Read = DEFAULT) -> int:
        """Keys under a prefix, counted on the server."""
        return cast("int", self._run(self._requests.count(prefix), read=read))

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

        Each page has its own timeout, and is one consistent read in a strong keyspace. The whole is no snapshot: a key
        written meanwhile may be seen or not.

        Example:
            >>> for entry in db.scan("user:", limit=10):
            ...     print(entry.key, entry.value)
        """
        self._check_read(read)
        return self._entries(Page(prefix, start, end, reverse, None, page_size), check_page(limit, page_size), read)

    def _entries(self, page: Page, left: int, read: Read) -> Iterator[Entry[V]]:
        more = left > 0
        while more:
            request = self._requests.page(page._replace(size=min(left, page.size)), self._codec)
            entries, more = cast("Tuple[List[Entry[V]], bool]", self._run(request, read=read))
            for entry in entries:  # noqa: UP028  # the asyncio twin cannot `yield from`
                yield entry
            left -= len(entries)
            more = more and left > 0 and bool(entries)
            page = page._replace(last=entries[-1].key_bytes if more else None)

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
        self._check_read(read)
        page_size = 1000
        return self._keys(Page(prefix, start, end, reverse, None, page_size), check_page(limit, page_size), read)

    def _keys(self, page: Page, left: int, read: Read) -> Iterator[str]:
        more = left > 0
        while more:
            request = self._requests.key_page(page._replace(size=min(left, page.size)))
            keys, more = cast("Tuple[List[bytes], bool]", self._run(request, read=read))
            for key in keys:
                yield key.decode("utf-8", "surrogateescape")
            left -= len(keys)
            more = more and left > 0 and bool(keys)
            page = page._replace(last=keys[-1] if more else None)

    def put(
        self,
        key: Key,
        value: V,
        *,
        ttl: Optional[Seconds] = None,
        lease: Optional[Lease] = None,
        if_absent: bool = False,
        if_version: Optional[int] = None,
        timeout: Timeout = DEFAULT,
    ) -> int:
        """Store and return the new version; without `ttl` or `lease` the key never expires.

        Args:
            key: Where.
            value: What.
            ttl: Seconds after which the key vanishes.
            lease: The key vanishes with it, instead of a `ttl`. Strong keyspaces only.
            if_absent: Only if there is no such key. Strong keyspaces only.
            if_version: Only if the key has this version. Strong keyspaces only.
            timeout: As for every call.

        Raises:
            CodecError: The codec has no form for this value.
            LimitError: Key or value is too large.
            KeyExistsError: `if_absent`, and there is one; it has the `current_version`.
            ConflictError: `if_version`, and it is another; it has the `current_version`.
            LockLostError: The lease has ended.
            UnsupportedError: A condition or a lease, of which an eventual keyspace promises nothing.
        """
        lease_id = None if lease is None else lease.id
        requests = self._requests
        if lease is not None or if_absent or if_version is not None:
            requests, timeout = self._learn_within(timeout)
        request = requests.put(key, value, ttl, self._codec, lease_id, if_absent, if_version)
        return cast("int", self._run(request, timeout))

    def put_many(
        self,
        items: Mapping[str, V],
        *,
        ttl: Optional[Seconds] = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Put all, in one round trip. Atomic in a strong keyspace; else an error may leave some of it applied.

        Raises:
            CodecError: The codec has no form for one of the values; nothing was stored.
            LimitError: More than 4096 items (10,000 in a strong keyspace), or 4 MiB; nothing was stored.
        """
        requests, timeout = self._for_many(len(items), timeout)
        self._run(requests.put_many(items, ttl, self._codec), timeout)

    def delete(self, key: Key, *, if_version: Optional[int] = None, timeout: Timeout = DEFAULT) -> bool:
        """Delete it; whether it was there, as the answering node saw it.

        Raises:
            ConflictError: `if_version`, and the key has another version, or is not there.
            UnsupportedError: `if_version`, which an eventual keyspace cannot check.
        """
        requests = self._requests
        if if_version is not None:
            requests, timeout = self._learn_within(timeout)
        return cast("bool", self._run(requests.delete(key, if_version), timeout))

    def delete_many(self, keys: Iterable[Key]) -> int:
        """Delete them; how many were there. LimitError: more than 4096 keys, 10,000 in a strong keyspace."""
        keys = list(keys)
        requests, timeout = self._for_many(len(keys), DEFAULT)
        return cast("int", self._run(requests.delete_many(keys), timeout))

    def touch(self, key: Key, ttl: Optional[Seconds]) -> bool:
        """Give it a new ttl (None: for ever); False when the key is missing."""
        return cast("bool", self._run(self._requests.touch(key, ttl)))

    def conflicts(self, prefix: Key = "", *, since: Optional[dt.datetime] = None) -> Iterator[Conflict[V]]:
        """Recorded lost writes of all reachable nodes, newest first, each once; all are fetched with the first.

        Those of a member that does not answer, or that died, are missing: compare with members(). A strong keyspace
        loses no writes: it has none.

        Args:
            prefix: Only those of keys under it.
            since: Only those noticed at this time or later.

        Raises:
            InvalidArgumentError: `since` has no time zone.

        Example:
            >>> for conflict in db.conflicts("user:"):
            ...     print(conflict.key, conflict.lost, "lost against", conflict.won)
        """
        requests = EventualRequests(self._requests.keyspace)
        return self._conflicts(requests.conflicts(prefix, since_ms(since), self._codec))

    def _conflicts(self, request: Request) -> Iterator[Conflict[V]]:
        is_strong = isinstance(self._learn(), StrongRequests)
        found: List[Conflict[V]] = [] if is_strong else cast("List[Conflict[V]]", self._run(request))
        for conflict in found:  # noqa: UP028  # the asyncio twin cannot `yield from`
            yield conflict

    def restore(self, conflict: Conflict[V]) -> int:
        """Write the lost side again, byte for byte, or delete again if a delete was lost; the new version.

        It gets what is left of its time to live. The journal keeps the conflict.

        Raises:
            InvalidArgumentError: What was lost has expired.
            UnsupportedError: This is a strong keyspace, to which no conflict belongs.
        """
        requests, timeout = self._learn_within(DEFAULT)
        if isinstance(requests, StrongRequests):
            msg = "restore: a strong keyspace loses no writes; call it on the keyspace of the conflict"
            raise UnsupportedError(msg)
        return cast("int", self._run(requests.restore(conflict), timeout))

    def watch(
        self,
        key: Optional[Key] = None,
        *,
        prefix: Optional[Key] = None,
        since: Optional[bytes] = None,
        initial: bool = False,
        buffer: int = 4096,
    ) -> Watch[V]:
        """Changes of a key, a prefix or the whole keyspace, from now on or after `since`.

        In a strong keyspace: every change, in the order of the log, with its `revision` and what was there before. In
        an eventual one each key in the order of its versions; what was replaced meanwhile may be skipped.

        Args:
            key: Watch this key alone.
            prefix: Watch the keys that begin with it.
            since: Go on after this Event.position or Watch.position, of a watch of the same key or prefix.
            initial: Send what is there first, as events with initial=True.
            buffer: Events that may wait here; when they are that many, the node is not read from any more.

        Raises:
            InvalidArgumentError: `since` is no position of such a watch; or two arguments exclude each other.
            CompactedError: `since` is too old. Raised by the iteration.
        """
        is_strong = isinstance(self._requests, StrongRequests)
        wanted = Wanted(key, prefix, since, initial, buffer, self._requests.keyspace, is_strong)
        watch: Watch[V] = Watch(self._open_watch(wanted), self._codec)
        watch._begin()  # noqa: SLF001
        return watch

    def snapshot(self, path: Path, *, timeout: Timeout = None) -> int:
        """Save everything that the contacted node holds to a file of this machine; its size in bytes.

        Reads and writes go on meanwhile; each partition is as it was at one moment. The file is there whole or not at
        all; one that was there is replaced. It has the keys of all eventual keyspaces, but not their names, which
        belong to the cluster: in another one only `default` can be read. See `restore_snapshot()`.

        Args:
            path: The file.
            timeout: None, the default: no limit.

        Raises:
            CorruptError: What came over the network is not whole; nothing was saved.
        """
        return cast("int", self._run(Request.snapshot(absolute(path)), timeout))

    def ping(self) -> float:
        """Round trip to the contacted node, in seconds."""
        start = time.perf_counter()
        self._run(Request.ping())
        return time.perf_counter() - start

    def status(self, *, digests: bool = False, timeout: Timeout = DEFAULT) -> NodeStatus:
        """How the contacted node is. `digests` reads every record."""
        return cast("NodeStatus", self._run(Request.status(digests), timeout))

    def members(self, *, timeout: Timeout = DEFAULT) -> Tuple[MemberStatus, ...]:
        """The members that the contacted node knows, itself first."""
        return cast("Tuple[MemberStatus, ...]", self._run(Request.members(), timeout))

    def metrics(self, *, timeout: Timeout = DEFAULT) -> Dict[str, float]:
        """Figures of the contacted node by the name of their series, as Prometheus writes it."""
        return cast("Dict[str, float]", self._run(Request.metrics(), timeout))

    def __getitem__(self, key: Key) -> V:
        """The value; KeyNotFoundError when missing."""
        value = self._run(self._requests.get(key, MISSING, self._codec))
        if value is MISSING:
            raise key_not_found(key)
        return cast("V", value)

    def __setitem__(self, key: Key, value: V) -> None:
        """As put()."""
        self.put(key, value)

    def __delitem__(self, key: Key) -> None:
        """As delete(), but KeyNotFoundError when missing."""
        if not self.delete(key):
            raise key_not_found(key)

    def __contains__(self, key: object) -> bool:
        """As exists()."""
        return self.exists(cast("Key", key))

"""What `Client`, `Node` and their views have in common.

`kvstore/aio/store.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Final,
    List,
    Optional,
    Tuple,
    TypeVar,
    Union,
    cast,
    overload,
)

from kvstore._core import Request, StrongRequests
from kvstore._options import DEFAULT, MISSING, Key, Page, Read, Seconds, Timeout
from kvstore.batch import Batch
from kvstore.calls import Calls, requests_of
from kvstore.cluster import Cluster
from kvstore.codecs import native
from kvstore.errors import (
    ConflictError,
    DeniedError,
    InvalidArgumentError,
    KeyExistsError,
    UnsupportedError,
    key_not_found,
)
from kvstore.lease import Lease
from kvstore.lock import Election, Lock
from kvstore.map import Map
from kvstore.status import KeyspaceInfo, LeaseInfo
from kvstore.txn import Txn

if TYPE_CHECKING:
    from kvstore import _core
    from kvstore._options import Wanted
    from kvstore.calls import Requests
    from kvstore.codecs import Codec
    from kvstore.status import Consistency

__all__ = ["Store", "View"]

V = TypeVar("V")
T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R")


_UINT64_MAX: Final = 2**64 - 1
_POPS_MAX: Final = 100
"""How often pop() loses a race before it says so."""


class Store(Calls[V]):
    """The methods of `Client`, `Node` and the views they hand out; use it in annotations. Thread-safe.

    Keys are bytes on the wire; a str is its UTF-8. Durations are seconds (int, float) or timedelta. A default of `...`,
    also written DEFAULT, means "as the client was configured". Any call may raise DeadlineError, UnavailableError,
    DeniedError, ClosedError, CorruptError or InternalError; docstrings name what comes on top. No len(), no iteration:
    see count(), scan().

    What is marked [strong] is refused by an eventual keyspace with UnsupportedError, before anything is written.
    """

    def add(self, key: Key, value: V, *, ttl: Optional[Seconds] = None, timeout: Timeout = DEFAULT) -> bool:
        """[strong] put(if_absent=True) that answers False instead of raising."""
        _, timeout = self._strong_within("add", timeout)
        try:
            self.put(key, value, ttl=ttl, if_absent=True, timeout=timeout)
        except KeyExistsError:
            return False
        return True

    def incr(self, key: Key, by: int = 1, *, initial: int = 0, ttl: Optional[Seconds] = None) -> int:
        """[strong] Add to a 64-bit integer and return it; safe to retry.

        Args:
            key: Where it is.
            by: What to add; may be negative.
            initial: What a missing key counts as.
            ttl: Of a key that this makes. One that is there keeps its own.

        Raises:
            CodecError: The value is no integer.
            LimitError: The sum does not fit into 64 bits.
        """
        requests, timeout = self._strong_within("incr", DEFAULT)
        return cast("int", self._run(requests.incr(key, by, initial, ttl), timeout))

    @overload
    def pop(self, key: Key) -> V: ...
    @overload
    def pop(self, key: Key, default: D) -> Union[V, D]: ...
    def pop(self, key: Key, default: Any = MISSING) -> Any:
        """Take the value away; KeyNotFoundError without a default. In an eventual keyspace two callers may get it."""
        is_strong = isinstance(self._learn(), StrongRequests)
        for _ in range(_POPS_MAX):
            entry = self.entry(key, read=self._newest())
            if entry is None:
                if default is MISSING:
                    raise key_not_found(key)
                return default
            try:
                self.delete(key, if_version=entry.version if is_strong else None)
            except ConflictError as error:
                _check_lost(error)
            else:
                return entry.value
        msg = f"pop: {key!r} was changed {_POPS_MAX} times meanwhile; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def update(self, key: Key, fn: Callable[[Optional[V]], V], *, attempts: int = 16) -> V:
        """[strong] Read, call `fn`, compare-and-set; the value that was stored, which has no ttl.

        Args:
            key: Which.
            fn: Makes the new value of the present one, or of None when there is none. It may run again, so it must have
                no other effects.
            attempts: How often.

        Raises:
            ConflictError: Others were faster in every attempt.
        """
        self._strong("update")
        for _ in range(_checked(attempts)):
            entry = self.entry(key, read="linearizable")
            value = fn(None if entry is None else entry.value)
            try:
                self.put(key, value, if_absent=entry is None, if_version=None if entry is None else entry.version)
            except ConflictError as error:
                _check_lost(error)
            else:
                return value
        msg = f"update: {key!r} was changed in each of {attempts} attempts; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def delete_prefix(self, prefix: Key) -> int:
        """Delete all keys under a prefix; how many were there. "" empties the keyspace.

        In steps of up to a thousand keys, each of which is atomic in a strong keyspace; what is written meanwhile may
        stay.
        """
        requests = self._learn()
        deleted, more = 0, True
        while more:
            page = Page(prefix, None, None, reverse=False, last=None, size=1000)
            request = requests.key_page(page)
            keys, more = cast("Tuple[List[bytes], bool]", self._run(request, read=self._newest()))
            deleted += self.delete_many(keys) if keys else 0
        return deleted

    def batch(self, *, atomic: bool = False) -> Batch[V]:
        """Calls that are sent together when the `with` block ends. In a strong keyspace they are one transaction.

        Args:
            atomic: Refuse unless it is one. [strong]

        Example:
            >>> with db.batch() as batch:
            ...     batch.put("a", 1)
            ...     b = batch.get("b")
            >>> b.result()
        """
        if atomic:
            self._may_be_strong("batch(atomic=True)")
        return Batch(self, atomic=atomic)

    def transact(self, fn: Callable[[Txn[V]], R], *, attempts: int = 16) -> R:
        """[strong] Run `fn` on a snapshot, commit, and give what `fn` returned.

        All that it reads is as of one moment, and its writes happen all or not at all, if nothing that it read has
        changed meanwhile. Else it runs again, so it must have no other effects. An exception from it writes nothing.

        Args:
            fn: Called with a Txn.
            attempts: How often.

        Raises:
            ConflictError: Others were faster in every attempt.
            CompactedError: `fn` took so long that the snapshot is forgotten.
            LimitError: More than 10,000 reads and writes, or 4 MiB.

        Example:
            >>> def move(txn):
            ...     txn.put("to", txn.get("from"))
            ...     txn.delete("from")
            >>> db.transact(move)
        """
        self._strong("transact")
        for _ in range(_checked(attempts)):
            txn: Txn[V] = Txn(self)
            result = fn(txn)
            if txn._commit():  # noqa: SLF001
                return result
        msg = f"transact: something that it read was changed in each of {attempts} attempts; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def lease(self, ttl: Seconds, *, keep_alive: bool = True) -> Lease:
        """[strong] Keys put with it vanish together when it ends.

        Args:
            ttl: How long it lasts after the last sign of life.
            keep_alive: Give signs of life, from native threads, for as long as the object is there.
        """
        self._may_be_strong("lease")
        granted = Lease(self, ttl, keep_alive=keep_alive)
        granted._begin()  # noqa: SLF001
        return granted

    def find_lease(self, lease_id: int, *, keep_alive: bool = False) -> Lease:
        """[strong] A lease that was granted before, also by another program.

        Args:
            lease_id: Its `id`.
            keep_alive: As for lease().

        Raises:
            LockLostError: It has ended, or never was.
        """
        self._strong("find_lease")
        lease = Lease(self, 0, keep_alive=keep_alive)
        lease._find(lease_id)  # noqa: SLF001
        return lease

    def leases(self) -> List[LeaseInfo]:
        """[strong] Those that have not ended, of all programs and keyspaces of the cluster, by age, the oldest first.

        They come 1,000 a call, so it is no snapshot of more than that. Each call has the deadline of a call.
        """
        self._strong("leases")
        found: List[LeaseInfo] = []
        more = True
        while more:
            answer = self._run(StrongRequests.leases(found[-1].id if found else 0))
            page, more = cast("Tuple[List[Tuple[int, Tuple[float, float, int]]], bool]", answer)
            found += [LeaseInfo(lease_id, ttl, left, places) for lease_id, (left, ttl, places) in page]
        return found

    def lock(self, name: str, *, ttl: Seconds = 10, timeout: Timeout = None) -> Lock:
        """[strong] A fair lock; nothing is asked for before acquire() or `with`.

        Args:
            name: Locks are apart from keys: there may be a key of that name.
            ttl: How long a holder that died blocks others.
            timeout: How long `with` waits for it. None: until it comes.

        Example:
            >>> with db.lock("report", ttl=10) as lock:
            ...     lock.scope().put("report", "done")  # refused if the lock was lost meanwhile
        """
        self._may_be_strong("lock")
        return Lock(self, name, ttl, timeout)

    def election(self, name: str, *, ttl: Seconds = 10) -> Election:
        """[strong] At most one leader at a time; nothing is asked for before campaign() or `with`.

        Args:
            name: A lock of that name is the same thing.
            ttl: How long a leader that died blocks others.
        """
        self._may_be_strong("election")
        return Election(self, name, ttl)

    def keyspace(self, name: str) -> Store[V]:
        """A view of another keyspace. No I/O: an unknown name raises InvalidArgumentError at the first call."""
        return View(self, self._codec, DEFAULT, DEFAULT, requests_of(name))

    def create_keyspace(
        self, name: str, *, consistency: Consistency = "eventual", keep_conflicts: int = 10_000, exist_ok: bool = False
    ) -> Store[V]:
        """Create a keyspace, by a majority, and return a view. `default` exists from the start.

        Args:
            name: 1 to 64 bytes.
            consistency: "eventual": each node takes reads and writes by itself, as in an eventual `default`; "strong":
                a majority agrees on each write.
            keep_conflicts: How many conflicts of an eventual keyspace each node remembers; 0: none.
            exist_ok: One that is there already will do.

        Raises:
            KeyExistsError: It exists; with `exist_ok` only if its consistency differs.
            DeniedError: `system`, which is reserved.
        """
        _check_consistency(name, consistency)
        if not 0 <= keep_conflicts <= _UINT64_MAX:
            msg = f"keep_conflicts: {keep_conflicts}, must be from 0 to {_UINT64_MAX}"
            raise InvalidArgumentError(msg)
        if name == "default":
            default = self.keyspace(name)
            found = "strong" if isinstance(default._learn(), StrongRequests) else "eventual"  # noqa: SLF001
            if exist_ok and consistency == found:
                return default
            raise _exists(name, found)
        try:
            self._run(StrongRequests.create(name, keep_conflicts if consistency == "eventual" else None))
        except KeyExistsError:
            if not exist_ok:
                raise
            for other, found, *_ in self._made():
                if other == name and found != consistency:
                    raise _exists(name, found) from None
        return self.keyspace(name)

    def drop_keyspace(self, name: str) -> None:
        """With all its keys and locks.

        In an eventual keyspace the keys go a little later; nobody sees them meanwhile. A node that has not heard of
        the drop takes calls until it does, and what they write goes as well.

        Raises:
            InvalidArgumentError: There is none of that name (code UNKNOWN_KEYSPACE), or it is `default`.
            DeniedError: `system`, which is reserved.
        """
        _check_consistency(name, "strong")
        if name == "default":
            msg = 'keyspace: `default` cannot be dropped; delete_prefix("") empties it'
            raise InvalidArgumentError(msg)
        self._run(StrongRequests.drop(name))

    def keyspaces(self) -> List[KeyspaceInfo]:
        """All of them, by name."""
        made, held = self._made(), self._held()
        found = [
            KeyspaceInfo(name, "strong", keys, size, 0) if kind == "strong" else held.get(name, _nothing(name))
            for name, kind, keys, size in made
        ]
        if all(name != "default" for name, *_ in made):
            found.append(held.get("default", _nothing("default")))
        return sorted(found)

    def info(self) -> KeyspaceInfo:
        """The keyspace of this view."""
        requests = self._learn()
        name = requests.keyspace
        if not isinstance(requests, StrongRequests):
            # A node that has not heard of it yet hears of it so, or says that there is none.
            self._run(requests.question(), read="local")
            held = self._held()
            return held.get(name, _nothing(name))
        for other, _, keys, size in self._made():
            if other == name:
                return KeyspaceInfo(name, "strong", keys, size, 0)
        msg = f"keyspace: there is no {name!r}"
        raise InvalidArgumentError(msg, code="UNKNOWN_KEYSPACE")

    def _made(self) -> List[Tuple[str, Consistency, int, int]]:
        """The keyspaces that were made, and how many keys and bytes are in those that are strong."""
        return cast("List[Tuple[str, Consistency, int, int]]", self._run(StrongRequests.keyspaces()))

    def _held(self) -> Dict[str, KeyspaceInfo]:
        """What the contacted node holds of eventual keyspaces."""
        held = cast("List[Tuple[str, int, int, int]]", self._run(Request.holdings()))
        return {name: KeyspaceInfo(name, "eventual", keys, size, conflicts) for name, keys, size, conflicts in held}

    @overload
    def with_options(self, *, codec: Codec[T], read: Read = ..., timeout: Timeout = ...) -> Store[T]: ...
    @overload
    def with_options(self, *, read: Read = ..., timeout: Timeout = ...) -> Store[V]: ...
    def with_options(
        self,
        *,
        codec: Any = DEFAULT,
        read: Read = DEFAULT,
        timeout: Timeout = DEFAULT,
    ) -> Store[Any]:
        """A view with other defaults; it shares the connection and closes nothing."""
        self._check_read(read)
        return View(self, self._codec if codec is DEFAULT else native(codec), timeout, read, self._requests)

    @overload
    def map(self, prefix: str = "") -> Map[str, V]: ...
    @overload
    def map(self, prefix: bytes) -> Map[bytes, V]: ...
    def map(self, prefix: Any = "") -> Any:
        """A prefix as a dict; keys have the prefix's type and lack it. No I/O."""
        return Map(self, prefix)

    @property
    def cluster(self) -> Cluster:
        """The members, and what can be done about them."""
        return Cluster(self)

    def _keep(self, lease: int, ttl: float, /) -> _core.Kept:
        """Keep a lease alive."""
        raise NotImplementedError

    def _access(self) -> Dict[str, Any]:
        """What a client of another node of the cluster needs to be let in, and to be as patient as this."""
        raise NotImplementedError

    def _newest(self) -> Read:
        """The freshest read that the keyspace has, whatever is the default: for what is decided by it."""
        return "linearizable" if isinstance(self._requests, StrongRequests) else DEFAULT

    def _strong(self, call: str) -> StrongRequests:
        """What makes the requests of a strong keyspace; asks, if it is not known that this is one."""
        self._learn()
        return self._may_be_strong(call)

    def _strong_within(self, call: str, timeout: Timeout) -> Tuple[StrongRequests, Timeout]:
        """As _strong(), and what that has left of the timeout of the call."""
        _, left = self._learn_within(timeout)
        return self._may_be_strong(call), left

    def _may_be_strong(self, call: str) -> StrongRequests:
        """As _strong(), but asks nobody: what it gives is refused where the keyspace turns out to be eventual."""
        if isinstance(self._requests, StrongRequests):
            return self._requests
        if self._consistency(self._requests.keyspace) == "eventual":
            msg = f"{call}: an eventual keyspace does not promise it; use a strong one, see create_keyspace()"
            raise UnsupportedError(msg)
        return StrongRequests(self._requests.keyspace)

    def _fenced(self, lock: str, token: int) -> View[V]:
        """A view whose writes happen only while the lock is held under the token."""
        return View(self, self._codec, DEFAULT, DEFAULT, self._may_be_strong("scope").fenced(lock, token))


class View(Store[V]):
    """A store seen with other defaults, or another keyspace of it; made by with_options() and keyspace()."""

    def __init__(
        self,
        origin: Store[Any],
        codec: Optional[Codec[V]],
        timeout: Timeout,
        read: Optional[Read],
        requests: Requests,
    ) -> None:
        self._origin = origin
        self._codec = codec
        self._timeout = timeout
        self._read = read
        self._requests = requests

    def __repr__(self) -> str:
        if isinstance(self._requests, StrongRequests) or self._requests.keyspace != "default":
            return f"<view of {self._requests.keyspace!r} of {self._origin!r}>"
        return f"<view of {self._origin!r}>"

    def _limit(self, timeout: Timeout, /) -> Timeout:
        return self._origin._limit(self._timeout if timeout is DEFAULT else timeout)  # noqa: SLF001

    def _run(self, request: Request, timeout: Timeout = DEFAULT, read: Optional[Read] = DEFAULT) -> Any:
        timeout = self._timeout if timeout is DEFAULT else timeout
        return self._origin._run(request, timeout, self._read if read is DEFAULT else read)  # noqa: SLF001

    def _consistency(self, keyspace: str, /) -> Optional[Consistency]:
        return self._origin._consistency(keyspace)  # noqa: SLF001

    def _open_watch(self, wanted: Wanted, /) -> _core.Changes:
        return self._origin._open_watch(wanted)  # noqa: SLF001

    def _keep(self, lease: int, ttl: float, /) -> _core.Kept:
        return self._origin._keep(lease, ttl)  # noqa: SLF001

    def _access(self) -> Dict[str, Any]:
        access = self._origin._access()  # noqa: SLF001
        if self._timeout is not DEFAULT:
            access["timeout"] = self._timeout
        return access


def _check_lost(error: ConflictError) -> None:
    """Only a race that was lost is a reason to try again."""
    if error.maybe_applied or error.code not in {"VERSION_CONFLICT", "KEY_EXISTS"}:
        raise error


def _exists(name: str, found: str) -> KeyExistsError:
    return KeyExistsError(f"keyspace: there is {name!r} already, and it is {found}", code="KEYSPACE_EXISTS")


def _nothing(name: str) -> KeyspaceInfo:
    """Of an eventual keyspace of which the contacted node has not heard."""
    return KeyspaceInfo(name, "eventual", 0, 0, 0)


def _checked(attempts: int) -> int:
    if attempts < 1:
        msg = f"attempts: {attempts}, must be at least 1"
        raise InvalidArgumentError(msg)
    return attempts


def _check_consistency(name: str, consistency: str) -> None:
    if consistency not in ("eventual", "strong"):
        msg = f'consistency: {consistency!r} is neither "eventual" nor "strong"'
        raise InvalidArgumentError(msg)
    if name == "system":
        msg = "keyspace: `system` is reserved"
        raise DeniedError(msg)

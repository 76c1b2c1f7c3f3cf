"""The native module. Private: its names change without notice. The public classes are in `kvstore.node` and others."""

import asyncio
import datetime as dt
from typing import Any, Final, Generic, Iterable, List, Literal, Mapping, Optional, Tuple, Type, TypeVar, Union

from typing_extensions import Self, TypeAlias, final, overload

from kvstore._options import Key, Page, Path, Read, Retry, Seconds, Timeout, Wanted
from kvstore._security import TLS, Token
from kvstore.bench import LoadReport, LoadSettings
from kvstore.codecs import Codec
from kvstore.lease import Lease
from kvstore.offline import DirectoryReport, SnapshotReport
from kvstore.status import Consistency

__all__ = ["Changes", "Client", "Completions", "Conflict", "Entry", "Event", "Faults", "Kept", "Load", "Node"]
__all__ += ["EventualRequests", "Monitor", "Request", "StrongRequests", "TokenDesk", "Write", "__version__"]
__all__ += ["after_fork_in_child", "check_timeout", "decode_auto", "encode_auto", "end_calls", "examine_data_dir"]
__all__ += ["keep_log", "log_to_stderr", "make_imports", "recent_log"]
__all__ += ["close_log", "log_parts", "open_log", "restore_snapshot", "set_log_levels", "take_log", "verify_snapshot"]

__version__: Final[str]

_V = TypeVar("_V")
_D = TypeVar("_D")

_LogRecord: TypeAlias = Tuple[int, str, str, str, int, float, Optional[str], Optional[str], Optional[int]]

@final
class Entry(Generic[_V]):
    """One stored key, as entry() and scan() give it. Immutable; equal when all fields are."""

    def __new__(
        cls, key_bytes: bytes, value: _V, version: int, flags: int, modified_ms: int, expires_ms: Optional[int] = None
    ) -> Entry[_V]:
        """Times are milliseconds since 1970."""
    @property
    def key(self) -> str:
        """The key as text; bytes that are no UTF-8 come with surrogateescape, as from os.fsdecode."""
    @property
    def key_bytes(self) -> bytes:
        """The key, exactly."""
    @property
    def value(self) -> _V:
        """The decoded value."""
    @property
    def version(self) -> int:
        """Opaque: for `==` and for the order within this key; 64 bits."""
    @property
    def flags(self) -> int:
        """How the codec encoded the value."""
    @property
    def modified(self) -> dt.datetime:
        """When it was written, by the clock of the node that took it."""
    @property
    def expires(self) -> Optional[dt.datetime]:
        """When it ends; None: never."""
    @property
    def ttl(self) -> Optional[float]:
        """Seconds left, never negative; None when the key does not expire."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> Tuple[Type[Self], Tuple[Any, ...]]: ...
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Type[Self]: ...

@final
class Conflict(Generic[_V]):
    """An acknowledged write that lost against one that had not seen it. Immutable; equal when all fields are.

    The later of the two wins, by hybrid logical clock. Give it to `restore()` to write what was lost again.
    """

    def __new__(
        cls,
        key_bytes: bytes,
        lost: Optional[Entry[_V]],
        won: Optional[Entry[_V]],
        noticed_ms: int,
        node: str,
        payload: bytes,
    ) -> Conflict[_V]:
        """The time is milliseconds since 1970; `payload` is the lost value as it was stored."""
    @property
    def key(self) -> str:
        """The key as text; bytes that are no UTF-8 come with surrogateescape, as from os.fsdecode."""
    @property
    def key_bytes(self) -> bytes:
        """The key, exactly."""
    @property
    def lost(self) -> Optional[Entry[_V]]:
        """What was lost; None: a delete."""
    @property
    def won(self) -> Optional[Entry[_V]]:
        """What replaced it, as it was then; None: a delete."""
    @property
    def when(self) -> dt.datetime:
        """When the loss was noticed, by the clock of the node that had acknowledged it."""
    @property
    def where(self) -> str:
        """The id of the node that had acknowledged it."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> Tuple[Type[Self], Tuple[Any, ...]]: ...
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Type[Self]: ...

@final
class Request:
    """A call, converted and checked against the limits, and how its answer becomes Python. Good for one run.

    A `codec` of None is AUTO, which needs no Python code.

    Raises:
        InvalidArgumentError: A key, range or time to live that no store takes; the text names it.
        LimitError: A key, value or batch over its limit.
        CodecError: A value that the codec cannot encode.
    """

    @staticmethod
    def ping() -> Request:
        """Answers None."""
    @staticmethod
    def status(digests: bool) -> Request:
        """Answers a NodeStatus."""
    @staticmethod
    def holdings() -> Request:
        """Answers what the contacted node holds of eventual keyspaces: tuples of name, keys, bytes, conflicts."""
    @staticmethod
    def members() -> Request:
        """Answers a tuple of MemberStatus."""
    @staticmethod
    def remove_member(node_id: str, force: bool) -> Request:
        """Answers None."""
    @staticmethod
    def move_leader(node_id: Optional[str]) -> Request:
        """Answers the id of the new leader."""
    @staticmethod
    def metrics() -> Request:
        """Answers a dict of figures by the name of their series."""
    @staticmethod
    def snapshot(path: Path) -> Request:
        """Answers the bytes of the file."""
    @staticmethod
    def survey(keyspace: str, prefix: Key, start: Optional[Key], share: int, top: int) -> Request:
        """Answers a page: keys looked at, the largest values, folds, where the next begins. See kvstore.survey."""
    @property
    def waits(self) -> bool:
        """Whether a node asks other nodes for the answer, or reads and writes much."""

@final
class EventualRequests:
    """The requests of one keyspace that is eventual, or of which that is not known. Raises what Request does."""

    def __new__(cls, keyspace: str, /) -> EventualRequests: ...
    @property
    def keyspace(self) -> str:
        """Its name."""
    def get(self, key: Key, default: object, codec: Optional[Codec[Any]]) -> Request:
        """Answers the value, or `default`."""
    def entry(self, key: Key, codec: Optional[Codec[Any]]) -> Request:
        """Answers an Entry, or None."""
    def get_many(self, keys: Iterable[Key], codec: Optional[Codec[Any]]) -> Request:
        """Answers a dict of the keys that are there, by str key."""
    def exists(self, key: Key) -> Request:
        """Answers a bool."""
    def count(self, prefix: Key) -> Request:
        """Answers an int."""
    def page(self, page: Page, codec: Optional[Codec[Any]]) -> Request:
        """Answers one page of a scan: a list of Entry, and whether there may be more."""
    def key_page(self, page: Page) -> Request:
        """Answers one page of keys: a list of bytes, and whether there may be more."""
    @staticmethod
    def check_read(read: Optional[Read]) -> None:
        """Refuse a read level that an eventual keyspace does not promise."""
    def put(
        self,
        key: Key,
        value: object,
        ttl: Optional[Seconds],
        codec: Optional[Codec[Any]],
        lease: Optional[int] = None,
        if_absent: bool = False,
        if_version: Optional[int] = None,
    ) -> Request:
        """Answers the new version. UnsupportedError: a lease or a condition."""
    def put_many(self, items: Mapping[str, Any], ttl: Optional[Seconds], codec: Optional[Codec[Any]]) -> Request:
        """Answers None."""
    def delete(self, key: Key, if_version: Optional[int] = None) -> Request:
        """Answers whether the key was there. UnsupportedError: a condition."""
    def delete_many(self, keys: Iterable[Key]) -> Request:
        """Answers how many were there."""
    def touch(self, key: Key, ttl: Optional[Seconds]) -> Request:
        """Answers whether the key is there."""
    def batch(self, requests: List[Request]) -> Request:
        """Several requests for single keys as one. Answers pairs: True and the answer, or False and the error."""
    def question(self) -> Request:
        """Answers None, and the one who runs it knows afterwards what the keyspace is."""
    def conflicts(self, prefix: Key, since_ms: int, codec: Optional[Codec[Any]]) -> Request:
        """Answers a list of Conflict, the newest first."""
    def restore(self, conflict: Conflict[Any]) -> Request:
        """Answers the new version."""

@final
class Write:
    """One write of a transaction, converted and checked. Raises what Request does."""

    @staticmethod
    def put(
        key: Key, value: object, ttl: Optional[Seconds], lease: Optional[int], codec: Optional[Codec[Any]]
    ) -> Write: ...
    @staticmethod
    def delete(key: Key) -> Write: ...
    @staticmethod
    def incr(key: Key, by: int, initial: int, ttl: Optional[Seconds]) -> Write: ...
    def read(self, default: object, codec: Optional[Codec[Any]], /) -> Any:
        """The value of a put as a reader will get it; `default` of another write."""

@final
class StrongRequests:
    """The requests of one strong keyspace, named as those of EventualRequests; and those that only such a one has.

    Raises:
        InvalidArgumentError: No keyspace can have that name.
    """

    def __new__(cls, keyspace: str, /) -> StrongRequests: ...
    @property
    def keyspace(self) -> str:
        """Its name."""
    def fenced(self, lock: Key, token: int, /) -> StrongRequests:
        """The same, whose writes happen only while the lock is held under the token."""
    @staticmethod
    def check_read(read: Optional[Read]) -> None:
        """Refuse what is no read level."""
    def get(self, key: Key, default: object, codec: Optional[Codec[Any]]) -> Request:
        """Answers the value, or `default`."""
    def entry(self, key: Key, codec: Optional[Codec[Any]]) -> Request:
        """Answers an Entry, or None."""
    def get_many(self, keys: Iterable[Key], codec: Optional[Codec[Any]]) -> Request:
        """Answers a dict of the keys that are there, by str key, all as of one revision."""
    def exists(self, key: Key) -> Request:
        """Answers a bool."""
    def count(self, prefix: Key) -> Request:
        """Answers an int."""
    def page(self, page: Page, codec: Optional[Codec[Any]]) -> Request:
        """Answers one page of a scan: a list of Entry, and whether there may be more."""
    def key_page(self, page: Page) -> Request:
        """Answers one page of keys: a list of bytes, and whether there may be more."""
    def snapshot(self, keys: Iterable[Key], at: Optional[int], codec: Optional[Codec[Any]]) -> Request:
        """Answers a revision (`at`, or the present one) and an Entry or None for each key as of it."""
    def put(
        self,
        key: Key,
        value: object,
        ttl: Optional[Seconds],
        codec: Optional[Codec[Any]],
        lease: Optional[int] = None,
        if_absent: bool = False,
        if_version: Optional[int] = None,
    ) -> Request:
        """Answers the new version."""
    def put_many(self, items: Mapping[str, Any], ttl: Optional[Seconds], codec: Optional[Codec[Any]]) -> Request:
        """Answers None."""
    def delete(self, key: Key, if_version: Optional[int] = None) -> Request:
        """Answers whether the key was there."""
    def delete_many(self, keys: Iterable[Key]) -> Request:
        """Answers how many were there."""
    def touch(self, key: Key, ttl: Optional[Seconds]) -> Request:
        """Answers whether the key is there."""
    def incr(self, key: Key, by: int, initial: int, ttl: Optional[Seconds]) -> Request:
        """Answers the sum."""
    def transact(self, required: List[Tuple[bytes, Optional[int]]], writes: List[Write]) -> Request:
        """All writes or none, if each key has the version: 0 for no such key, None for any.

        Answers the revision (0: nothing changed), and of each write whether its key was there, and what it added up to.
        """
    @staticmethod
    def grant(ttl: Seconds) -> Request:
        """Answers the id of a new lease, and the seconds that it lasts."""
    @staticmethod
    def keep_alive(lease: int) -> Request:
        """Answers as grant()."""
    @staticmethod
    def revoke(lease: int) -> Request:
        """Answers None."""
    @staticmethod
    def lease(lease: int) -> Request:
        """Answers the seconds left, those it was granted for, and how many keys and locks hang on it."""
    @staticmethod
    def leases(after: int) -> Request:
        """Answers tuples of an id and of what lease() answers, by id, and whether there may be more."""
    def acquire(self, lock: Key, lease: int, value: bytes, wait: bool) -> Request:
        """Answers the fencing token, or None when in line. ConflictError (LOCK_HELD): it was not to wait."""
    def await_lock(self, lock: Key, lease: int, wait_ms: int) -> Request:
        """Answers the fencing token, or None when the time is over."""
    def release(self, lock: Key, lease: int) -> Request:
        """Answers None."""
    def holder(self, lock: Key, codec: Optional[Codec[Any]]) -> Request:
        """Answers an Entry whose value is what the holder shows, or None."""
    @staticmethod
    def create(keyspace: str, keep_conflicts: Optional[int]) -> Request:
        """Answers None. It is eventual if it is to keep conflicts, even none, and strong otherwise."""
    @staticmethod
    def drop(keyspace: str) -> Request:
        """Answers None."""
    @staticmethod
    def keyspaces() -> Request:
        """Answers tuples of name, consistency, and number of keys: 0 in an eventual one."""

@final
class Kept:
    """A lease that native threads keep alive. Raises ForkedError in the child of a fork."""

    @property
    def alive(self) -> bool:
        """Whether it certainly lasts."""
    @property
    def remaining(self) -> float:
        """Seconds for which it certainly lasts."""
    def wait(self, timeout: Timeout, /) -> Optional[bool]:
        """Wait for its end, with the GIL released: True: lost, False: stopped, None: the timeout passed."""
    def stop(self) -> None:
        """Keep it alive no longer. Idempotent."""
    def abandon(self) -> None:
        """As stop(), and revoke it without waiting for the answer."""

class Node:
    """A node of this process, and the calls on it that need no request. See `kvstore.Node`."""

    def __new__(
        cls,
        *,
        host: str,
        port: int,
        advertise: Optional[str],
        peers: List[str],
        cluster: str,
        threads: int,
        tls: Optional[TLS],
        token: Optional[str],
        insecure: bool,
        http: bool,
        max_drift: float,
        data_dir: Optional[str],
        durability: str,
        max_memory: Optional[int],
        default_consistency: str,
        history: Tuple[int, int, float],
        faults: Optional[Faults] = None,
    ) -> Self:
        """Check the settings; open nothing."""
    @property
    def id(self) -> str:
        """Random, 16 hexadecimal digits; kept in the `data_dir`, and "" before the start of a node that has one."""
    @property
    def address(self) -> str:
        """The "host:port" by which others reach it; "" before the start when the port is to be picked."""
    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start when one is to be picked."""
    @property
    def running(self) -> bool:
        """Between start() and stop()."""
    def _start(self) -> None: ...
    def _wait_ready(self, timeout: Timeout) -> None: ...
    def _stop(self, timeout: Timeout) -> None: ...
    def _waits_for(self, request: Request, /) -> bool:
        """Whether a request is not answered from memory: a write waits for the disk, or the group is asked."""
    def _abandon(self) -> None:
        """End as if the process had been killed; port and directory are free afterwards."""
    def _consistency(self, keyspace: str, /) -> Optional[Consistency]:
        """What a keyspace is; None: the node has not heard of it, or has not found the group that decides."""
    def _run(self, request: Request, timeout: Timeout = ..., read: Optional[Read] = ...) -> Any:
        """Do what was asked; the GIL is released meanwhile."""
    def _keep(self, lease: int, ttl: Seconds, /) -> Kept:
        """Keep a lease alive that has just been granted for `ttl` seconds."""
    def _open_watch(self, wanted: Wanted, /) -> Changes:
        """Begin a watch of this node's data, in the background."""
    @overload
    def get(self, key: Key, *, read: Read = ..., timeout: Timeout = ...) -> Any: ...
    @overload
    def get(self, key: Key, default: _D, *, read: Read = ..., timeout: Timeout = ...) -> Union[Any, _D]:
        """The value, or `default` when the key is missing or expired; from memory, under half a microsecond."""
    def put(
        self,
        key: Key,
        value: Any,
        *,
        ttl: Optional[Seconds] = None,
        lease: Optional[Lease] = None,
        if_absent: bool = False,
        if_version: Optional[int] = None,
        timeout: Timeout = ...,
    ) -> int:
        """Store, and return the new version; replication follows by itself.

        Raises:
            CodecError: The value would not come back as it went in.
            LimitError: Key or value is too large.
            UnsupportedError: `lease`, `if_absent` or `if_version`, which an eventual `default` cannot keep or check.
        """
    def delete(self, key: Key, *, if_version: Optional[int] = None, timeout: Timeout = ...) -> bool:
        """Whether the key was there, as this node saw it."""
    def __getitem__(self, key: Key, /) -> Any:
        """The value; KeyNotFoundError when missing."""
    def __setitem__(self, key: Key, value: Any, /) -> None:
        """As put()."""
    def __delitem__(self, key: Key, /) -> None:
        """As delete(), but KeyNotFoundError when missing."""
    def __contains__(self, key: object, /) -> bool:
        """Whether the key is there."""

@final
class Client:
    """The connection of a Client or AsyncClient. Opens nothing before its first call; a forked child gets a new one.

    The arguments are the options of `kvstore.Client`; with `tls` None no token goes to another machine in the clear.

    Raises:
        InvalidArgumentError: An address is none, the name no visible ASCII, or the token would be told to others.
    """

    def __new__(
        cls,
        targets: List[str],
        retry: Optional[Retry],
        name: Optional[str],
        discover: bool,
        hedge: Optional[float],
        tls: Union[bool, TLS, None] = None,
        token: Token = None,
        /,
    ) -> Client: ...
    def run(self, request: Request, timeout: Timeout, read: Optional[Read], /) -> Any:
        """Do what was asked and wait for the answer, with the GIL released; Ctrl-C gives the call up.

        All calls are one session: `read` of "session", `...` or None shows at least what it has written or read before.
        """
    def watch(self, wanted: Wanted, /) -> Changes:
        """Begin a watch, in the background."""
    def keep(self, lease: int, ttl: Seconds, /) -> Kept:
        """Keep a lease alive that has just been granted for `ttl` seconds."""
    def consistency(self, keyspace: str, /) -> Optional[Consistency]:
        """What a keyspace is; None: nobody has told this client yet. Calls about it go where it is."""
    def close(self) -> None:
        """Idempotent; calls in flight raise ClosedError."""

@final
class TokenDesk:
    """Where a Python thread answers a client that asks for a token: wait() is False once nobody asks any more."""

    def wait(self) -> bool: ...
    def answer(self, token: str, /) -> None: ...
    def fail(self, why: str, /) -> None: ...
    def close(self) -> None: ...

@final
class Completions:
    """The answers for one event loop, which watches `fileno()` and calls `drain()`."""

    def __new__(cls) -> Completions: ...
    def fileno(self) -> int:
        """Readable when there are answers."""
    def submit(
        self, client: Client, request: Request, timeout: Timeout, read: Optional[Read], future: asyncio.Future[Any], /
    ) -> int:
        """Start a call whose answer `future` gets; the result names it. ForkedError: made before a fork."""
    def submit_local(
        self, node: Node, request: Request, timeout: Timeout, read: Optional[Read], future: asyncio.Future[Any], /
    ) -> int:
        """As submit(), at a node of this process: writes, in order and answered once on disk, and strong keyspaces."""
    def watch(self, changes: Changes, future: asyncio.Future[Any], /) -> int:
        """Set `future` when there may be something to take; the result names the wait."""
    def cancel(self, call: int, /) -> None:
        """Give a call up: an answer that still comes is dropped."""
    def drain(self) -> None:
        """Hand all answers that came to their futures."""

@final
class Event(Generic[_V]):
    """One change seen by a watch. Immutable."""

    @property
    def type(self) -> Literal["put", "delete", "expire"]:
        """What happened to the key."""
    @property
    def key(self) -> str:
        """The key as text; bytes that are no UTF-8 come with surrogateescape, as from os.fsdecode."""
    @property
    def key_bytes(self) -> bytes:
        """The key, exactly."""
    @property
    def version(self) -> int:
        """Opaque: for `==` and for the order within this key; 64 bits."""
    @property
    def position(self) -> bytes:
        """To resume after this event: `watch(since=...)`, good at any node. To be stored, not compared."""
    @property
    def revision(self) -> Optional[int]:
        """Grows over the whole keyspace, the same for all changes of a transaction; None in eventual keyspaces."""
    @property
    def entry(self) -> Optional[Entry[_V]]:
        """The new value; None for delete and expire."""
    @property
    def previous(self) -> Optional[Entry[_V]]:
        """What was there before, in strong keyspaces; None in eventual ones, which do not keep it."""
    @property
    def initial(self) -> bool:
        """Part of the state asked for with initial=True."""
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> Type[Self]: ...

@final
class Changes:
    """A watch under way. A wait takes nothing, so that one that is given up loses nothing."""

    @property
    def begun(self) -> bool:
        """Whether it is known where it begins: nothing is missed from then on."""
    @property
    def inside(self) -> bool:
        """Whether the next event is there and belongs to the same transaction as the last."""
    @property
    def position(self) -> bytes:
        """After the last event that was taken."""
    def take(self, codec: Optional[Codec[Any]], /) -> Optional[Event[Any]]:
        """The next event, if it is there. ClosedError: it has ended; CompactedError: it cannot go on from `since`."""
    def wait(self, timeout: Timeout, /) -> bool:
        """Wait until there may be something to take, with the GIL released; False after the timeout."""
    def cancel(self) -> None:
        """End it, from any thread."""

@final
class Faults:
    """What is wrong with the network and the clocks of one node. See `LocalCluster`, and `src/env/faulty.rs`."""

    def __new__(cls, seed: int, /) -> Self: ...
    def beside(self, seed: int, /) -> Faults:
        """Those of another node, whose clocks are advanced together with this one's."""
    def block(self, addresses: List[str], /) -> None: ...
    def pause(self, paused: bool, /) -> None: ...
    def slow(self, delay: float, jitter: float, drop: float, /) -> None: ...
    def advance(self, seconds: float, /) -> None: ...

@final
class Monitor:
    """Listens to the calls of a node, see kvstore.monitor. InvalidArgumentError names the argument."""

    def __new__(cls, client: Client, share: Optional[int], per_second: Optional[int], timeout: Timeout, /) -> Self: ...
    def next(self, timeout: Timeout, /) -> Optional[Tuple[List[Tuple[Any, ...]], int, int]]:
        """Wait for a page with the GIL released; None after the timeout, and nothing is lost."""
    def close(self) -> None: ...

@final
class Load:
    """A load run under way; it begins when it is made. InvalidArgumentError names the setting."""

    def __new__(cls, client: Client, settings: LoadSettings, /) -> Load: ...
    @property
    def operations_done(self) -> int:
        """Calls that have come to an end so far, the preload left out."""
    def wait(self) -> Optional[LoadReport]:
        """Wait a twentieth of a second for the report, with the GIL released; None: it still runs."""
    def stop(self) -> None:
        """End it early."""

def encode_auto(value: Any, /) -> Tuple[bytes, int]:
    """AUTO's payload and flags. CodecError: the value would not come back as it went in."""

def decode_auto(payload: bytes, flags: int, /) -> Any:
    """AUTO's value. CodecError: not of this codec, or damaged."""

def end_calls() -> None: ...  # let no other thread run Python code from here any more: the interpreter is about to end
def check_timeout(timeout: Timeout, /) -> None: ...  # refuse what is no timeout
def verify_snapshot(path: Path, /) -> SnapshotReport:
    """Read a whole snapshot file and tell what of it is readable."""

def restore_snapshot(path: Path, data_dir: Path, cluster: str, /) -> str:
    """Make the directory of a new node out of a snapshot; the id of the node."""

def examine_data_dir(path: Path, /) -> DirectoryReport:
    """Look at the directory of a node without changing it."""

# What the nodes and clients of this process report.
def keep_log(lines: int, /) -> None: ...  # keep the last lines of it, from now on
def recent_log() -> List[str]: ...  # what was kept, the oldest line first
def log_to_stderr() -> None: ...  # show it there, from now on
def close_log() -> None: ...  # keep no more: take_log() gives what is left, and waits no longer
def open_log() -> bool: ...  # keep records for take_log() from now on; False: that is so already, in this process
def log_parts() -> List[str]: ...  # the parts of the store that have a logger each
def set_log_levels(levels: List[int], /) -> None: ...  # what those loggers want at least, as `logging` counts
def take_log(timeout: Timeout, /) -> Tuple[List[_LogRecord], int, bool]:
    """Records that wait, after at most `timeout`; how many were dropped; whether more may come."""

def after_fork_in_child() -> List[int]:
    """Forget what lived on threads that the child does not have. What it is to close."""

def make_imports() -> None: ...  # make what is kept of Python from its first use on, before a fork can come between

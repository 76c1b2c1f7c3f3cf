"""A storage for huey: a task queue whose broker is the cluster, or a node inside the program.

    huey = KVStoreHuey("jobs", target="10.0.0.1:7001", keyspace="tasks")

A task is handed to one consumer, and is gone from the queue before it runs: huey's contract is at most once, so a task
that dies with its consumer is not run again. How tasks and results become bytes is huey's own affair: it pickles them,
unless it is given a `serializer`; whoever can write to the keyspace can then run code in the consumers.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import struct
import time
from typing import TYPE_CHECKING, Any, Dict, Final, Iterable, Iterator, List, Optional, Union
from urllib.parse import quote

from huey.api import Huey
from huey.constants import EmptyData
from huey.storage import BaseStorage

from kvstore.contrib._keyspace import StrongStore, chunks, open_store
from kvstore.errors import ConflictError, KVError

if TYPE_CHECKING:
    from kvstore._core import Entry
    from kvstore._options import Seconds, Target
    from kvstore.store import Store

__all__ = ["KVStoreHuey", "KVStoreStorage"]

_log = logging.getLogger(__name__)

_ABSENT: Final[Any] = object()

_HEAD: Final = 16
"""Tasks that a consumer reads after it lost the race for the first. More would be read in vain, fewer be raced for."""

_DUE: Final = 500
"""Scheduled tasks that are taken in one transaction."""

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # huey's times have no zone
_SIGN: Final = 1 << 63


class KVStoreStorage(BaseStorage):
    """Queue, schedule, results and counters of one huey, in a strong keyspace.

    Tasks of a higher priority come first, those of the same in the order in which they were numbered.

    Args:
        name: Of the huey; those of the same name share everything.
        target: Of a Client, or a store, such as a Node of this process.
        keyspace: A strong one; by default that of the target.
        prefix: Of all keys.
        blocking: Whether a consumer waits for a task, by way of a watch, for up to `read_timeout` seconds at a time.
            Else it asks again and again, at huey's intervals.
        read_timeout: See there.
        result_ttl: Seconds after which a result that nobody has read is forgotten; None: never.
        **options: Of a Client.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: The keyspace is eventual (at the first use).
    """

    priority = True

    def __init__(
        self,
        name: str = "huey",
        *,
        target: Union[Target, Store[Any], None] = None,
        keyspace: Optional[str] = None,
        prefix: str = "huey/",
        blocking: bool = False,
        read_timeout: float = 1.0,
        result_ttl: Optional[Seconds] = None,
        **options: Any,
    ) -> None:
        super().__init__(name)
        self.blocking = blocking
        self._read_timeout = read_timeout
        self._result_ttl = result_ttl
        below = f"{prefix}{quote(name, safe='')}/"
        self._numbers = below + "n"
        self._queue, self._schedule = below + "q/", below + "s/"
        self._data, self._counters = (below + "d/").encode(), (below + "c/").encode()
        store = open_store(target, keyspace, options)
        self._store = StrongStore(store, "kvstore.contrib.huey", "that a task is taken once")

    # ------------------------------------------------------------------------------------------------------ queue
    def enqueue(self, data: bytes, priority: Optional[float] = None) -> None:
        """Add a task; a higher priority is run earlier, 0 is the default."""
        number = self._store().incr(self._numbers)
        self._store().put(f"{self._queue}{_descending(priority or 0)}/{number:016x}", data)

    def dequeue(self) -> Optional[bytes]:
        """Take the first task; None when there is none."""
        data = self._take_first()
        if data is not None or not self.blocking:
            return data
        with self._store().watch(prefix=self._queue) as watch:
            # What came before the watch began is not told by it.
            data = self._take_first()
            if data is None and watch.next(self._read_timeout) is not None:
                data = self._take_first()
        return data

    def queue_size(self) -> int:
        """Tasks that wait."""
        return self._store().count(self._queue)

    def enqueued_items(self, limit: Optional[int] = None) -> List[bytes]:
        """Tasks that wait, the next one first."""
        return [entry.value for entry in self._store().scan(self._queue, limit=limit)]

    def flush_queue(self) -> None:
        """Forget the tasks that wait."""
        self._store().delete_prefix(self._queue)

    def _take_first(self) -> Optional[bytes]:
        limit = 1
        while True:
            entries = list(self._store().scan(self._queue, limit=limit, read="linearizable"))
            if not entries:
                return None
            for entry in entries:
                if self._take(entry):
                    return bytes(entry.value)
            # Others have taken all of these: somebody goes on each time, so this comes to an end.
            limit = _HEAD

    def _take(self, entry: Entry[Any]) -> bool:
        """Whether this one has it, and nobody else."""
        try:
            return self._store().delete(entry.key, if_version=entry.version)
        except ConflictError as error:
            if error.code != "VERSION_CONFLICT":
                raise
            return False

    # --------------------------------------------------------------------------------------------------- schedule
    def add_to_schedule(self, data: bytes, ts: dt.datetime) -> None:
        """Keep a task until its time."""
        number = self._store().incr(self._numbers)
        self._store().put(f"{self._schedule}{_microseconds(ts):016x}/{number:016x}", data)

    def read_schedule(self, ts: dt.datetime) -> List[bytes]:
        """Take the tasks whose time has come, the earliest first. Each goes to one caller."""
        taken: List[bytes] = []
        end = f"{self._schedule}{_microseconds(ts) + 1:016x}"
        due = self._store().scan(self._schedule, end=end, read="linearizable")
        try:
            while True:
                entries = list(itertools.islice(due, _DUE))
                taken.extend(self._take_all(entries))
                if len(entries) < _DUE:
                    return taken
        except KVError:
            if not taken:
                raise
            # These are gone from the schedule: the error comes again with the next call, they would not.
            _log.warning("the schedule of %s was read in part", self.name, exc_info=True)
            return taken

    def schedule_size(self) -> int:
        """Tasks whose time is to come."""
        return self._store().count(self._schedule)

    def scheduled_items(self, limit: Optional[int] = None) -> List[bytes]:
        """Tasks whose time is to come, the earliest first."""
        return [entry.value for entry in self._store().scan(self._schedule, limit=limit)]

    def flush_schedule(self) -> None:
        """Forget them."""
        self._store().delete_prefix(self._schedule)

    def _take_all(self, entries: List[Entry[Any]]) -> Iterable[bytes]:
        if not entries:
            return []
        try:
            with self._store().batch(atomic=True) as batch:
                for entry in entries:
                    batch.require(entry.key, version=entry.version)
                    batch.delete(entry.key)
        except ConflictError as error:
            if error.code != "VERSION_CONFLICT":
                raise
            # Another consumer reads the schedule at the same time.
            return self._take_each(entries)
        return [entry.value for entry in entries]

    def _take_each(self, entries: List[Entry[Any]]) -> Iterator[bytes]:
        return (entry.value for entry in entries if self._take(entry))

    # ---------------------------------------------------------------------------------------- results and counters
    def put_data(self, key: Union[str, bytes], value: bytes, is_result: bool = False) -> None:  # noqa: FBT001, FBT002
        """Store it; a result is forgotten after `result_ttl`."""
        self._store().put(self._data + _bytes(key), value, ttl=self._result_ttl if is_result else None)

    def peek_data(self, key: Union[str, bytes]) -> Any:
        """The value, or EmptyData."""
        value = self._store().get(self._data + _bytes(key), _ABSENT)
        return EmptyData if value is _ABSENT else value

    def peek_many(self, keys: Iterable[Any]) -> Dict[Any, bytes]:
        """Those that are there; one round trip a thousand."""
        wanted = {(self._data + _bytes(key)).decode("utf-8", "surrogateescape"): key for key in keys}
        found: Dict[Any, bytes] = {}
        for chunk in chunks(wanted):
            found.update((wanted[full], value) for full, value in self._store().get_many(chunk).items())
        return found

    def pop_data(self, key: Union[str, bytes]) -> Any:
        """Take the value away; EmptyData when there is none."""
        value = self._store().pop(self._data + _bytes(key), _ABSENT)
        return EmptyData if value is _ABSENT else value

    def delete_data(self, key: Union[str, bytes]) -> bool:
        """Whether it was there."""
        return self._store().delete(self._data + _bytes(key))

    def has_data_for_key(self, key: Union[str, bytes]) -> bool:
        """Whether it is there."""
        return self._store().exists(self._data + _bytes(key))

    def put_if_empty(self, key: Union[str, bytes], value: bytes, ttl: Optional[Seconds] = None) -> bool:
        """Whether it was stored, because there was none. huey's locks are made of this."""
        return self._store().add(self._data + _bytes(key), value, ttl=ttl)

    def wait_result(
        self,
        key: Union[str, bytes],
        timeout: Optional[float] = None,
        backoff: float = 1.15,  # noqa: ARG002  # a watch does not ask again and again
        max_delay: float = 1.0,  # noqa: ARG002
    ) -> bool:
        """Whether it comes within `timeout`; by way of a watch, so at once when it does."""
        ends = None if timeout is None else time.monotonic() + timeout
        with self._store().watch(self._data + _bytes(key), initial=True) as watch:
            while True:
                event = watch.next(None if ends is None else max(0.0, ends - time.monotonic()))
                if event is None or event.type == "put":
                    return event is not None

    def incr(self, key: Union[str, bytes], amount: int = 1) -> int:
        """Add to a counter, and return it; it begins with 0."""
        return self._store().incr(self._counters + _bytes(key), amount)

    def delete_counter(self, key: Union[str, bytes]) -> None:
        """Forget a counter."""
        self._store().delete(self._counters + _bytes(key))

    def result_store_size(self) -> int:
        """Results and whatever else was put."""
        return self._store().count(self._data)

    def result_items(self) -> Dict[str, bytes]:
        """All of it, by key."""
        start = len(self._data)
        entries = self._store().scan(self._data)
        return {entry.key_bytes[start:].decode("utf-8", "surrogateescape"): entry.value for entry in entries}

    def flush_results(self) -> None:
        """Forget all of it."""
        self._store().delete_prefix(self._data)

    def flush_counters(self) -> None:
        """Forget all counters."""
        self._store().delete_prefix(self._counters)


class KVStoreHuey(Huey):
    """A Huey with a KVStoreStorage; takes the arguments of both."""

    storage_class = KVStoreStorage


def _bytes(key: Union[str, bytes]) -> bytes:
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def _descending(priority: float) -> str:
    """A text whose order is that of falling priorities: the bits of a float, as an integer of the same order."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", -float(priority) + 0.0))
    return f"{bits ^ (2**64 - 1) if bits & _SIGN else bits | _SIGN:016x}"


def _microseconds(ts: dt.datetime) -> int:
    """Microseconds of a time, moved so that those before 1970 sort, too."""
    naive = ts if ts.tzinfo is None else ts.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return (naive - _EPOCH) // dt.timedelta(microseconds=1) + _SIGN

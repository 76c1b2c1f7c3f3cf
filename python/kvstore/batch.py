"""Batches: calls that are sent together.

`kvstore/aio/batch.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Final, Generic, List, NamedTuple, Optional, Tuple, TypeVar, cast

from kvstore._core import StrongRequests, Write
from kvstore._options import DEFAULT, key_bytes
from kvstore.errors import ClosedError, ConflictError, InvalidArgumentError, UnsupportedError
from kvstore.pending import Pending

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self

    from kvstore._core import Entry, Request
    from kvstore._options import Key, Seconds
    from kvstore.store import Store

__all__ = ["Batch"]

V = TypeVar("V")

_ATTEMPTS: Final = 16
"""How often a batch that reads is tried before others were faster once too often."""


class _Operation(NamedTuple):
    """What to do, in the form of the keyspace: a request of its own, or a write; neither is a read of a strong one."""

    kind: str
    key: Key
    pending: Pending[Any]
    request: Optional[Request]
    write: Optional[Write]


class Batch(Generic[V]):
    """Sent when the `with` block ends without an exception; each Pending then has its answer. Not thread-safe.

    Its operations belong inside the block and raise InvalidArgumentError before it, as what the keyspace is, is not
    known there. Later operations see earlier ones. In a strong keyspace it is one transaction: all of it happens or
    nothing, and the block raises what failed. In an eventual keyspace each operation has an error of its own.
    """

    def __init__(self, store: Store[V], *, atomic: bool) -> None:
        self._store = store
        self._is_atomic = atomic
        self._requests = store._as_known()  # noqa: SLF001
        self._codec = store._codec  # noqa: SLF001
        self._operations: List[_Operation] = []
        self._required: List[Tuple[bytes, Optional[int]]] = []
        self._is_entered = False
        self._is_over = False

    def get(self, key: Key) -> Pending[Optional[V]]:
        """The value, or None when the key is missing or expired."""
        self._check_inside()
        if isinstance(self._requests, StrongRequests):
            return self._add("get", key)
        return self._add("get", key, request=self._requests.get(key, None, self._codec))

    def put(self, key: Key, value: V, *, ttl: Optional[Seconds] = None) -> Pending[int]:
        """Store, and answer the new version."""
        self._check_inside()
        if isinstance(self._requests, StrongRequests):
            return self._add("put", key, write=Write.put(key, value, ttl, None, self._codec))
        return self._add("put", key, request=self._requests.put(key, value, ttl, self._codec))

    def delete(self, key: Key) -> Pending[bool]:
        """Delete it, and answer whether it was there."""
        self._check_inside()
        if isinstance(self._requests, StrongRequests):
            return self._add("delete", key, write=Write.delete(key))
        return self._add("delete", key, request=self._requests.delete(key))

    def incr(self, key: Key, by: int = 1) -> Pending[int]:
        """[strong] Add to a 64-bit integer, and answer it."""
        self._check_inside()
        if isinstance(self._requests, StrongRequests):
            return self._add("incr", key, write=Write.incr(key, by, 0, None))
        msg = "incr: an eventual keyspace does not promise it; use a strong one"
        raise UnsupportedError(msg)

    def require(self, key: Key, *, version: Optional[int] = None, absent: bool = False) -> None:
        """[strong] The whole batch raises ConflictError and does nothing unless this holds before it.

        Args:
            key: Which. Without more it has to be there.
            version: It has to have this version.
            absent: It must not be there.
        """
        self._check_inside()
        if not isinstance(self._requests, StrongRequests):
            msg = "require: an eventual keyspace cannot check it; use a strong one"
            raise UnsupportedError(msg)
        if version is not None and (absent or version < 1):
            msg = "version: give a version of 1 or more, or absent=True"
            raise InvalidArgumentError(msg)
        self._required.append((key_bytes(key), 0 if absent else version))

    def __enter__(self) -> Self:
        """The batch itself. Asks what the keyspace is, unless that is known."""
        self._requests = self._store._learn()  # noqa: SLF001
        if self._is_atomic:
            self._store._strong("batch(atomic=True)")  # noqa: SLF001
        self._is_entered = True
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Send it, unless there was an error."""
        is_over, self._is_over = self._is_over, True
        if error is not None or is_over:
            return
        if isinstance(self._requests, StrongRequests):
            self._transact(self._requests)
        elif self._operations:
            requests = [operation.request for operation in self._operations if operation.request is not None]
            outcomes = self._store._run(self._requests.batch(requests))  # noqa: SLF001
            for operation, outcome in zip(self._operations, cast("List[Tuple[bool, Any]]", outcomes)):
                operation.pending._settle(outcome)  # noqa: SLF001

    def _check_inside(self) -> None:
        if self._is_over:
            msg = "this batch was sent already: make a new one"
            raise ClosedError(msg, code="SENT")
        if not self._is_entered:
            msg = "batch: its operations belong inside its `with` block"
            raise InvalidArgumentError(msg)

    def _add(
        self, kind: str, key: Key, *, request: Optional[Request] = None, write: Optional[Write] = None
    ) -> Pending[Any]:
        pending: Pending[Any] = Pending()
        self._operations.append(_Operation(kind, key_bytes(key), pending, request, write))
        return pending

    def _transact(self, requests: StrongRequests) -> None:
        reads = list(dict.fromkeys(key_bytes(each.key) for each in self._operations if each.kind == "get"))
        writes = [each.write for each in self._operations if each.write is not None]
        for _ in range(_ATTEMPTS):
            entries = self._read(requests, reads)
            versions = [(key, 0 if entry is None else entry.version) for key, entry in entries.items()]
            if not writes and not self._required:
                self._settle(entries, 0, [])
                return
            try:
                done = self._store._run(requests.transact([*self._required, *versions], writes))  # noqa: SLF001
            except ConflictError as error:
                if error.code not in {"VERSION_CONFLICT", "KEY_EXISTS"} or not self._is_read(error, reads):
                    raise
            else:
                self._settle(entries, *cast("Tuple[int, List[Tuple[bool, Optional[int]]]]", done))
                return
        msg = f"batch: something that it read was changed in each of {_ATTEMPTS} attempts; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def _is_read(self, error: ConflictError, reads: List[bytes]) -> bool:
        """Whether what has changed was only read: then the batch is tried again. What was required comes first."""
        key = b"" if error.key is None else key_bytes(error.key)
        now = error.current_version or 0
        holds = [now > 0 if version is None else now == version for name, version in self._required if name == key]
        return key in reads and all(holds)

    def _read(self, requests: StrongRequests, keys: List[bytes]) -> Dict[bytes, Optional[Entry[V]]]:
        if not keys:
            return {}
        request = requests.snapshot(keys, None, self._codec)
        found = self._store._run(request, DEFAULT, "linearizable")  # noqa: SLF001
        return dict(zip(keys, cast("Tuple[int, List[Optional[Entry[V]]]]", found)[1]))

    def _settle(
        self, entries: Dict[bytes, Optional[Entry[V]]], revision: int, outcomes: List[Tuple[bool, Optional[int]]]
    ) -> None:
        """Tell each operation what came of it; a read sees the writes before it."""
        values: Dict[bytes, Any] = {key: None if entry is None else entry.value for key, entry in entries.items()}
        left = iter(outcomes)
        for operation in self._operations:
            key = key_bytes(operation.key)
            if operation.write is None:
                operation.pending._settle((True, values[key]))  # noqa: SLF001
                continue
            existed, number = next(left)
            answers = {"put": revision, "delete": existed, "incr": number}
            operation.pending._settle((True, answers[operation.kind]))  # noqa: SLF001
            values[key] = number if operation.kind == "incr" else operation.write.read(None, self._codec)

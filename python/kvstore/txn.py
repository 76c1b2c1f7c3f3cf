"""Transactions: reads of one moment, and writes that happen together if nothing that was read has changed.

`kvstore/aio/txn.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Generic, List, Optional, Tuple, TypeVar, cast

from kvstore._core import Write
from kvstore._options import DEFAULT, key_bytes
from kvstore.errors import ConflictError

if TYPE_CHECKING:
    from kvstore._core import Entry
    from kvstore._options import Key, Seconds
    from kvstore.store import Store

__all__ = ["Txn"]

V = TypeVar("V")


class Txn(Generic[V]):
    """Valid inside the function given to transact(). The first read decides as of which moment all reads are."""

    def __init__(self, store: Store[V]) -> None:
        self._store = store
        self._requests = store._may_be_strong("transact")  # noqa: SLF001
        self._codec = store._codec  # noqa: SLF001
        self._revision: Optional[int] = None
        self._reads: Dict[bytes, Optional[Entry[V]]] = {}
        self._writes: Dict[bytes, Write] = {}

    def get(self, key: Key) -> Optional[V]:
        """The value, or None; sees the snapshot and this transaction's own writes."""
        name = key_bytes(key)
        if name in self._writes:
            return cast("Optional[V]", self._writes[name].read(None, self._codec))
        entry = self.entry(key)
        return None if entry is None else entry.value

    def entry(self, key: Key) -> Optional[Entry[V]]:
        """The entry of the snapshot, or None, whatever this transaction writes."""
        name = key_bytes(key)
        if name not in self._reads:
            request = self._requests.snapshot([name], self._revision, self._codec)
            # Once a moment is chosen, any node that has it will do.
            read: Any = "linearizable" if self._revision is None else "session"
            found = self._store._run(request, DEFAULT, read)  # noqa: SLF001
            self._revision, entries = cast("Tuple[int, List[Optional[Entry[V]]]]", found)
            self._reads[name] = entries[0]
        return self._reads[name]

    def put(self, key: Key, value: V, *, ttl: Optional[Seconds] = None) -> None:
        """Store it when the transaction is committed.

        Raises:
            CodecError: The codec has no form for this value.
            LimitError: Key or value is too large.
        """
        self._writes[key_bytes(key)] = Write.put(key, value, ttl, None, self._codec)

    def delete(self, key: Key) -> None:
        """Remove it when the transaction is committed."""
        self._writes[key_bytes(key)] = Write.delete(key)

    def _commit(self) -> bool:
        """Write it all; False: something that was read has changed."""
        if not self._writes:
            return True
        required: List[Tuple[bytes, Optional[int]]] = [
            (name, 0 if entry is None else entry.version) for name, entry in self._reads.items()
        ]
        try:
            self._store._run(self._requests.transact(required, list(self._writes.values())))  # noqa: SLF001
        except ConflictError as error:
            if error.code not in {"VERSION_CONFLICT", "KEY_EXISTS"}:
                raise
            return False
        return True

"""What calls hand out: stored entries."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any, Generic, Optional, Tuple, TypeVar, final

__all__ = ["Entry"]

V = TypeVar("V")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@final
class Entry(Generic[V]):
    """One stored key. Immutable; equal when all fields are.

    Args:
        key_bytes: The key, exactly.
        value: The decoded value.
        version: Opaque: for `==` and for the order within this key; 64 bits.
        flags: How the codec encoded the value.
        modified_ms: When it was written, in milliseconds since 1970.
        expires_ms: When it ends, in milliseconds since 1970; None: never.
    """

    __slots__ = ("_expires_ms", "_modified_ms", "flags", "key_bytes", "value", "version")

    key_bytes: bytes
    value: V
    version: int
    flags: int

    def __init__(
        self, key_bytes: bytes, value: V, version: int, flags: int, modified_ms: int, expires_ms: Optional[int] = None
    ) -> None:
        # object.__setattr__, because the class refuses its own.
        fields = zip(("key_bytes", "value", "version", "flags"), (key_bytes, value, version, flags))
        for name, field in fields:
            object.__setattr__(self, name, field)
        object.__setattr__(self, "_modified_ms", modified_ms)
        object.__setattr__(self, "_expires_ms", expires_ms)

    @property
    def key(self) -> str:
        """The key as text; bytes that are no UTF-8 come with surrogateescape, as from os.fsdecode."""
        return self.key_bytes.decode("utf-8", "surrogateescape")

    @property
    def modified(self) -> dt.datetime:
        """When it was written, by the clock of the node that took it."""
        return _EPOCH + dt.timedelta(milliseconds=self._modified_ms)

    @property
    def expires(self) -> Optional[dt.datetime]:
        """When it ends; None: never."""
        if self._expires_ms is None:
            return None
        return _EPOCH + dt.timedelta(milliseconds=self._expires_ms)

    @property
    def ttl(self) -> Optional[float]:
        """Seconds left, never negative; None when the key does not expire."""
        if self._expires_ms is None:
            return None
        return max(0.0, self._expires_ms / 1000 - time.time())

"""Values of caches that take any object: integers as such, so that they can be added to, all else by a serializer."""

from __future__ import annotations

import pickle
from typing import Any, Final, Union

__all__ = ["PickleSerializer", "decode", "encode", "is_over"]

_INTEGERS: Final = range(-(2**63), 2**63)
"""What the store can add to."""


class PickleSerializer:
    """What the caches of Django and cachelib do by their own contract: they take whatever can be pickled.

    Whoever can write to the keyspace can run code in its readers.
    """

    def dumps(self, value: object) -> bytes:
        """The value as bytes."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, payload: bytes) -> Any:
        """The value of the bytes."""
        return pickle.loads(payload)  # noqa: S301  # the contract of the host, see above


def encode(serializer: Any, value: Any) -> Union[int, bytes]:
    """What is stored."""
    # A bool is no int here: it has to come back as one.
    if type(value) is int and value in _INTEGERS:
        return value
    return bytes(serializer.dumps(value))


def decode(serializer: Any, stored: Union[int, bytes]) -> Any:
    """What was given."""
    return stored if isinstance(stored, int) else serializer.loads(stored)


def is_over(ttl: Union[float, None]) -> bool:
    """Whether this is no time at all, which no store takes."""
    return ttl is not None and ttl <= 0

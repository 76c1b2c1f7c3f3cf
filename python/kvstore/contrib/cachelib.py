"""A cache of cachelib's kind, as Flask-Caching and Flask-Session take it.

    CACHE_TYPE = "kvstore.contrib.cachelib.flask_caching"                   # Flask-Caching
    CACHE_OPTIONS = {"target": "10.0.0.1:7001", "keyspace": "cache"}

    SESSION_TYPE = "cachelib"                                               # Flask-Session
    SESSION_CACHELIB = KVStoreCache("10.0.0.1:7001", "cache")

cachelib's caches keep whatever can be pickled, so values are pickles, as with its own: whoever can write to the
keyspace can run code in its readers. Give the class another `serializer` for something else, as with cachelib's own.
Integers are stored as such, for inc().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Final, Iterable, List, Optional, Union

from cachelib.base import BaseCache

from kvstore.contrib._keyspace import StrongStore, chunks, open_store, portions
from kvstore.contrib._values import PickleSerializer, decode, encode, is_over

if TYPE_CHECKING:
    from kvstore._options import Target
    from kvstore.store import Store

__all__ = ["KVStoreCache", "flask_caching"]

_ABSENT: Final[Any] = object()


class KVStoreCache(BaseCache):
    """A cache in a strong keyspace, which add() and inc() need.

    A timeout of 0 is none, as in all of cachelib; a negative one is over at once. An error is raised, never answered by
    False.

    Args:
        target: Of a Client, or a store, such as a Node of this process.
        keyspace: A strong one; by default that of the target.
        default_timeout: Seconds.
        prefix: Of all keys; clear() deletes what is below it and nothing else.
        **options: Of a Client.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: The keyspace is eventual (at the first use).
    """

    serializer: Any = PickleSerializer()
    """With dumps() and loads()."""

    def __init__(
        self,
        target: Union[Target, Store[Any], None] = None,
        keyspace: Optional[str] = None,
        *,
        default_timeout: int = 300,
        prefix: str = "cachelib/",
        **options: Any,
    ) -> None:
        super().__init__(default_timeout)
        self._below = prefix
        store = open_store(target, keyspace, options)
        self._store = StrongStore(store, "kvstore.contrib.cachelib", "that add() has one winner")

    def get(self, key: str) -> Any:
        """The value, or None."""
        value = self._store().get(self._full(key), _ABSENT)
        return None if value is _ABSENT else decode(self.serializer, value)

    def get_many(self, *keys: str) -> List[Any]:
        """The values, None for what is missing; one round trip a thousand."""
        found: Dict[str, Any] = {}
        for chunk in chunks(self._full(key) for key in keys):
            found.update(self._store().get_many(chunk))
        stored = [found.get(self._full(key), _ABSENT) for key in keys]
        return [None if value is _ABSENT else decode(self.serializer, value) for value in stored]

    def set(self, key: str, value: Any, timeout: Optional[int] = None) -> bool:
        """Store it: True."""
        full, ttl = self._full(key), self._ttl(timeout)
        payload = encode(self.serializer, value)
        if is_over(ttl):
            self._store().delete(full)
        else:
            self._store().put(full, payload, ttl=ttl)
        return True

    def add(self, key: str, value: Any, timeout: Optional[int] = None) -> bool:
        """Whether it was stored, because there was none."""
        full, ttl = self._full(key), self._ttl(timeout)
        payload = encode(self.serializer, value)
        if is_over(ttl):
            return not self._store().exists(full)
        return self._store().add(full, payload, ttl=ttl)

    def set_many(self, mapping: Dict[str, Any], timeout: Optional[int] = None) -> List[Any]:
        """Store them, up to a thousand or 2 MiB in one round trip; all keys."""
        ttl = self._ttl(timeout)
        payloads = {self._full(key): encode(self.serializer, value) for key, value in mapping.items()}
        if is_over(ttl):
            self._delete_all(payloads)
        else:
            for portion in portions(payloads.items()):
                self._store().put_many(portion, ttl=ttl)
        return list(mapping)

    def delete(self, key: str) -> bool:
        """Whether it was there."""
        return self._store().delete(self._full(key))

    def delete_many(self, *keys: str) -> List[Any]:
        """Those that were there."""
        were_there = self._delete_all([self._full(key) for key in keys])
        return [key for key, was_there in zip(keys, were_there) if was_there]

    def has(self, key: str) -> bool:
        """Whether it is there, without fetching the value."""
        return self._store().exists(self._full(key))

    def clear(self) -> bool:
        """Delete everything below the prefix: True."""
        self._store().delete_prefix(self._below)
        return True

    def inc(self, key: str, delta: int = 1) -> int:
        """Add to an integer and return it, atomic; a missing one counts as 0 and gets the default timeout.

        Raises:
            CodecError: The value is no integer.
        """
        ttl = self._ttl(None)
        return self._store().incr(self._full(key), delta, ttl=None if is_over(ttl) else ttl)

    def dec(self, key: str, delta: int = 1) -> int:
        """As inc(), the other way round."""
        return self.inc(key, -delta)

    def _delete_all(self, keys: Iterable[str]) -> List[bool]:
        answers = []
        for chunk in chunks(keys):
            with self._store().batch() as batch:
                answers.extend([batch.delete(key) for key in chunk])
        return [answer.result() for answer in answers]

    def _ttl(self, timeout: Optional[int]) -> Optional[int]:
        return self._normalize_timeout(timeout) or None

    def _full(self, key: Any) -> str:
        return f"{self._below}{key}"


def flask_caching(app: Any, config: Any, args: List[Any], kwargs: Dict[str, Any]) -> KVStoreCache:  # noqa: ARG001
    """What Flask-Caching calls, with CACHE_ARGS and CACHE_OPTIONS, when CACHE_TYPE is the path of this function."""
    return KVStoreCache(*args, **kwargs)

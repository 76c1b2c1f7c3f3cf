"""A cache backend for Django, and with it sessions.

    CACHES = {"default": {
        "BACKEND": "kvstore.contrib.django.KVStoreCache",
        "LOCATION": "10.0.0.1:7001,10.0.0.2:7001",
        "OPTIONS": {"keyspace": "cache"},
    }}
    SESSION_ENGINE = "django.contrib.sessions.backends.cache"

Django lets a cache keep whatever can be pickled, so values are pickles, as with its own backends: whoever can write to
the keyspace can run code in its readers. OPTIONS has a `serializer` for something else. Integers are stored as such for
incr(). The asynchronous calls are those of Django, in a thread; nothing is culled, values end with their timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Final, Iterable, List, Optional

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from kvstore.contrib._keyspace import StrongStore, chunks, open_store, portions
from kvstore.contrib._values import PickleSerializer, decode, encode, is_over
from kvstore.errors import CodecError, ConflictError

if TYPE_CHECKING:
    from typing import Mapping

    from kvstore._options import Target

__all__ = ["KVStoreCache"]

_ABSENT: Final[Any] = object()


class KVStoreCache(BaseCache):
    """A cache in a strong keyspace, which add() and incr() need. For the settings see the module.

    `LOCATION` is the target of a Client, by default that of a node on this machine. `OPTIONS` has

    * `keyspace`: a strong one;
    * `prefix`: of all keys in it, "django/" by default; clear() deletes what is below it and nothing else;
    * `serializer`: a class, an object or the path of one, with dumps() and loads();
    * the options of a Client: `timeout`, and `read`: "session" or "local" spare a read the way to the leader.

    All caches of a process with the same settings share one client. A value larger than the store takes raises
    LimitError; a cluster that is not there raises UnavailableError: nothing is swallowed.

    Args:
        server: `LOCATION`.
        params: The other settings.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: The keyspace is eventual (at the first use).
    """

    def __init__(self, server: Target, params: Dict[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        self._serializer = _serializer(options.pop("serializer", None))
        self._below = str(options.pop("prefix", "django/"))
        store = open_store(server, options.pop("keyspace", None), options)
        self._store = StrongStore(store, "kvstore.contrib.django", "that add() has one winner")

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> Optional[float]:
        """Seconds that a value stays; None: for ever; nothing or less: it is gone at once."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None else float(timeout)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        """Whether it was stored, because there was none."""
        full, ttl, payload = (
            self._full(key, version),
            self.get_backend_timeout(timeout),
            encode(self._serializer, value),
        )
        if is_over(ttl):
            return not self._store().exists(full)
        return self._store().add(full, payload, ttl=ttl)

    def get(self, key: Any, default: Any = None, version: Optional[int] = None) -> Any:
        """The value, or `default`."""
        value = self._store().get(self._full(key, version), _ABSENT)
        return default if value is _ABSENT else decode(self._serializer, value)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> None:
        """Store it."""
        full, ttl, payload = (
            self._full(key, version),
            self.get_backend_timeout(timeout),
            encode(self._serializer, value),
        )
        if is_over(ttl):
            self._store().delete(full)
        else:
            self._store().put(full, payload, ttl=ttl)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        """Give it a new timeout; whether it was there."""
        full, ttl = self._full(key, version), self.get_backend_timeout(timeout)
        return self._store().delete(full) if is_over(ttl) else self._store().touch(full, ttl)

    def delete(self, key: Any, version: Optional[int] = None) -> bool:
        """Whether it was there."""
        return self._store().delete(self._full(key, version))

    def get_many(self, keys: Iterable[Any], version: Optional[int] = None) -> Dict[Any, Any]:
        """Those that are there; one round trip a thousand."""
        wanted = {self._full(key, version): key for key in keys}
        found: Dict[Any, Any] = {}
        for chunk in chunks(wanted):
            stored = self._store().get_many(chunk)
            found.update((wanted[full], decode(self._serializer, value)) for full, value in stored.items())
        return found

    def has_key(self, key: Any, version: Optional[int] = None) -> bool:
        """Without fetching the value."""
        return self._store().exists(self._full(key, version))

    def incr(self, key: Any, delta: int = 1, version: Optional[int] = None) -> int:
        """Add to an integer, which keeps its timeout, and return it; atomic.

        Raises:
            ValueError: There is none.
            TypeError: It is no integer of 64 bits.
        """
        full = self._full(key, version)
        try:
            with self._store().batch(atomic=True) as batch:
                batch.require(full)
                added = batch.incr(full, delta)
        except CodecError as error:
            msg = f"Key {key!r} is no integer"
            raise TypeError(msg) from error
        except ConflictError as error:
            if error.code != "VERSION_CONFLICT":
                raise
            msg = f"Key {key!r} not found"
            raise ValueError(msg) from error
        return added.result()

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None
    ) -> List[Any]:
        """Store them, up to a thousand or 2 MiB in one round trip; each trip is atomic. No key fails silently."""
        ttl = self.get_backend_timeout(timeout)
        payloads = {self._full(key, version): encode(self._serializer, value) for key, value in data.items()}
        if is_over(ttl):
            self._delete_all(payloads)
        else:
            for portion in portions(payloads.items()):
                self._store().put_many(portion, ttl=ttl)
        return []

    def delete_many(self, keys: Iterable[Any], version: Optional[int] = None) -> None:
        """Delete them, a thousand in one round trip."""
        self._delete_all([self._full(key, version) for key in keys])

    def clear(self) -> None:
        """Delete everything below the `prefix` of OPTIONS, other KEY_PREFIXes and versions included."""
        self._store().delete_prefix(self._below)

    def _delete_all(self, keys: Iterable[str]) -> None:
        for chunk in chunks(keys):
            self._store().delete_many(chunk)

    def _full(self, key: Any, version: Optional[int]) -> str:
        return self._below + str(self.make_and_validate_key(key, version=version))


def _serializer(wanted: Any) -> Any:
    if isinstance(wanted, str):
        wanted = import_string(wanted)
    if callable(wanted):
        wanted = wanted()
    return PickleSerializer() if wanted is None else wanted

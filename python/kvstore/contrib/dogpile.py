"""A backend for dogpile.cache, with a mutex for all processes.

    region = make_region().configure("kvstore", expiration_time=60, arguments={"target": "10.0.0.1:7001"})

The name "kvstore" is known to dogpile.cache wherever kvstore-rs is installed. How values become bytes is up to the
region: without a `serializer` it pickles them, and then whoever can write to the keyspace can run code in its readers;
`make_region(serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads)` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Final, List, Mapping, Optional, Sequence

from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex

from kvstore.contrib._keyspace import StrongStore, chunks, open_store, portions

if TYPE_CHECKING:
    from kvstore._options import Seconds
    from kvstore.lock import Lock

__all__ = ["KVStoreBackend"]

_ABSENT: Final[Any] = object()


class KVStoreBackend(BytesBackend):
    """Values in a keyspace of any kind; mutexes in a strong one, if they are asked for.

    `arguments` has

    * `target`: of a Client, or a store, such as a Node of this process;
    * `keyspace`: of the values, by default that of the target;
    * `prefix`: of all keys, "dogpile/" by default;
    * `ttl`: seconds after which the store forgets a value; without it values stay. It has to be more than the region's
      expiration_time, which is when they are made anew;
    * `distributed_lock`: True: one process of all makes a value, under a lock of the cluster; else one thread of each;
    * `lock_keyspace`: of those locks, by default `keyspace`: it has to be strong;
    * `lock_ttl`: seconds that a process which died keeps others waiting, 10 by default;
    * the options of a Client.

    Args:
        arguments: Of the region.

    Raises:
        InvalidArgumentError: An argument that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: `distributed_lock`, and the keyspace is eventual (at the first use).
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        options: Dict[str, Any] = dict(arguments)
        target, keyspace = options.pop("target", None), options.pop("keyspace", None)
        self._below = str(options.pop("prefix", "dogpile/"))
        self._ttl: Optional[Seconds] = options.pop("ttl", None)
        self._lock_ttl: Seconds = options.pop("lock_ttl", 10)
        is_locking = options.pop("distributed_lock", False)
        lock_keyspace = options.pop("lock_keyspace", None)
        self._store = open_store(target, keyspace, options)
        locks = self._store if lock_keyspace is None else self._store.keyspace(lock_keyspace)
        self._locks = StrongStore(locks, "kvstore.contrib.dogpile", "a lock") if is_locking else None

    def get_mutex(self, key: str) -> Optional[_Mutex]:
        """A lock of the cluster, or None: the region then takes one of its own."""
        return None if self._locks is None else _Mutex(self._locks, self._below + key, self._lock_ttl)

    def get_serialized(self, key: str) -> Any:
        """The bytes, or NO_VALUE."""
        value = self._store.get(self._below + key, _ABSENT)
        return NO_VALUE if value is _ABSENT else value

    def get_serialized_multi(self, keys: Sequence[str]) -> List[Any]:
        """As many as keys; one round trip a thousand."""
        found: Dict[str, Any] = {}
        for chunk in chunks(self._below + key for key in keys):
            found.update(self._store.get_many(chunk))
        return [found.get(self._below + key, NO_VALUE) for key in keys]

    def set_serialized(self, key: str, value: bytes) -> None:
        """Store it."""
        self._store.put(self._below + key, value, ttl=self._ttl)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """Store them, up to a thousand or 2 MiB in one round trip."""
        for portion in portions((self._below + key, value) for key, value in mapping.items()):
            self._store.put_many(portion, ttl=self._ttl)

    def delete(self, key: str) -> None:
        """Forget it."""
        self._store.delete(self._below + key)

    def delete_multi(self, keys: Sequence[str]) -> None:
        """Forget them, a thousand in one round trip."""
        for chunk in chunks(self._below + key for key in keys):
            self._store.delete_many(chunk)


class _Mutex(CacheMutex):
    """A lock as dogpile wants it: one object, taken and given back by whichever thread."""

    def __init__(self, store: StrongStore, name: str, ttl: Seconds) -> None:
        self._store = store
        self._name = name
        self._ttl = ttl
        self._held: Optional[Lock] = None

    def acquire(self, wait: bool = True) -> bool:  # noqa: FBT001, FBT002  # the signature is dogpile's
        """Take it; False: another has it, and `wait` is not asked for."""
        lock = self._store().lock(self._name, ttl=self._ttl)
        if not lock.acquire(timeout=None if wait else 0):
            return False
        self._held = lock
        return True

    def release(self) -> None:
        """Give it back.

        Raises:
            LockLostError: No node could be reached for so long that others may have had it.
        """
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def locked(self) -> bool:
        """Whether anybody has it."""
        return self._store().election(self._name).leader() is not None

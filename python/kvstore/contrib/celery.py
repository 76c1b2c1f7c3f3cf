"""A result backend for Celery.

    app = Celery(backend="kvstore.contrib.celery:KVStoreBackend+kv://10.0.0.1:7001,10.0.0.2:7001/results")

What follows the plus is the target of a Client, with the keyspace and its options. Results alone may be in a keyspace
of any kind; chords count what has ended, and need a strong one. Values are what Celery's `result_serializer` makes of
them: JSON by default.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, List, Optional, Tuple, Union

from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.states import READY_STATES

from kvstore.contrib._keyspace import StrongStore, chunks, open_store
from kvstore.errors import KVError

if TYPE_CHECKING:
    from typing import Iterable, Type

__all__ = ["KVStoreBackend"]

_PREFIX: Final = b"celery/"
"""Of all keys, before Celery's own."""


class KVStoreBackend(KeyValueStoreBackend):
    """Results, groups and the counters of chords. Whoever waits for a result does so by way of a watch.

    Keys end after `result_expires`, by themselves: there is nothing for celery.backend_cleanup to do. Errors that may
    go away are tried again if `result_backend_always_retry` says so.

    Args:
        app: The Celery.
        url: "kv://host:port,host:port/keyspace", with options of a Client behind a question mark.
        **kwargs: As of every backend.

    Raises:
        InvalidArgumentError: An option that is not there, or a keyspace that is not (at the first use).
        UnsupportedError: A chord, and the keyspace is eventual.
    """

    supports_autoexpire = True
    implements_incr = True

    def __init__(self, app: Any, *, url: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self._store = open_store(url)
        self._counters = StrongStore(self._store, "kvstore.contrib.celery", "that a chord goes on once")

    def get(self, key: Union[str, bytes]) -> Union[str, bytes, None]:
        """What was stored, or None."""
        return self._store.get(_full(key))

    def mget(self, keys: Iterable[Union[str, bytes]]) -> List[Union[str, bytes, None]]:
        """As many as keys; one round trip a thousand."""
        names = [_full(key) for key in keys]
        found: Dict[str, Any] = {}
        for chunk in chunks(names):
            found.update(self._store.get_many(chunk))
        return [found.get(name.decode("utf-8", "surrogateescape")) for name in names]

    def set(self, key: Union[str, bytes], value: Union[str, bytes]) -> None:
        """Store it for `result_expires`."""
        self._store.put(_full(key), value, ttl=self.expires or None)

    def delete(self, key: Union[str, bytes]) -> None:
        """Forget it."""
        self._store.delete(_full(key))

    def incr(self, key: Union[str, bytes]) -> int:
        """Count one more end of a part of a chord; a counter, too, ends after `result_expires`."""
        return self._counters().incr(_full(key), ttl=self.expires or None)

    def expire(self, key: Union[str, bytes], value: Optional[int]) -> bool:
        """Give it so many seconds from now."""
        return self._store.touch(_full(key), value or None)

    def ensure_chords_allowed(self) -> None:
        """Called before a chord begins: it would never end in an eventual keyspace."""
        self._counters()

    def wait_for(
        self,
        task_id: str,
        timeout: Optional[float] = None,
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002  # the signature is Celery's
        on_interval: Optional[Callable[[], None]] = None,
    ) -> Dict[str, Any]:
        """Wait until the task has ended, and return what is known of it.

        Raises:
            TimeoutError: Celery's. It has not ended within `timeout`.
        """
        self._ensure_not_eager()
        ends = time.monotonic() + timeout if timeout else None
        with self._store.watch(_full(self.get_key_for_task(task_id))) as watch:
            while True:
                meta: Dict[str, Any] = self.get_task_meta(task_id)
                if meta["status"] in READY_STATES:
                    return meta
                if on_interval is not None:
                    on_interval()
                left = interval if ends is None else ends - time.monotonic()
                if ends is not None and left <= 0:
                    msg = "The operation timed out."
                    raise CeleryTimeoutError(msg)
                watch.next(min(interval, left))

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether it may go away; what is stored twice is the same."""
        return isinstance(exc, KVError) and exc.retryable

    def as_uri(self, include_password: bool = False) -> str:  # noqa: FBT001, FBT002  # the signature is Celery's
        """The URL; what stands before the @ is left out."""
        url: str = self.url or ""
        scheme, separator, rest = url.partition("://")
        if include_password or "@" not in rest:
            return url
        return f"{scheme}{separator}**@{rest.rpartition('@')[2]}"

    def __reduce__(
        self, args: Tuple[Any, ...] = (), kwargs: Optional[Dict[str, Any]] = None
    ) -> Tuple[Callable[..., Any], Tuple[Type[KVStoreBackend], Tuple[Any, ...], Dict[str, Any]]]:
        """As configuration: the copy connects by itself."""
        reduced: Any = super().__reduce__(args, dict(kwargs or {}, expires=self.expires, url=self.url))
        return reduced  # type: ignore[no-any-return]


def _full(key: Union[str, bytes]) -> bytes:
    return _PREFIX + (key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key)

"""A client of a cluster, from any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar

from kvstore.store import Store

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self, Unpack

    from kvstore._options import ClientOptions, Target
    from kvstore.codecs import Codec

__all__ = ["Client"]

V = TypeVar("V")


class Client(Store[V]):
    """Talks to a cluster through any of its nodes. Lazy: no I/O and no thread before the first call.

    Picklable (as configuration) and usable after fork(). One per process is enough.

    Args:
        target: "host:port", several of them in a sequence or with commas between, or
            "kv://h1:p,h2:p/keyspace?timeout=2".
        keyspace: Only "default" so far.
        codec: How values become bytes and back; default: AUTO.
        **options: `timeout` (seconds for a whole call, default 5; None: no limit) and `read` ("local").

    Raises:
        InvalidArgumentError: It names the option.

    Example:
        >>> db = kvstore.Client("127.0.0.1:7001")
        >>> db.put("user:1", {"name": "Ada"}, ttl=3600)
    """

    def __init__(
        self,
        target: Target = "127.0.0.1:7001",
        keyspace: str = "default",
        *,
        codec: Optional[Codec[V]] = None,
        **options: Unpack[ClientOptions],
    ) -> None: ...

    @classmethod
    def from_env(cls, prefix: str = "KVSTORE_") -> Client[Any]:
        """From <prefix>URL, KEYSPACE, TIMEOUT, READ. InvalidArgumentError names the variable."""

    def close(self) -> None:
        """Idempotent; calls in flight raise ClosedError."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...

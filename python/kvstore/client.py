"""A client of a cluster, from any process.

`kvstore/aio/client.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, TypeVar, overload

from kvstore._core import Client as Channel
from kvstore._core import Request, StrongRequests, check_timeout
from kvstore._options import DEFAULT, ClientOptions, check_names, parse_target, parse_timeout
from kvstore.calls import requests_of
from kvstore.codecs import AUTO, native
from kvstore.errors import InvalidArgumentError
from kvstore.store import Store

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Callable, Type

    from typing_extensions import Self, Unpack

    from kvstore import _core
    from kvstore._options import Read, Target, Timeout, Wanted
    from kvstore.codecs import Codec
    from kvstore.status import Consistency

__all__ = ["Client"]

V = TypeVar("V")

_TIMEOUT = 5.0


class Client(Store[V]):
    """Talks to a cluster through any of its nodes. Lazy: no I/O and no thread before the first call.

    Picklable (as configuration) and usable after fork(). One per process is enough.

    A client is one session, whatever thread calls: reads show at least what it has written or read before, also when it
    has to turn to another node, which then waits until it has all of that. A copy of it is a session of its own.

    Args:
        target: "host:port", several of them in a sequence or with commas between, or
            "kv://h1:p,h2:p/keyspace?timeout=2".
        keyspace: `default` is eventual, unless the cluster was formed with a strong one; others are strong, see
            create_keyspace(). Nothing is asked for yet.
        codec: How values become bytes and back; default: AUTO.
        **options: `timeout` (of a whole call, retries included; default 5 seconds; None: no limit) and `read`
            ("session", the default in eventual keyspaces; "linearizable", that in strong ones; or "local": whatever the
            contacted node has now, without waiting).

    Raises:
        InvalidArgumentError: It names the option.
    """

    @overload
    def __init__(
        self: Client[Any],
        target: Target = "127.0.0.1:7001",
        keyspace: str = "default",
        **options: Unpack[ClientOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        target: Target = "127.0.0.1:7001",
        keyspace: str = "default",
        *,
        codec: Codec[V],
        **options: Unpack[ClientOptions],
    ) -> None: ...
    def __init__(
        self, target: Any = "127.0.0.1:7001", keyspace: str = "default", *, codec: Any = AUTO, **options: Any
    ) -> None:
        check_names(options, [*ClientOptions.__annotations__, "codec"], "option of a client")
        parsed = parse_target(target)
        check_names(parsed.options, ClientOptions.__annotations__, "option of a client")
        if "timeout" in parsed.options:
            options.setdefault("timeout", parse_timeout(parsed.options["timeout"], "timeout"))
        options.setdefault("read", parsed.options.get("read"))
        keyspace = parsed.keyspace or keyspace
        self._requests = requests_of(keyspace)
        self._read: Optional[Read] = options["read"]
        # Whether `default` promises it is known once it was asked for.
        StrongRequests.check_read(self._read)
        self._timeout: Timeout = options.get("timeout", _TIMEOUT)
        check_timeout(self._timeout)
        self._codec = native(codec)
        self._channel = Channel(parsed.addresses)
        self._made_with: Tuple[Any, str, Any, Dict[str, Any]] = (parsed.addresses, keyspace, codec, options)

    @classmethod
    def from_env(cls, prefix: str = "KVSTORE_") -> Client[Any]:
        """From <prefix>URL, KEYSPACE, TIMEOUT, READ.

        Raises:
            InvalidArgumentError: It names the variable.
        """
        options: Dict[str, Any] = {}
        target = os.environ.get(prefix + "URL", "127.0.0.1:7001")
        if prefix + "KEYSPACE" in os.environ:
            options["keyspace"] = os.environ[prefix + "KEYSPACE"]
        if prefix + "TIMEOUT" in os.environ:
            options["timeout"] = parse_timeout(os.environ[prefix + "TIMEOUT"], prefix + "TIMEOUT")
        if prefix + "READ" in os.environ:
            options["read"] = os.environ[prefix + "READ"]
        try:
            return cls(target, **options)
        except InvalidArgumentError as error:
            names = ", ".join(prefix + name for name in ("URL", "KEYSPACE", "TIMEOUT", "READ"))
            msg = f"one of {names} is wrong: {error}"
            raise InvalidArgumentError(msg) from error

    def close(self) -> None:
        """Idempotent; calls in flight raise ClosedError."""
        self._channel.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """With the target."""
        return f"{type(self).__name__}({','.join(self._made_with[0])!r})"

    def __reduce__(self) -> Tuple[Callable[..., Client[Any]], Tuple[Any, ...]]:
        """As configuration: the copy connects by itself."""
        return _remake, (type(self), *self._made_with)

    def _run(self, request: Request, timeout: Timeout = DEFAULT, read: Optional[Read] = DEFAULT) -> Any:
        timeout = self._timeout if timeout is DEFAULT else timeout
        return self._channel.run(request, timeout, self._read if read is DEFAULT else read)

    @property
    def _default_consistency(self) -> Optional[Consistency]:
        return self._channel.default_consistency

    def _open_watch(self, wanted: Wanted, /) -> _core.Changes:
        return self._channel.watch(wanted)

    def _keep(self, lease: int, ttl: float, /) -> _core.Kept:
        return self._channel.keep(lease, ttl)


def _remake(cls: Type[Client[Any]], addresses: Any, keyspace: str, codec: Any, options: Any) -> Client[Any]:
    return cls(addresses, keyspace, codec=codec, **options)

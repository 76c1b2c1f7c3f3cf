"""A client of a cluster, from any process.

`kvstore/aio/client.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, TypeVar, overload

from kvstore._core import Client as Channel
from kvstore._core import Request, StrongRequests, check_timeout
from kvstore._options import (
    DEFAULT,
    ClientOptions,
    Retry,
    check_discover,
    check_hedge,
    check_names,
    check_retry,
    naming,
    parse_options,
    parse_target,
)
from kvstore._security import tls_of_client, token_of_client, without_callable
from kvstore.calls import requests_of
from kvstore.codecs import AUTO, native
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
_RETRY = Retry()
_VARIABLES = ("URL", "TOKEN", "KEYSPACE", "TIMEOUT", "READ")
# The options that a client of another node of the same cluster needs, too.
_SHARED = ("timeout", "retry", "tls", "token", "name")


class Client(Store[V]):
    """Talks to a cluster through any of its nodes. Lazy: no I/O and no thread before the first call.

    Picklable (as configuration) and usable after fork(). One per process is enough.

    A client is one session, whatever thread calls: reads show at least what it has written or read before, also when it
    has to turn to another node, which then waits until it has all of that. A copy of it is a session of its own.

    Args:
        target: "host:port", several of them in a sequence or with commas between, or
            "kv://:TOKEN@h1:p,h2:p/keyspace?timeout=2&read=local&retry=3&tls=true&name=web". Arguments count more than
            what a URL says, but for the keyspace.
        keyspace: `default` is eventual, unless the cluster was formed with a strong one; others are what they were
            made as, see create_keyspace(). Nothing is asked for yet.
        codec: How values become bytes and back; default: AUTO.
        **options: `timeout` (of a whole call, retries included; default 5 seconds; None: no limit), `read`
            ("session", the default in eventual keyspaces; "linearizable", that in strong ones; or "local": whatever the
            contacted node has now, without waiting), `retry` (a Retry; the default tries as often as the timeout
            allows; None: never again), `name` (nodes write it to their logs when the client comes; 1 to 64 visible
            ASCII characters), `discover` (default True: learn the other nodes of the cluster, and turn to any that is
            near and well; False: only the given ones, in their order), `hedge` (default None: never; after so many
            seconds without an answer a read is asked of a second node, too, for at most one in ten reads), `tls` (a TLS
            with `ca`; True: the certificate authorities of the system are believed; default False: in the clear), and
            `token` (what the cluster wants to see, or a callable that gives it, called on a thread of its own at the
            first call and again after its token was refused; without `tls` it goes to this machine only, unless you say
            `tls=False`).

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
        options = {**parsed.options, **options}
        keyspace = parsed.keyspace or keyspace
        self._requests = requests_of(keyspace)
        self._read: Optional[Read] = options.get("read")
        # Whether the keyspace promises it is known once it was asked for.
        StrongRequests.check_read(self._read)
        self._timeout: Timeout = options.get("timeout", _TIMEOUT)
        check_timeout(self._timeout)
        self._codec = native(codec)
        # One that was not given must not look like one that was.
        tls = tls_of_client(options["tls"]) if "tls" in options else None
        self._channel = Channel(
            parsed.addresses,
            check_retry(options.get("retry", _RETRY)),
            options.get("name"),
            check_discover(options.get("discover", True)),
            check_hedge(options.get("hedge")),
            tls,
            token_of_client(options.get("token")),
        )
        if tls is not None:
            options["tls"] = tls
        self._made_with: Tuple[Any, str, Any, Dict[str, Any]] = (parsed.addresses, keyspace, codec, options)
        self._shared = {name: options[name] for name in _SHARED if name in options}

    @classmethod
    def from_env(cls, prefix: str = "KVSTORE_") -> Client[Any]:
        """From <prefix>URL, TOKEN, KEYSPACE, TIMEOUT, READ; those that are not set have the defaults of `Client`.

        They count as arguments: TOKEN, TIMEOUT and READ more than what the URL says.

        Raises:
            InvalidArgumentError: It names the variable.
        """
        names = {name.lower(): prefix + name for name in _VARIABLES}
        given = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
        options = parse_options({name: given[name] for name in ("timeout", "read") if name in given}, names)
        target, keyspace = given.get("url", "127.0.0.1:7001"), given.get("keyspace", "default")
        with naming(names["url"]):
            cls(target)
        with naming(names["keyspace"]):
            requests_of(keyspace)
        if "token" in given:
            options["token"] = given["token"]
            with naming(names["token"]):
                cls(target, **options)
        return cls(target, keyspace, **options)

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
        """As configuration: the copy connects by itself. It has the token, if that is a text and no callable."""
        addresses, keyspace, codec, options = self._made_with
        return _remake, (type(self), addresses, keyspace, codec, without_callable(options))

    def _limit(self, timeout: Timeout, /) -> Timeout:
        return self._timeout if timeout is DEFAULT else timeout

    def _run(self, request: Request, timeout: Timeout = DEFAULT, read: Optional[Read] = DEFAULT) -> Any:
        timeout = self._timeout if timeout is DEFAULT else timeout
        return self._channel.run(request, timeout, self._read if read is DEFAULT else read)

    def _consistency(self, keyspace: str, /) -> Optional[Consistency]:
        return self._channel.consistency(keyspace)

    def _open_watch(self, wanted: Wanted, /) -> _core.Changes:
        return self._channel.watch(wanted)

    def _keep(self, lease: int, ttl: float, /) -> _core.Kept:
        return self._channel.keep(lease, ttl)

    def _access(self) -> Dict[str, Any]:
        return dict(self._shared)


def _remake(cls: Type[Client[Any]], addresses: Any, keyspace: str, codec: Any, options: Any) -> Client[Any]:
    return cls(addresses, keyspace, codec=codec, **options)

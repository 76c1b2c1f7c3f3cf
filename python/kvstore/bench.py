"""The load loop, which runs in native code: a load generator in Python measures itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Literal, NamedTuple, Optional, Union

from kvstore import _core
from kvstore._options import Retry, parse_target
from kvstore._security import tls_of_client, token_of_client
from kvstore.errors import UnsupportedError

if TYPE_CHECKING:
    from kvstore._options import Target, Timeout
    from kvstore._security import TLS, Token

__all__ = ["LoadReport", "LoadSettings", "WorkReport", "run"]


class LoadSettings(NamedTuple):
    """What a load run does; see run()."""

    work: str
    read_percent: int
    distribution: str
    concurrency: int
    operations: Optional[int]
    seconds: Timeout
    value_bytes: int
    keys: int
    preload: bool
    unary_connections: Optional[int]
    seed: int


class WorkReport(NamedTuple):
    """The calls of one kind: how many, and how long those that were answered took, in milliseconds."""

    operations: int
    errors: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class LoadReport(NamedTuple):
    """What a load run measured; `get` or `put` is None when the run had none of them."""

    seconds: float
    get: Optional[WorkReport]
    put: Optional[WorkReport]
    first_error: Optional[str]


def run(
    target: Target = "127.0.0.1:7001",
    work: Literal["get", "put", "mixed"] = "mixed",
    *,
    concurrency: int = 64,
    operations: Optional[int] = None,
    seconds: Timeout = None,
    value_bytes: int = 100,
    keys: int = 100_000,
    read_percent: int = 95,
    distribution: Literal["uniform", "zipf"] = "uniform",
    preload: bool = False,
    unary_connections: Optional[int] = None,
    seed: int = 42,
    tls: Union[bool, TLS, None] = None,
    token: Token = None,
    on_progress: Optional[Callable[[int], None]] = None,
) -> LoadReport:
    """Load a cluster and measure. It writes keys of its own into the store. Ctrl-C ends it.

    Args:
        target: Where, as for `Client`.
        work: What the loops do; "mixed" is `read_percent` gets in a hundred calls.
        concurrency: Loops at the same time.
        operations: Ends after so many calls by all loops together; give this or `seconds`.
        seconds: Ends after this time.
        value_bytes: Bytes in a value.
        keys: How many different keys.
        read_percent: See `work`.
        distribution: Each key equally often, or "zipf": a few very often, most seldom.
        preload: Put every key once before the measurement, so that gets find something.
        unary_connections: Send each call as a unary request over so many connections, as a stranger's client would,
            instead of over one stream.
        seed: The same seed picks the same keys.
        tls: As for `Client`; None: as the target says.
        token: As for `Client`; None: as the target says.
        on_progress: Called about 20 times a second with the operations done so far.

    Returns:
        What was measured. Calls that fail are counted.

    Raises:
        InvalidArgumentError: It names the argument.

    Example:
        >>> run("127.0.0.1:7001", "get", seconds=5, preload=True).get.per_second
    """
    settings = LoadSettings(
        work=work,
        read_percent=read_percent,
        distribution=distribution,
        concurrency=concurrency,
        operations=operations,
        seconds=seconds,
        value_bytes=value_bytes,
        keys=keys,
        preload=preload,
        unary_connections=unary_connections,
        seed=seed,
    )
    given = {name: value for name, value in (("tls", tls), ("token", token)) if value is not None}
    return _run(target, given, settings, on_progress or _ignore)


def _run(
    target: Target, given: Dict[str, Any], settings: LoadSettings, on_progress: Callable[[int], None]
) -> LoadReport:
    parsed = parse_target(target)
    if parsed.keyspace not in (None, "default"):
        msg = f"bench: it loads the eventual keyspace `default` only, not {parsed.keyspace!r}"
        raise UnsupportedError(msg)
    options = {**parsed.options, **given}
    tls = tls_of_client(options["tls"]) if "tls" in options else None
    token = token_of_client(options.get("token"))
    client = _core.Client(parsed.addresses, Retry(), None, False, None, tls, token)  # noqa: FBT003 - by position
    load = _core.Load(client, settings)
    try:
        report = load.wait()
        while report is None:
            on_progress(load.operations_done)
            report = load.wait()
    finally:
        load.stop()
        client.close()
    on_progress(load.operations_done)
    return report


def _ignore(operations_done: int) -> None:
    """Nobody watches."""

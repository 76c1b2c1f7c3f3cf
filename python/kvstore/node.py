"""A node inside this process."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Final, Literal, NoReturn, Optional, Tuple, TypeVar, cast, final

from kvstore import _core, _exit, _log
from kvstore._bridge import LocalChannel
from kvstore._options import DEFAULT, check_names
from kvstore.aio.client import AsyncClient
from kvstore.config import NodeConfig, NodeSettings
from kvstore.errors import ForkedError, InvalidArgumentError
from kvstore.store import Store

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self, Unpack

    from kvstore._options import ClientOptions, Peers, Timeout
    from kvstore.status import MemberStatus, NodeStatus

__all__ = ["Node"]

T = TypeVar("T")

_SLICE: Final = 0.05
"""Seconds that join() goes without a look for Ctrl-C."""


@final
class Node(_core.Node, Store[Any]):
    """A real node inside this process and, as a Store, a client of it that needs no socket.

    With a `data_dir` its data and its id outlive it, and a write is acknowledged once it is on disk.

    Its work happens on native threads that never take the GIL. Before start() and after stop() calls raise ClosedError.
    A running node keeps itself alive, as a thread does; it is stopped when the interpreter exits. In a forked child it
    is inert: calls raise ForkedError.

    Args:
        port: To listen on; 0 picks a free one.
        peers: Members to begin with, see `NodeConfig`; the node's own address among them is ignored.
        config: All settings in one, instead of `port`, `peers` and `settings`.
        **settings: See `NodeConfig`.

    Raises:
        InvalidArgumentError: It names the setting.

    Example:
        >>> with kvstore.Node(7001, peers=[7002]) as node:
        ...     node["motto"] = "any node, any time"
    """

    _config: NodeConfig
    _stopped: threading.Event

    def __new__(
        cls,
        port: int = 0,
        peers: Peers = None,
        *,
        config: Optional[NodeConfig] = None,
        **settings: Unpack[NodeSettings],
    ) -> Self:
        """Open nothing yet: see start()."""
        check_names(settings, [*NodeSettings.__annotations__, "config"], "setting of a node")
        if config is None:
            config = NodeConfig(port, peers, **settings)
        elif port or peers or settings:
            msg = "config: it already says all; change it with its replace()"
            raise InvalidArgumentError(msg)
        return cls._of(config)

    @classmethod
    def _of(cls, config: NodeConfig, faults: Optional[_core.Faults] = None) -> Self:
        """For `kvstore.testing`, which knows what `faults` are."""
        self = super().__new__(
            cls,
            host=config.host,
            port=config.port,
            advertise=config.advertise,
            peers=list(config.peers),
            cluster=config.cluster,
            threads=config.threads,
            tls=config.tls,
            token=config.token,
            insecure=config.insecure,
            http=config.http,
            max_drift=config.max_drift,
            data_dir=config.data_dir,
            durability=config.durability,
            max_memory=config.max_memory,
            default_consistency=config.default_consistency,
            history=(config.history_changes, config.history_bytes, config.history_age),
            faults=faults,
        )
        self._config = config
        self._stopped = threading.Event()
        return self

    @property
    def config(self) -> NodeConfig:
        """What it was made with."""
        return self._config

    def start(self, *, wait: Literal["listening", "ready"] = "listening", timeout: Timeout = 10.0) -> Self:
        """Bind and run; idempotent.

        Args:
            wait: "listening": the port is open; "ready": also caught up with a peer, unless there is none.
            timeout: How long to wait for "ready".

        Raises:
            UnavailableError: The port is taken (code ADDRESS_IN_USE, errno set) or cannot be bound; another node works
                with the `data_dir` (DATA_DIR_IN_USE), it belongs to another cluster (WRONG_CLUSTER), the cluster
                removed the node (MEMBER_REMOVED), or the disk refuses (DISK_FULL, DISK_FAILED).
            CorruptError: The data are damaged, and there are no `peers` to fetch them from; names file and place.
            DeadlineError: Not ready in time; it runs all the same.
            ClosedError: It was stopped before: make a new node.
        """
        if wait not in ("listening", "ready"):
            msg = f'wait: {wait!r} is neither "listening" nor "ready"'
            raise InvalidArgumentError(msg)
        if self._config.log == "stderr":
            _core.log_to_stderr()
        elif self._config.log == "python":
            _log.begin()
        self._start()
        _exit.keep(self)
        if wait == "ready":
            self._wait_ready(timeout)
        return self

    def stop(self, timeout: Timeout = 10.0) -> None:
        """Hand over what connected peers lack, close, end all threads; idempotent.

        A node with a `data_dir` stays a member: it comes back as who it is, and deletes are remembered for it until
        then. Remove one that is gone for good: `cluster.remove()`. One that lives in memory leaves the cluster.

        Raises:
            DeadlineError: It had to be cut short; it is stopped all the same.
        """
        try:
            self._stop(timeout)
        finally:
            _exit.release(self)
            self._stopped.set()

    def _kill(self) -> None:
        """For `kvstore.testing`: end as if its process had been killed."""
        try:
            self._abandon()
        finally:
            _exit.release(self)
            self._stopped.set()

    def join(self, timeout: Timeout = None) -> bool:
        """Block until it is stopped: True; False after `timeout`.

        Ctrl-C stops the node cleanly, then raises KeyboardInterrupt.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
        ends = None if seconds is None else time.monotonic() + seconds
        try:
            # In slices: the system may hand the signal to a native thread, which does not end the wait of this one.
            while not self._stopped.wait(_SLICE):
                if ends is not None and time.monotonic() >= ends:
                    return False
        except KeyboardInterrupt:
            self.stop()
            raise
        return True

    async def astart(self, *, wait: Literal["listening", "ready"] = "listening", timeout: Timeout = 10.0) -> Self:
        """As start(), without blocking the loop."""
        return await _in_thread(functools.partial(self.start, wait=wait, timeout=timeout))

    async def astop(self, timeout: Timeout = 10.0) -> None:
        """As stop(), without blocking the loop."""
        await _in_thread(functools.partial(self.stop, timeout))

    def async_client(self, keyspace: str = "default", **options: Unpack[ClientOptions]) -> AsyncClient[Any]:
        """An AsyncClient of this process, without a socket. `retry`, `tls`, `token` and `name` mean nothing to it.

        Writes to eventual keyspaces are made in the order in which they were started, also while the disk is behind and
        they wait for it. A read that is started while one of them waits may be answered first.
        """
        # Nothing is sent, so there is nobody to hide it from.
        options.pop("token", None)
        client: AsyncClient[Any] = AsyncClient(self.address or "127.0.0.1:1", keyspace, **options)
        client._channel = LocalChannel(self)  # type: ignore[assignment]  # noqa: SLF001  # it stands in for the other
        return client

    def status(self, *, digests: bool = False, timeout: Timeout = DEFAULT) -> NodeStatus:  # noqa: ARG002
        """How this node is, without I/O. `digests` reads every record."""
        return cast("NodeStatus", self._run(_core.Request.status(digests)))

    def members(self, *, timeout: Timeout = DEFAULT) -> Tuple[MemberStatus, ...]:  # noqa: ARG002
        """The members it knows, itself first, without I/O."""
        return cast("Tuple[MemberStatus, ...]", self._run(_core.Request.members()))

    def __enter__(self) -> Self:
        """Start it, unless it runs."""
        return self.start()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Stop it."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start it, unless it runs."""
        return await self.astart()

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Stop it."""
        await self.astop()

    def __repr__(self) -> str:
        """With id, address and state."""
        state = "running" if self.running else "stopped" if self._stopped.is_set() else "not started"
        try:
            name = f"{self.id} {self.address}"
        except ForkedError:
            return "<kvstore.Node of the parent process>"
        return f"<kvstore.Node {name} {state}>"

    def __reduce__(self) -> NoReturn:
        """A node is not a value: pickle `node.address` for a Client, or `node.config`."""
        msg = "a Node cannot be pickled: send node.address and make a Client of it, or send node.config"
        raise TypeError(msg)


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, call)

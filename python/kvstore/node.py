"""A node inside this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Optional, Tuple

from kvstore import _core
from kvstore.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from kvstore._options import Peers, Timeout
    from kvstore.config import NodeConfig, NodeSettings
    from kvstore.status import MemberStatus, NodeStatus

__all__ = ["Node"]


class Node(_core.Node, Store[Any]):
    """A real node inside this process and, as a Store, a client of it that needs no socket.

    Its work happens on native threads that never take the GIL. Before start() and after stop() calls raise
    ClosedError. A running node keeps itself alive, like a thread; it is stopped when the interpreter exits.

    Attributes:
        id: This incarnation: random, 16 hexadecimal digits.
        address: The "host:port" by which others reach it.
        port: The real one once started.
        running: Between start() and stop().
    """

    id: str
    address: str
    port: int
    running: bool

    def __init__(
        self, port: int = 0, peers: Peers = None, *, config: Optional[NodeConfig] = None, **settings: Unpack[NodeSettings]
    ) -> None:
        """Port 0 picks one; the node's own address among `peers` is ignored. InvalidArgumentError names the setting."""

    def start(self, *, wait: Literal["listening", "ready"] = "listening", timeout: Timeout = 10.0) -> Self:
        """Bind and run; idempotent. "listening": the port is open; "ready": caught up with a peer, or there is none."""

    def stop(self, timeout: Timeout = 10.0) -> None:
        """Hand over what connected peers lack, close; idempotent. DeadlineError when it had to be cut short."""

    def join(self, timeout: Timeout = None) -> bool:
        """Block until stopped: True. Ctrl-C stops the node cleanly, then raises KeyboardInterrupt."""

    def status(self, *, digests: bool = False, timeout: Timeout = ...) -> NodeStatus:
        """This node, without I/O. `digests` reads every record."""

    def members(self, *, timeout: Timeout = ...) -> Tuple[MemberStatus, ...]:
        """The members it knows, itself first."""

"""What a node of a `LocalCluster` can be told, whatever it lives in."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, NamedTuple, Optional, Protocol, Sequence

if TYPE_CHECKING:
    from kvstore.node import Node
    from kvstore.status import NodeStatus


class Slowness(NamedTuple):
    """See `LocalCluster.slow`."""

    delay: float = 0.0
    jitter: float = 0.0
    drop: float = 0.0


class Member(Protocol):
    """A node and its faults. Killed, it keeps its address and its faults; started again, it has a new life."""

    address: str
    paused: bool

    @property
    def running(self) -> bool:
        """Started, and neither stopped nor killed."""

    @property
    def node(self) -> Optional[Node]:
        """The node, if it lives in this process and was started."""

    def launch(self) -> None:
        """Prepare a start, without waiting."""

    def start(self, port: int, peers: Sequence[str]) -> None:
        """Start it; returns when it listens."""

    def wait_ready(self, timeout: float) -> None:
        """Wait until it has caught up with a peer."""

    def stop(self) -> None:
        """In good order."""

    def kill(self) -> None:
        """At once, without a flush and without a word."""

    def pause(self) -> None:
        """Have it say and hear nothing."""

    def resume(self) -> None:
        """Let it go on."""

    def block(self, addresses: List[str]) -> None:
        """Cut it off from these, and from no others."""

    def slow(self, slowness: Slowness) -> None:
        """How slow it is from now on."""

    def advance(self, seconds: float) -> None:
        """Set its clocks ahead; in one process those of all nodes together."""

    def status(self, *, digests: bool) -> NodeStatus:
        """How it is."""

    def log(self) -> List[str]:
        """The last lines of its log."""

"""A node of a `LocalCluster` that lives in this process."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, List, Optional, Sequence

from kvstore import _core
from kvstore.node import Node

if TYPE_CHECKING:
    from kvstore.config import NodeConfig
    from kvstore.status import NodeStatus
    from kvstore.testing.member import Slowness

_LINES_KEPT = 200


class Log:
    """What the nodes of this process report from now on; nobody says which of them it was."""

    def __init__(self) -> None:
        _core.keep_log(_LINES_KEPT)
        # Each line begins with its time, in this form.
        self._since = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")

    def lines(self) -> List[str]:
        """The last ones, the oldest first."""
        return [line for line in _core.recent_log() if line >= self._since]


class InprocMember:
    """Its faults are decorators of its network and clocks; they outlive it, so that a restarted node has them too."""

    address: str
    paused: bool

    def __init__(self, config: NodeConfig, faults: _core.Faults) -> None:
        self._config = config
        self._faults = faults
        self._node: Optional[Node] = None
        self._log: Optional[Log] = None
        self.address = ""
        self.paused = False

    @property
    def running(self) -> bool:
        """Started, and neither stopped nor killed."""
        return self._node is not None and self._node.running

    @property
    def node(self) -> Optional[Node]:
        """The node itself, once it was started."""
        return self._node

    def launch(self) -> None:
        """Prepare a start: nothing, here."""

    def start(self, port: int, peers: Sequence[str]) -> None:
        """Start it; returns when it listens."""
        self._log = self._log or Log()
        node = Node._of(self._config.replace(port=port, peers=list(peers)), self._faults)  # noqa: SLF001
        node.start()
        self._node = node
        self.address = node.address

    def wait_ready(self, timeout: float) -> None:
        """Wait until it has caught up with a peer."""
        if self._node is not None:
            self._node.start(wait="ready", timeout=timeout)

    def stop(self) -> None:
        """In good order."""
        self.resume()
        if self._node is not None:
            self._node.stop()

    def kill(self) -> None:
        """At once, without a flush and without a word."""
        if self._node is not None:
            self._node._kill()  # noqa: SLF001
        self.resume()

    def pause(self) -> None:
        """Have it say and hear nothing."""
        if self.running:
            self._faults.pause(True)  # noqa: FBT003
            self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._faults.pause(False)  # noqa: FBT003
        self.paused = False

    def block(self, addresses: List[str]) -> None:
        """Cut it off from these, and from no others."""
        self._faults.block(addresses)

    def slow(self, slowness: Slowness) -> None:
        """How slow it is from now on."""
        self._faults.slow(*slowness)

    def advance(self, seconds: float) -> None:
        """Set the clocks of all nodes of this process ahead."""
        self._faults.advance(seconds)

    def status(self, *, digests: bool) -> NodeStatus:
        """How it is."""
        return self._running().status(digests=digests)

    def log(self) -> List[str]:
        """The last lines of all nodes of this process."""
        return self._log.lines() if self._log is not None else []

    def _running(self) -> Node:
        assert self._node is not None  # noqa: S101 - asked of running ones only
        return self._node

"""A throwaway cluster with faults."""

from __future__ import annotations

import pathlib
import random
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional, Sequence, Tuple, Union

from kvstore import _core
from kvstore._options import check_names, in_seconds
from kvstore._security import options_for
from kvstore.aio.client import AsyncClient
from kvstore.client import Client
from kvstore.config import NodeConfig, NodeSettings
from kvstore.errors import (
    ClosedError,
    DeadlineError,
    InvalidArgumentError,
    UnavailableError,
    UnsupportedError,
)
from kvstore.testing import health
from kvstore.testing.inproc import InprocMember
from kvstore.testing.member import Slowness
from kvstore.testing.ports import reserve
from kvstore.testing.process import ProcessMember

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self, Unpack

    from kvstore._options import ClientOptions, Timeout
    from kvstore.node import Node
    from kvstore.testing.member import Member

__all__ = ["LocalCluster"]

_NODES_MAX = 16
"""More are no test any more."""

_PATIENCE_MAX = 365 * 24 * 3600.0
"""As good as no limit, and as far as clocks are advanced at once."""

_LEADER_SECONDS = 10.0
"""How long `leader` waits for one."""

_TIME_SECONDS = 3.0
"""How long strong keyspaces may take to notice that time has passed."""


class LocalCluster:
    """Throwaway nodes on free loopback ports, numbered from 0, with faults; usable without pytest.

    The faults are between the nodes: clients reach every node that runs and is not paused.

    Args:
        nodes: How many.
        isolation: "inproc": all in this process, and started in well under a second; "process": each in a process of
            its own, which a signal stops and kills.
        seed: Repeats which node `client(None)` begins with, and what `slow()` draws. None: another one each time, see
            repr().
        **settings: As of `NodeConfig`, for every node; not `advertise`. In `data_dir` each has a directory `node-0`,
            `node-1`, ...; without one, nodes live in memory, and one that is started again is somebody new.

    Raises:
        InvalidArgumentError: It names the argument.

    Example:
        >>> with LocalCluster(3) as cluster:
        ...     db = cluster.client()
        ...     cluster.partition([0], [1, 2])
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        isolation: Literal["inproc", "process"] = "inproc",
        seed: Optional[int] = None,
        **settings: Unpack[NodeSettings],
    ) -> None:
        _check_number("nodes", nodes, (1, _NODES_MAX))
        if isolation not in ("inproc", "process"):
            msg = f'isolation: {isolation!r} is neither "inproc" nor "process"'
            raise InvalidArgumentError(msg)
        known = [name for name in NodeSettings.__annotations__ if name != "advertise"]
        check_names(settings, [*known, "nodes", "isolation", "seed"], "setting of a cluster")
        self._isolation = isolation
        self._seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        # Not for secrets: it has to repeat itself.
        self._random = random.Random(self._seed)  # noqa: S311
        configs = [_config_of(index, settings) for index in range(nodes)]
        self._access: Any = options_for(configs[0].tls, configs[0].token)
        self._members: List[Member] = self._make_members(configs)
        self._host = configs[0].host
        # What keeps the ports of nodes that do not run.
        self._guards: Dict[int, socket.socket] = {}
        self._state: Literal["new", "running", "stopped"] = "new"
        self._clients: weakref.WeakSet[Union[Client[Any], AsyncClient[Any]]] = weakref.WeakSet()

    def _make_members(self, configs: Sequence[NodeConfig]) -> List[Member]:
        seeds = [self._random.getrandbits(64) for _ in configs]
        if self._isolation == "process":
            return [ProcessMember(config, seed) for config, seed in zip(configs, seeds)]
        # In one process all clocks are advanced at the same moment.
        first = _core.Faults(seeds[0])
        faults = [first, *(first.beside(seed) for seed in seeds[1:])]
        return [InprocMember(config, each) for config, each in zip(configs, faults)]

    @property
    def addresses(self) -> List[str]:
        """Of the nodes, in order; a node keeps its own when it is started again."""
        self._check_running()
        return [member.address for member in self._members]

    @property
    def leader(self) -> int:
        """The node that leads the strong group; waits a while for one.

        Raises:
            UnavailableError: There is none (code NO_LEADER).
        """
        self._check_running()
        return self._wait_leader(_LEADER_SECONDS)

    def _wait_leader(self, timeout: float) -> int:
        found: List[int] = []

        def problems() -> List[str]:
            found.extend(health.leaders(self._members)[:1])
            return [] if found else ["nobody leads"]

        try:
            health.wait_until(problems, "leader", timeout)
        except DeadlineError as error:
            raise UnavailableError(str(error), code="NO_LEADER") from error
        return found[0]

    def start(self, timeout: Timeout = 10.0) -> Self:
        """As Node.start(wait="ready") on all; idempotent. Then all nodes vote in one strong group.

        Raises:
            DeadlineError: Not in time; all are stopped.
            UnavailableError: A node could not start; all are stopped.
        """
        if self._state == "running":
            return self
        if self._state == "stopped":
            msg = "a stopped cluster does not start again: make a new one"
            raise ClosedError(msg)
        self._state = "running"
        patience = _patience(timeout)
        try:
            for member in self._members:
                member.launch()
            for index, member in enumerate(self._members):
                self._guards[index], port = reserve(self._host)
                member.start(port, [self._members[0].address] if index else [])
            for member in self._members:
                member.wait_ready(patience)
            health.wait_until(lambda: health.group_problems(self._members), "start", patience)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all nodes at once, without a flush, and close what `client()` has given out; idempotent."""
        self._state = "stopped"
        for client in list(self._clients):
            # What close() and aclose() do; neither needs a loop.
            client._channel.close()  # noqa: SLF001
        self._clients.clear()
        for member in self._members:
            member.kill()
        while self._guards:
            self._guards.popitem()[1].close()

    def node(self, index: int) -> Node:
        """The node itself, which also a pause does not keep from answering: it needs no network.

        Raises:
            UnsupportedError: With isolation="process".
        """
        self._check_running()
        node = self._at(index).node
        if node is None:
            msg = f'node: with isolation="{self._isolation}" nodes are elsewhere; use client()'
            raise UnsupportedError(msg)
        return node

    def client(self, node: Optional[int] = None, **options: Unpack[ClientOptions]) -> Client[Any]:
        """A client of one node, or of all, beginning with any. It is closed with the cluster.

        Args:
            node: Which; it stays with that one, also when it is dead. None: all, the first by chance.
            **options: As of `Client`; `tls` and `token` are those of the nodes unless you say others.
        """
        client: Client[Any] = Client(self._targets(node), **{**self._access, **_of_one(node, options)})
        self._clients.add(client)
        return client

    def async_client(self, node: Optional[int] = None, **options: Unpack[ClientOptions]) -> AsyncClient[Any]:
        """As client(), for asyncio."""
        client: AsyncClient[Any] = AsyncClient(self._targets(node), **{**self._access, **_of_one(node, options)})
        self._clients.add(client)
        return client

    def wait_healthy(self, timeout: Timeout = 10.0) -> None:
        """Wait until all are up and connected, agree on a leader, and hold the same.

        Raises:
            DeadlineError: They are not; it says in what.
        """
        self._check_running()
        health.wait_until(lambda: health.health_problems(self._members), "wait_healthy", _patience(timeout))

    def kill(self, node: int) -> None:
        """SIGKILL with isolation="process", else stop without any flush."""
        self._check_running()
        self._at(node).kill()

    def restart(self, node: int) -> None:
        """Same port, same data_dir; one that runs is stopped in good order first. Returns when it listens."""
        self._check_running()
        member = self._at(node)
        if member.running:
            member.stop()
        others = [other.address for other in self._members if other is not member]
        member.start(int(member.address.rpartition(":")[2]), others)

    def pause(self, node: int) -> None:
        """As SIGSTOP: it keeps everything and answers nothing. With isolation="inproc" its own timers go on."""
        self._check_running()
        self._at(node).pause()

    def resume(self, node: int) -> None:
        """As SIGCONT."""
        self._check_running()
        self._at(node).resume()

    def partition(self, *groups: Sequence[int]) -> None:
        """Only nodes of one group reach each other; those that are in none reach nobody. Replaces a former partition.

        Connections between groups break, and no others are opened: neither side waits for an answer.
        """
        self._check_running()
        named = [node for group in groups for node in group]
        for node in named:
            self._at(node)
            if named.count(node) > 1:
                msg = f"groups: node {node} is in two of them"
                raise InvalidArgumentError(msg)
        for index, member in enumerate(self._members):
            friends = {index}.union(*(group for group in groups if index in group))
            member.block([other.address for at, other in enumerate(self._members) if at not in friends])

    def heal(self) -> None:
        """End partitions and slowness."""
        self._check_running()
        for member in self._members:
            member.block([])
            member.slow(Slowness())

    def slow(self, node: int, *, delay: float = 0.0, jitter: float = 0.0, drop: float = 0.0) -> None:
        """Make all that a node says and hears, to nodes and clients, arrive later; replaces what was slow before.

        Args:
            node: Which.
            delay: Seconds.
            jitter: Up to so many seconds more, drawn for each piece; nothing overtakes.
            drop: The probability that a piece is lost. TCP sends it again: what follows waits 0.2 s, or longer if it is
                lost again. With 1 nothing arrives.
        """
        self._check_running()
        slowness = Slowness(float(delay), float(jitter), float(drop))
        # Refused here, because a node that is paused or killed looks at it later.
        _core.Faults(0).slow(*slowness)
        self._at(node).slow(slowness)

    def advance_clock(self, seconds: float) -> None:
        """Let time pass on all nodes, a year at most at once: for times to live, without waiting. Clocks never go back.

        What is over by then is gone when this returns; in strong keyspaces only while they have a leader. This process
        and `Entry.ttl` go by the real time.
        """
        self._check_running()
        _check_time(seconds)
        # Time passes between entries of one leader.
        has_leader = self._show_time()
        members = self._members if self._isolation == "process" else self._members[:1]
        for member in members:
            member.advance(float(seconds))
        if has_leader:
            self._show_time()

    def _show_time(self) -> bool:
        """Have the strong group take note of the time, by an entry that changes nothing; False without a leader."""
        able = sum(member.running and not member.paused for member in self._members)
        if 2 * able <= len(self._members):
            return False
        try:
            leader = self._wait_leader(_TIME_SECONDS)
            with self.client(leader, timeout=_TIME_SECONDS) as client:
                strong = [info.name for info in client.keyspaces() if info.consistency == "strong"]
                for name in strong[:1]:
                    client.keyspace(name).delete("kvstore.testing/no such key")
        except (UnavailableError, DeadlineError):
            # It is cut off from the others: no time passes there, and there is nothing to wait for.
            return False
        return True

    def __enter__(self) -> Self:
        """Start it, unless it runs."""
        return self.start()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Stop it."""
        self.stop()

    def _report(self, lines: int) -> str:
        """How it is and the last of what its nodes have logged, for a test that has failed."""
        # Nodes of one process share a log.
        logs = [member.log() for member in self._members[: 1 if self._isolation == "inproc" else None]]
        # Each line begins with its time.
        last = sorted(line for log in logs for line in log)[-lines:] if len(logs) > 1 else logs[0][-lines:]
        return "\n".join([repr(self), *health.describe(self._members), f"last lines of its log: {len(last)}", *last])

    def __repr__(self) -> str:
        """With what repeats it."""
        return (
            f"<kvstore.testing.LocalCluster of {len(self._members)} nodes, {self._isolation}, {self._state}, "
            f"seed {self._seed}>"
        )

    def _at(self, index: int) -> Member:
        _check_number("node", index, (0, len(self._members) - 1))
        return self._members[index]

    def _targets(self, node: Optional[int]) -> List[str]:
        self._check_running()
        if node is not None:
            return [self._at(node).address]
        return self._random.sample(self.addresses, len(self._members))

    def _check_running(self) -> None:
        if self._state != "running":
            msg = f"this cluster is {self._state}: " + ("call start()" if self._state == "new" else "make a new one")
            raise ClosedError(msg)


def _config_of(index: int, settings: NodeSettings) -> NodeConfig:
    config = NodeConfig(**settings)
    if config.data_dir is None:
        return config
    return config.replace(data_dir=str(pathlib.Path(config.data_dir) / f"node-{index}"))


def _check_number(name: str, value: object, bounds: Tuple[int, int]) -> None:
    least, most = bounds
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        msg = f"{name}: {value!r} is no number from {least} to {most}"
        raise InvalidArgumentError(msg)


def _check_time(seconds: object) -> None:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= _PATIENCE_MAX:
        msg = f"seconds: {seconds!r} is no time that passes"
        raise InvalidArgumentError(msg)


def _patience(timeout: Timeout) -> float:
    seconds = in_seconds(timeout)
    return _PATIENCE_MAX if seconds is None else float(seconds)


def _of_one(node: Optional[int], options: ClientOptions) -> ClientOptions:
    """A client of one node turns to no other."""
    pinned: ClientOptions = {"discover": False}
    if node is not None:
        pinned.update(options)
        return pinned
    return options

"""A network of its own for the nodes of a test, in which links can be cut one way: Linux, root and iproute2.

Each node lives in a network namespace, all of them on one bridge. A cut from A to B is a wrong hardware address of B in
A's table of neighbours: what A sends to B gets lost without a word, as in a broken network, while B still reaches A.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Iterator, Optional, Sequence

from kvstore.cli.processes import NodeProcess

from .harness import DEADLINE_SECONDS, Cluster

if TYPE_CHECKING:
    from typing_extensions import Self

_NEW_NET = 0x40000000
_NOWHERE = "02:00:00:00:00:01"

# There are so many /24 in 198.18.0.0/15, which is meant for tests (RFC 2544).
_NETS = 512

# Namespaces of a network, at most: what a run that was killed has left is looked for up to here.
_SPACES_MAX = 8


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        msg = f"ip {' '.join(words)}: {done.stderr.strip()}"
        raise OSError(msg)


def missing() -> str:
    """What is missing for networks to be cut; empty: nothing."""
    if sys.platform != "linux":
        return "Linux"
    if os.geteuid() != 0:
        return "root"
    if shutil.which("ip") is None:
        return "iproute2 (the command ip)"
    try:
        with Network(1):
            return ""
    except OSError as error:
        return f"network namespaces ({error})"


class Network:
    """Namespaces on a bridge, numbered from 0; gone when the `with` block ends."""

    def __init__(self, count: int) -> None:
        assert count <= _SPACES_MAX
        self.count = count
        self._claim: Optional[socket.socket] = None
        self._name = self._net = ""

    def __enter__(self) -> Self:
        """Build it."""
        self._claim_net()
        try:
            self._remove()
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        """Take it away."""
        self._remove()
        if self._claim is not None:
            self._claim.close()

    def _claim_net(self) -> None:
        """Take a net that nobody else has: runs side by side would answer for each other's nodes.

        The claim is an abstract socket, which ends with its process, and of which there is one in each namespace, as of
        the bridge.
        """
        for number in range(os.getpid(), os.getpid() + _NETS):
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0kvstore-test-net-{number % _NETS}")
            except OSError:
                claim.close()
                continue
            self._claim = claim
            self._name = f"kv{number % _NETS}"
            self._net = f"198.{18 + number % _NETS // 256}.{number % 256}"
            return
        msg = "all nets for tests are taken"
        raise OSError(msg)

    def _build(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{self._net}.254/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for index in range(self.count):
            name = self._space(index)
            _ip("netns", "add", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", name, "master", self._name, "up")
            _ip("-n", name, "address", "add", f"{self.host(index)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for index in range(_SPACES_MAX):
            for words in (["netns", "del", self._space(index)], ["link", "del", self._space(index)]):
                # Gone with its other end, or never there.
                with contextlib.suppress(OSError):
                    _ip(*words)
        with contextlib.suppress(OSError):
            _ip("link", "del", self._name)

    def _space(self, index: int) -> str:
        return f"{self._name}n{index}"

    def host(self, index: int) -> str:
        """The address of a namespace."""
        return f"{self._net}.{index + 1}"

    def cut(self, sender: int, receiver: int) -> None:
        """From now on nothing arrives at the receiver that the sender sends."""
        words = ["lladdr", _NOWHERE, "dev", "eth0", "nud", "permanent"]
        _ip("-n", self._space(sender), "neigh", "replace", self.host(receiver), *words)

    def heal(self, sender: int, receiver: int) -> None:
        """End a cut."""
        with contextlib.suppress(OSError):
            _ip("-n", self._space(sender), "neigh", "del", self.host(receiver), "dev", "eth0")

    @contextlib.contextmanager
    def inside(self, index: int) -> Iterator[None]:
        """What this thread starts lives in the namespace. The thread stays there: it must end afterwards."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{self._space(index)}", "rb") as space:  # noqa: PTH123 - a file of the kernel's
            if libc.setns(space.fileno(), _NEW_NET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        yield


class NetworkedCluster(Cluster):
    """Nodes in the namespaces of a network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def reserve_port(self) -> int:
        """Any: each namespace has ports of its own, and one node."""
        return 0

    def _launch(self, index: int, port: int, peers: Sequence[str], options: Sequence[str] = ()) -> NodeProcess:
        options = ["--host", self.network.host(index), "--insecure", *options]

        def launch() -> NodeProcess:
            with self.network.inside(index):
                return NodeProcess.start(port, peers, options, DEADLINE_SECONDS)

        # A thread of its own, which takes its place in the namespace with it when it ends.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(launch).result()

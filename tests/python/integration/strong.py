"""What the black-box tests of strong keyspaces share: who leads, who has a vote, and that no term has two leaders."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Set

import kvstore

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .network import Network, NetworkedCluster

if TYPE_CHECKING:
    from pathlib import Path

    from kvstore.cli.processes import NodeProcess
    from kvstore.status import GroupStatus

# Generous: groups form within a second on an idle machine.
FORM_SECONDS = 60.0

# How long a node may take to say how it is before it counts as silent.
_STATUS_SECONDS = 1.0

# How often the terms are looked at. A leader that lasts less is not seen; one that does harm lasts longer.
_LOOK_SECONDS = 0.05


# One client a process that is looked at, which lives as long as that: looks are many, connections are not for nothing.
_clients: weakref.WeakKeyDictionary[NodeProcess, kvstore.Client[Any]] = weakref.WeakKeyDictionary()
_clients_lock = threading.Lock()


def group_of(node: NodeProcess) -> Optional[GroupStatus]:
    """How a node sees the group; None if it does not answer, or if it is somebody new that does in its place."""
    if not node.running:
        return None
    with _clients_lock:
        client = _clients.get(node)
        if client is None:
            client = _clients[node] = node.client(timeout=_STATUS_SECONDS)
            weakref.finalize(node, client.close)
    try:
        status = client.status()
    except kvstore.KVError:
        return None
    return status.group if status.id == node.node else None


def leader_of(cluster: Cluster) -> Optional[int]:
    """The node that says that it leads, in the newest term; None: nobody does."""
    found: Optional[int] = None
    newest = -1
    for index, node in enumerate(cluster.nodes):
        group = group_of(node)
        if group is not None and group.role == "leader" and group.term > newest:
            found, newest = index, group.term
    return found


def wait_leader(cluster: Cluster, timeout: float = FORM_SECONDS) -> int:
    """The node that leads, once one does."""
    return int(eventually(lambda: _boxed(leader_of(cluster)), "somebody leads", timeout)[0])


def _boxed(index: Optional[int]) -> Optional[List[int]]:
    """0 is a node too."""
    return None if index is None else [index]


def one_group(cluster: Cluster) -> bool:
    """Whether all nodes see the same leader, in the same term, and all of them, nobody else, as voters."""
    groups = [group_of(node) for node in cluster.nodes]
    ids = {node.node for node in cluster.nodes}
    return all(
        group is not None
        and group.leader is not None
        and {member.id for member in group.members if member.votes} == ids
        and len(group.members) == len(ids)
        for group in groups
    ) and _agree([group for group in groups if group is not None])


def _agree(groups: Sequence[GroupStatus]) -> bool:
    roles = sorted(group.role for group in groups)
    expected = ["follower"] * (len(groups) - 1) + ["leader"]
    return len({(group.leader, group.term) for group in groups}) == 1 and roles == expected


def wait_one_group(cluster: Cluster, timeout: float = FORM_SECONDS) -> None:
    """Wait until `one_group` is true, and tell what was seen instead if it never is."""
    try:
        eventually(lambda: one_group(cluster), "all nodes are voters of one group", timeout)
    except AssertionError as error:
        seen = [f"{node.node} at {node.address}: {group_of(node)}" for node in cluster.nodes]
        raise AssertionError("\n".join([str(error), *seen])) from error


def client_of(cluster: Cluster, nodes: Sequence[int], keyspace: str, **options: Any) -> kvstore.Client[Any]:
    """A client of some nodes; the one named first is contacted first."""
    targets = [cluster.address(node) for node in nodes]
    return kvstore.Client(targets, keyspace, **{"timeout": DEADLINE_SECONDS, "discover": False, **options})


def from_node(cluster: Cluster, first: int) -> List[int]:
    """All nodes, that one first."""
    count = len(cluster.nodes)
    return [(first + step) % count for step in range(count)]


class Terms(threading.Thread):
    """Asks all nodes of a cluster again and again who leads, from a thread of its own, until `stop`."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(name="terms", daemon=True)
        self._cluster = cluster
        self._ends = threading.Event()
        self._revisions: Dict[int, int] = {}
        self.leaders: Dict[int, Set[str]] = {}
        self.looks = 0
        self.error: Optional[BaseException] = None

    def run(self) -> None:
        """Look."""
        try:
            while not self._ends.wait(_LOOK_SECONDS):
                for node in list(self._cluster.nodes):
                    self._look(node)
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self.error = error

    def _look(self, node: NodeProcess) -> None:
        try:
            group = group_of(node)
        except OSError:
            # Its process is being replaced right now.
            return
        if group is None:
            return
        self.looks += 1
        if group.role == "leader":
            self.leaders.setdefault(group.term, set()).add(node.node)
            assert len(self.leaders[group.term]) == 1, f"term {group.term} has the leaders {self.leaders[group.term]}"
        # A process that has just begun may not know yet what of its log is committed.
        known = self._revisions.get(node.pid, 0)
        assert group.revision >= known, f"{node.node} went back from revision {known} to {group.revision}"
        self._revisions[node.pid] = group.revision

    def stop(self) -> None:
        """Stop looking; AssertionError if a term had two leaders, or a revision went back."""
        self._ends.set()
        self.join()
        if self.error is not None:
            raise self.error


class DurableNetworkedCluster(NetworkedCluster):
    """Nodes in the namespaces of a network, each with a directory below `root`."""

    def __init__(self, network: Network, root: Path) -> None:
        super().__init__(network)
        self._root = root

    def _launch(self, index: int, port: int, peers: Sequence[str], options: Sequence[str] = ()) -> NodeProcess:
        place = ["--data-dir", str(self._root / f"node-{index}")]
        return super()._launch(index, port, peers, [*place, *options])

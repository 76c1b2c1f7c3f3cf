"""The state of nodes, as `status()` and `members()` tell it."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

__all__ = ["MemberStatus", "NodeStatus", "PartitionDigest", "PeerStatus", "ReplicationLag"]


class PeerStatus(NamedTuple):
    """Another node, as one node sees it.

    `id` is None while it was never reached; `state` is "connecting", "connected" or "refused"; `unacknowledged` counts
    own writes that this peer has not confirmed, `transfers` state transfers from it under way; `problem` says why the
    last attempt failed and is empty while connected.
    """

    id: Optional[str]
    address: str
    state: str
    unacknowledged: int
    transfers: int
    problem: str


class ReplicationLag(NamedTuple):
    """From a write to its confirmation by a peer, in seconds, over the last writes to each peer."""

    samples: int
    p50: float
    p99: float
    max: float


class PartitionDigest(NamedTuple):
    """A partition as one number: equal digests mean equal contents, tombstones and versions included."""

    partition: int
    digest: int
    records: int


class MemberStatus(NamedTuple):
    """A member of the cluster, as the asked node sees it.

    `id` is None while it was never reached, `connected` is True for the asked node too. `state` is "up", "suspected"
    (it does not answer), "dead", "left", "removed", or "unknown" for a configured address where nobody was reached.
    `behind` counts writes of the asked node that the member has not acknowledged. `since` says when the state began,
    `born` when the member started, in seconds since the Unix epoch; None: not known.
    """

    id: Optional[str]
    address: str
    connected: bool
    state: str
    behind: int
    since: Optional[float]
    born: Optional[float]


class NodeStatus(NamedTuple):
    """How a node is.

    `role` is "leader", "follower" or "learner" of the strong group, "peer" outside it; `healthy` means that it answers,
    is `ready`: it has caught up with at least one peer since its start, or has none, and was not `removed`. `keys` and
    `bytes` count what readers can see; `tombstones` are deletes still remembered; `conflicts` are own acknowledged
    writes that a peer replaced without having seen them. `uptime` is in seconds, `version` that of the software.
    `digests` is empty unless asked for. `removed`: the cluster removed this node, and it refuses writes; `problems`
    are what a person should look at.
    """

    id: str
    address: str
    role: str
    leader: Optional[str]
    healthy: bool
    keys: int
    bytes: int
    uptime: float
    version: str
    cluster: str
    ready: bool
    tombstones: int
    conflicts: int
    peers: Tuple[PeerStatus, ...]
    lag: ReplicationLag
    digests: Tuple[PartitionDigest, ...]
    removed: bool
    problems: Tuple[str, ...]

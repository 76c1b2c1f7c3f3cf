"""The state of nodes, as `status()` and `members()` tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Optional, Tuple

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

Consistency: TypeAlias = Literal["eventual", "strong"]
"""What a keyspace promises, for ever."""

__all__ = [
    "Consistency",
    "GroupMember",
    "GroupStatus",
    "KeyspaceInfo",
    "LeaseInfo",
    "MemberStatus",
    "NodeStatus",
    "PartitionDigest",
    "PeerStatus",
    "ReplicationLag",
    "StorageStatus",
]


class KeyspaceInfo(NamedTuple):
    """A keyspace.

    `bytes` are those of keys and values. It and `keys` are approximate in an eventual one, as the contacted node sees
    it, and exact in a strong one. `conflicts` are those that the contacted node remembers: writes that it had
    acknowledged and that were lost.
    """

    name: str
    consistency: Consistency
    keys: int
    bytes: int
    conflicts: int


class LeaseInfo(NamedTuple):
    """A lease: granted for `ttl` seconds, of which `remaining` are left, and `places` keys and locks hang on it."""

    id: int
    ttl: float
    remaining: float
    places: int


class PeerStatus(NamedTuple):
    """Another node, as one node sees it.

    `id` is None while it was never reached; `state` is "connecting", "connected" or "refused"; `unacknowledged` counts
    own writes that this peer has not confirmed, `transfers` state transfers from it under way; `problem` says why the
    last attempt failed and is empty while connected. `clock_offset` is its wall clock minus that of the asked node;
    `refuses` is not 0 while it refuses writes of the asked node, which are so far ahead of its clock, and `refused`
    while its own are refused there (seconds all three).
    """

    id: Optional[str]
    address: str
    state: str
    unacknowledged: int
    transfers: int
    problem: str
    clock_offset: float = 0.0
    refuses: float = 0.0
    refused: float = 0.0


class ReplicationLag(NamedTuple):
    """From a write to its confirmation by a peer, in seconds, over the last writes to each peer."""

    samples: int
    p50: float
    p99: float
    max: float


class PartitionDigest(NamedTuple):
    """A partition as one number: equal digests mean equal values and versions, whatever deletes are remembered."""

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


class StorageStatus(NamedTuple):
    """What a node keeps in its `data_dir`.

    `durability` is what a write waits for: "sync", "interval" or "memory". `state` of the log is "ok", "full" (writes
    are refused until there is room on the disk) or "failed" (until the node is started again), and `problem` says why,
    or why the last snapshot could not be written. `damage` says what was damaged when the node started and was set
    aside; the rest came from its peers. `log_bytes` is what a restart would read after the newest snapshot, of
    `snapshot_bytes`; `snapshots` and `syncs` count since the start. `sync_p50` and `sync_p99` are how long syncs took,
    in seconds.
    """

    durability: str
    state: str
    problem: str
    damage: Optional[str]
    log_bytes: int
    snapshots: int
    snapshot_bytes: int
    syncs: int
    sync_p50: float
    sync_p99: float


class GroupMember(NamedTuple):
    """A member of the strong group.

    `votes`: whether its vote is counted on, which while members change takes one before and after the change. `lag`:
    how many entries it is behind, if the asked node leads.
    """

    id: str
    address: str
    votes: bool
    lag: Optional[int]


class GroupStatus(NamedTuple):
    """How a node sees the strong group.

    `role` is "leader", "follower", "candidate" (it stands for election), "learner" (it has no vote yet), or "none"
    while it looks for a group. `leader` is an id, None while nobody that the node knows leads. `last_index` is the last
    entry of its log, `applied_index` the last that it has applied; `revision` counts transactions, and can be asked
    back to `compacted`. `log_hash` is equal on all nodes at an equal `applied_index`. `elections` counts the leaders
    that it saw since it started; `unheard` is how long a leader has not heard from a majority, in seconds. `problem`
    says why there is no group, or no snapshot of it, or why the consensus `failed`, which then stands still until the
    node is started again; empty: all is well. `keys` and `bytes` (of keys and values) are those of all strong
    keyspaces, as far as it has applied the log.
    """

    role: str
    leader: Optional[str]
    term: int
    last_index: int
    applied_index: int
    revision: int
    compacted: int
    log_hash: int
    elections: int
    unheard: Optional[float]
    members: Tuple[GroupMember, ...]
    problem: str
    failed: bool = False
    keys: int = 0
    bytes: int = 0


class NodeStatus(NamedTuple):
    """How a node is."""

    id: str
    """Names this history of the node for ever."""
    address: str
    """Where others reach it."""
    role: str
    """"leader", "follower" or "learner" of the strong group; "peer" outside it."""
    leader: Optional[str]
    """The id of who leads the strong group; None: nobody that this node knows."""
    healthy: bool
    """It is `ready`, was not `removed`, and its log has not failed."""
    keys: int
    """Keys that readers can see, in the eventual keyspace."""
    bytes: int
    """Bytes of those keys and their values."""
    uptime: float
    """Seconds since its start."""
    version: str
    """Of the software."""
    cluster: str
    """The name of its cluster."""
    ready: bool
    """It has caught up with at least one peer since its start, or has none."""
    tombstones: int
    """Deletes that are still remembered. They are forgotten once every member has them."""
    conflicts: int
    """Own acknowledged writes that a peer replaced without having seen them: see `Store.conflicts()`."""
    conflicts_dropped: int
    """Conflicts that its full journal no longer holds."""
    conflicts_inexact: int
    """How often it forgot who had seen what: a conflict may then be none."""
    peers: Tuple[PeerStatus, ...]
    """The other nodes, as this one sees them."""
    lag: ReplicationLag
    """How long its writes take to reach them."""
    digests: Tuple[PartitionDigest, ...]
    """Its contents as numbers; empty unless asked for."""
    removed: bool
    """The cluster removed this node, and it refuses writes."""
    problems: Tuple[str, ...]
    """What a person should look at."""
    oldest_tombstone: float
    """The age of the oldest delete that is still remembered, in seconds."""
    stable_lag: float
    """How far the time up to which all members have everything lies in the past, in seconds."""
    held_back_by: Tuple[str, ...]
    """The members to blame for that, once it is a minute."""
    divergences: int
    """Partitions found different from a peer's at equal vectors: damage, or a bug."""
    repairs: int
    """Those of them that were merged since."""
    expired: int
    """Values that this node removed after their time to live."""
    refused_writes: int
    """Writes of peers stamped too far ahead of this node's clock, each attempt."""
    memory: int
    """What the data takes in memory, about, in bytes."""
    max_memory: Optional[int]
    """The bound beyond which writes are refused; None: there is none."""
    state_bytes: int
    """Bytes of keys and values that came from peers as state: what it missed while it was away."""
    change_bytes: int
    """Bytes of keys and values of the writes that peers pushed to it."""
    storage: Optional[StorageStatus]
    """What it keeps on disk; None for a node that lives in memory."""
    group: Optional[GroupStatus] = None
    """How it sees the strong group."""
    default_consistency: str = "eventual"
    """What the keyspace `default` is: "eventual", "strong", or "undecided".

    The last is said while a node that was told of a strong one has not found the group of its cluster.
    """

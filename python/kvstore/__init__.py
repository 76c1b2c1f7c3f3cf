"""kvstore: a distributed key-value store whose nodes live inside your process.

`Node` is a node in this process, `Client` and `AsyncClient` talk to nodes anywhere; `Store` is what they share.
"""

from kvstore._core import Conflict, Entry, Event, __version__
from kvstore._options import ReadLevel
from kvstore.aio import (
    AsyncBatch,
    AsyncClient,
    AsyncCluster,
    AsyncElection,
    AsyncLease,
    AsyncLock,
    AsyncStore,
    AsyncTxn,
)
from kvstore.batch import Batch, Pending
from kvstore.client import Client
from kvstore.cluster import Cluster
from kvstore.codecs import AUTO, BYTES, JSON, TEXT, Codec
from kvstore.config import NodeConfig, NodeSettings
from kvstore.errors import (
    ClosedError,
    CodecError,
    CompactedError,
    ConflictError,
    CorruptError,
    DeadlineError,
    DeniedError,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    KeyExistsError,
    KeyNotFoundError,
    KVError,
    LimitError,
    LockLostError,
    UnavailableError,
    UnsupportedError,
)
from kvstore.lease import Lease
from kvstore.lock import Election, Lock
from kvstore.map import Map
from kvstore.node import Node
from kvstore.offline import (
    DirectoryReport,
    SegmentReport,
    SnapshotReport,
    examine_data_dir,
    restore_snapshot,
    verify_snapshot,
)
from kvstore.status import (
    GroupMember,
    GroupStatus,
    KeyspaceInfo,
    LeaseInfo,
    MemberStatus,
    NodeStatus,
    PartitionDigest,
    PeerStatus,
    ReplicationLag,
    StorageStatus,
)
from kvstore.store import Store
from kvstore.txn import Txn
from kvstore.watch import AsyncWatch, Watch

__all__ = [
    "AUTO",
    "BYTES",
    "JSON",
    "TEXT",
    "AsyncBatch",
    "AsyncClient",
    "AsyncCluster",
    "AsyncElection",
    "AsyncLease",
    "AsyncLock",
    "AsyncStore",
    "AsyncTxn",
    "AsyncWatch",
    "Batch",
    "Client",
    "ClosedError",
    "Cluster",
    "Codec",
    "CodecError",
    "CompactedError",
    "Conflict",
    "ConflictError",
    "CorruptError",
    "DeadlineError",
    "DeniedError",
    "DirectoryReport",
    "Election",
    "Entry",
    "Event",
    "ForkedError",
    "GroupMember",
    "GroupStatus",
    "InternalError",
    "InvalidArgumentError",
    "KVError",
    "KeyExistsError",
    "KeyNotFoundError",
    "KeyspaceInfo",
    "Lease",
    "LeaseInfo",
    "LimitError",
    "Lock",
    "LockLostError",
    "Map",
    "MemberStatus",
    "Node",
    "NodeConfig",
    "NodeSettings",
    "NodeStatus",
    "PartitionDigest",
    "PeerStatus",
    "Pending",
    "ReadLevel",
    "ReplicationLag",
    "SegmentReport",
    "SnapshotReport",
    "StorageStatus",
    "Store",
    "Txn",
    "UnavailableError",
    "UnsupportedError",
    "Watch",
    "__version__",
    "examine_data_dir",
    "restore_snapshot",
    "verify_snapshot",
]

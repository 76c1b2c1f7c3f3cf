"""kvstore: a distributed key-value store whose nodes live inside your process.

`Node` is a node in this process, `Client` and `AsyncClient` talk to nodes anywhere; `Store` is what they share.
"""

from kvstore._core import Conflict, Entry, Event, __version__
from kvstore._options import ReadLevel
from kvstore.aio import AsyncClient, AsyncCluster, AsyncStore
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
    MemberStatus,
    NodeStatus,
    PartitionDigest,
    PeerStatus,
    ReplicationLag,
    StorageStatus,
)
from kvstore.store import Store
from kvstore.watch import AsyncWatch, Watch

__all__ = [
    "AUTO",
    "BYTES",
    "JSON",
    "TEXT",
    "AsyncClient",
    "AsyncCluster",
    "AsyncStore",
    "AsyncWatch",
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
    "LimitError",
    "LockLostError",
    "MemberStatus",
    "Node",
    "NodeConfig",
    "NodeSettings",
    "NodeStatus",
    "PartitionDigest",
    "PeerStatus",
    "ReadLevel",
    "ReplicationLag",
    "SegmentReport",
    "SnapshotReport",
    "StorageStatus",
    "Store",
    "UnavailableError",
    "UnsupportedError",
    "Watch",
    "__version__",
    "examine_data_dir",
    "restore_snapshot",
    "verify_snapshot",
]

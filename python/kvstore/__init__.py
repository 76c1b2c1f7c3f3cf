"""kvstore: a distributed key-value store whose nodes live inside your process.

`Node` is a node in this process, `Client` and `AsyncClient` talk to nodes anywhere; `Store` has the calls that they
share. Values come back as they went in. A keyspace is eventual, as `default` is unless told otherwise, or strong:

    >>> import kvstore as kv
    >>> node = kv.Node(7001).start()
    >>> node["motto"] = "any node, any time"
    >>> db = kv.Client("127.0.0.1:7001")                        # from any other process
    >>> db["motto"]
    'any node, any time'
    >>> jobs = db.create_keyspace("jobs", consistency="strong")
    >>> jobs.incr("visits")                                     # one order of all writes
    1

All errors are `KVError`. `kvstore.testing` has clusters for tests, `kvstore.contrib` plug-ins for other libraries, and
`python -m kvstore` a command line.
"""

from kvstore._core import Conflict, Entry, Event, __version__
from kvstore._fork import make_kept as _make_kept
from kvstore._options import (
    ClientOptions,
    Key,
    Path,
    Peer,
    Peers,
    Read,
    ReadLevel,
    Retry,
    Seconds,
    Target,
    Timeout,
)
from kvstore._security import TLS, Token
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
from kvstore.batch import Batch
from kvstore.client import Client
from kvstore.cluster import Cluster
from kvstore.codecs import AUTO, BYTES, JSON, PICKLE, TEXT, Codec, dataclass_codec, pydantic_codec
from kvstore.config import NodeConfig, NodeSettings
from kvstore.errors import (
    ClosedError,
    CodecError,
    CompactedError,
    ConflictError,
    CorruptError,
    DeadlineError,
    DeniedError,
    ErrorKind,
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
from kvstore.pending import Pending
from kvstore.status import (
    Consistency,
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
    "PICKLE",
    "TEXT",
    "TLS",
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
    "ClientOptions",
    "ClosedError",
    "Cluster",
    "Codec",
    "CodecError",
    "CompactedError",
    "Conflict",
    "ConflictError",
    "Consistency",
    "CorruptError",
    "DeadlineError",
    "DeniedError",
    "DirectoryReport",
    "Election",
    "Entry",
    "ErrorKind",
    "Event",
    "ForkedError",
    "GroupMember",
    "GroupStatus",
    "InternalError",
    "InvalidArgumentError",
    "KVError",
    "Key",
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
    "Path",
    "Peer",
    "PeerStatus",
    "Peers",
    "Pending",
    "Read",
    "ReadLevel",
    "ReplicationLag",
    "Retry",
    "Seconds",
    "SegmentReport",
    "SnapshotReport",
    "StorageStatus",
    "Store",
    "Target",
    "Timeout",
    "Token",
    "Txn",
    "UnavailableError",
    "UnsupportedError",
    "Watch",
    "__version__",
    "dataclass_codec",
    "examine_data_dir",
    "pydantic_codec",
    "restore_snapshot",
    "verify_snapshot",
]

_make_kept()

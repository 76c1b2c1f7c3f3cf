"""The asyncio twins of `Store`, `Client` and what they hand out; made by scripts/generate_aio.py."""

from kvstore.aio.batch import AsyncBatch
from kvstore.aio.client import AsyncClient
from kvstore.aio.cluster import AsyncCluster
from kvstore.aio.lease import AsyncLease
from kvstore.aio.lock import AsyncElection, AsyncLock
from kvstore.aio.store import AsyncStore
from kvstore.aio.txn import AsyncTxn

__all__ = [
    "AsyncBatch",
    "AsyncClient",
    "AsyncCluster",
    "AsyncElection",
    "AsyncLease",
    "AsyncLock",
    "AsyncStore",
    "AsyncTxn",
]

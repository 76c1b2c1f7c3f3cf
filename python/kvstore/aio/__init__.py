"""The asyncio twins of `Store` and `Client`; `store`, `client` and `cluster` are made by scripts/generate_aio.py."""

from kvstore.aio.client import AsyncClient
from kvstore.aio.cluster import AsyncCluster
from kvstore.aio.store import AsyncStore

__all__ = ["AsyncClient", "AsyncCluster", "AsyncStore"]

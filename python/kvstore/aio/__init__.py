"""The asyncio twins of `Store` and `Client`; `store` and `client` are made by scripts/generate_aio.py."""

from kvstore.aio.client import AsyncClient
from kvstore.aio.store import AsyncStore

__all__ = ["AsyncClient", "AsyncStore"]

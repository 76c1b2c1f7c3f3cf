"""A cluster that many tests share, as one of them sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Union

from kvstore._options import parse_target
from kvstore.aio.client import AsyncClient
from kvstore.client import Client

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from kvstore._options import ClientOptions, Target

__all__ = ["SharedCluster"]


class SharedCluster:
    """What the fixture `kvstore_shared_cluster` gives: a strong keyspace that nobody else uses, in a cluster of others.

    There are no faults here: others would meet them. Dropping the keyspace, with all that is in it, is the fixture's.

    Args:
        target: The cluster; a keyspace that it names does not count.
        keyspace: The name of ours; it is made here.
    """

    keyspace: str
    """The name of the keyspace."""

    def __init__(self, target: Target, keyspace: str) -> None:
        parsed = parse_target(target)
        # Kept apart: a token and a Retry have no place in the query of a URL.
        self._addresses, self._options = parsed.addresses, parsed.options
        self._clients: List[Union[Client[Any], AsyncClient[Any]]] = []
        self.keyspace = keyspace
        with self._open() as client:
            client.create_keyspace(keyspace, consistency="strong")

    def client(self, **options: Unpack[ClientOptions]) -> Client[Any]:
        """A client of the keyspace; closed after the test."""
        client: Client[Any] = self._open(**options)
        self._clients.append(client)
        return client

    def async_client(self, **options: Unpack[ClientOptions]) -> AsyncClient[Any]:
        """As client(), for asyncio."""
        client: AsyncClient[Any] = AsyncClient(self._addresses, self.keyspace, **{**self._options, **options})
        self._clients.append(client)
        return client

    def _open(self, **options: Unpack[ClientOptions]) -> Client[Any]:
        return Client(self._addresses, self.keyspace, **{**self._options, **options})

    def _end(self) -> None:
        """Close the clients and drop the keyspace."""
        for client in self._clients:
            # What close() and aclose() do; neither needs a loop.
            client._channel.close()  # noqa: SLF001
        with self._open() as client:
            client.drop_keyspace(self.keyspace)

    def __repr__(self) -> str:
        """With addresses and keyspace; the token is not shown."""
        return f"<kvstore.testing.SharedCluster kv://{','.join(self._addresses)}/{self.keyspace}>"

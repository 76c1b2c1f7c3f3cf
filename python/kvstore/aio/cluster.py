"""The members of a cluster, and what can be done about them.

Made from kvstore/cluster.py by scripts/generate_aio.py: change that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Tuple, cast

from kvstore._core import Request
from kvstore._options import DEFAULT
from kvstore.errors import UnsupportedError

if TYPE_CHECKING:
    from kvstore._options import Timeout
    from kvstore.status import MemberStatus, NodeStatus
    from kvstore.aio.store import AsyncStore

__all__ = ["AsyncCluster"]


class AsyncCluster:
    """The members that the contacted node knows; from `AsyncStore.cluster`.

    Example:
        >>> for member in await db.cluster.members():
        ...     if member.state == "dead":
        ...         await db.cluster.remove(member.id)
    """

    def __init__(self, store: AsyncStore[Any]) -> None:
        self._store = store

    async def members(self, *, timeout: Timeout = DEFAULT) -> Tuple[MemberStatus, ...]:
        """The members that the contacted node knows, itself first, dead ones too."""
        return cast("Tuple[MemberStatus, ...]", await self._store._run(Request.members(), timeout))  # noqa: SLF001

    async def remove(self, node_id: str, *, force: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Remove a member for good: deletes no longer wait for it, and nobody talks to it again. Idempotent.

        Args:
            node_id: As members() tells it. Should that node live, it refuses writes from then on; started again it is a
                new, empty member.
            force: Also when it is up; writes that it alone has are lost. A stop() hands them over instead.
            timeout: As for every call.

        Raises:
            InvalidArgumentError: There is no such member (code UNKNOWN_MEMBER), or it is the contacted node itself.
            ConflictError: It is up, or was a moment ago (code MEMBER_UP).
        """
        await self._store._run(Request.remove_member(node_id, force), timeout)  # noqa: SLF001

    async def leader(self) -> Optional[NodeStatus]:
        """How the leader of the strong group is, as it says itself; None while the contacted node knows of none.

        Raises:
            UnavailableError: The leader cannot be reached from here.
        """
        status = cast("NodeStatus", await self._store._run(Request.status(digests=False)))  # noqa: SLF001
        group = status.group
        if group is None or group.leader is None or group.leader == status.id:
            return status if group is not None and group.leader == status.id else None
        addresses = [member.address for member in group.members if member.id == group.leader]
        if not addresses:
            return None
        # Imported here: a client is a store, and a store has a cluster.
        from kvstore.aio.client import AsyncClient  # noqa: PLC0415

        async with AsyncClient(addresses, discover=False, **self._store._access()) as client:  # noqa: SLF001
            return await client.status()

    async def move_leader(self, node_id: Optional[str] = None, *, timeout: Timeout = DEFAULT) -> str:
        """Let another node lead the strong group; the new leader's id.

        Args:
            node_id: Which, as members() tells it; None: whoever is best at it.
            timeout: As for every call.

        Raises:
            InvalidArgumentError: It has no vote (code UNKNOWN_MEMBER).
        """
        return cast("str", await self._store._run(Request.move_leader(node_id), timeout))  # noqa: SLF001

    def add(self, address: str, node_id: Optional[str] = None) -> None:  # noqa: ARG002 - nodes join by themselves
        """Nodes join a cluster, and its strong group, by their `peers`.

        Raises:
            UnsupportedError: Always.
        """
        msg = "cluster.add(): start the node with `peers`; it joins by itself"
        raise UnsupportedError(msg)

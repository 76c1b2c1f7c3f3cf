"""The members of a cluster, and what can be done about them.

`kvstore/aio/cluster.py` is made from this file by scripts/generate_aio.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Optional, Tuple, cast

from kvstore._core import Request
from kvstore._options import DEFAULT
from kvstore.errors import UnsupportedError

if TYPE_CHECKING:
    from kvstore._options import Timeout
    from kvstore.status import MemberStatus, NodeStatus
    from kvstore.store import Store

__all__ = ["Cluster"]


class Cluster:
    """The members that the contacted node knows; from `Store.cluster`.

    Example:
        >>> for member in db.cluster.members():
        ...     if member.state == "dead":
        ...         db.cluster.remove(member.id)
    """

    def __init__(self, store: Store[Any]) -> None:
        self._store = store

    def members(self, *, timeout: Timeout = DEFAULT) -> Tuple[MemberStatus, ...]:
        """The members that the contacted node knows, itself first, dead ones too."""
        return cast("Tuple[MemberStatus, ...]", self._store._run(Request.members(), timeout))  # noqa: SLF001

    def remove(self, node_id: str, *, force: bool = False, timeout: Timeout = DEFAULT) -> None:
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
        self._store._run(Request.remove_member(node_id, force), timeout)  # noqa: SLF001

    def leader(self) -> Optional[NodeStatus]:
        """Of the strong group.

        Raises:
            UnsupportedError: There is none yet.
        """
        _refuse("leader")

    def add(self, address: str, node_id: Optional[str] = None) -> None:  # noqa: ARG002 - not there yet
        """To the strong group.

        Raises:
            UnsupportedError: There is none yet; a node joins a cluster by its `peers`.
        """
        _refuse("add")

    def move_leader(self, node_id: Optional[str] = None) -> str:  # noqa: ARG002 - not there yet
        """Of the strong group.

        Raises:
            UnsupportedError: There is none yet.
        """
        _refuse("move_leader")


def _refuse(call: str) -> NoReturn:
    msg = f"cluster.{call}(): an eventual cluster has no leader and no voters; nodes join by their peers"
    raise UnsupportedError(msg)

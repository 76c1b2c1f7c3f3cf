"""Whether a cluster is well, who leads it, and what to tell of it when a test has failed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Callable, Dict, Final, List, Optional, Sequence

from kvstore.errors import DeadlineError, KVError

if TYPE_CHECKING:
    from kvstore.status import GroupStatus, NodeStatus
    from kvstore.testing.member import Member

# More voters the strong group never has.
_VOTERS_MAX: Final = 7

_LOOK_SECONDS: Final = 0.005

# A look that takes longer was interrupted: a node that does not answer is given up earlier.
_LOOK_SECONDS_MAX: Final = 2.5


def wait_until(problems: Callable[[], List[str]], what: str, timeout: float) -> None:
    """Wait until there is no problem. Time in which this process itself stood still does not count.

    Raises:
        DeadlineError: There still is one; it says which.
    """
    waited, looked, pause = 0.0, time.monotonic(), threading.Event()
    while True:
        found = problems()
        if not found:
            return
        if waited >= timeout:
            msg = f"{what}: not within {timeout:g} s: {'; '.join(found)}"
            raise DeadlineError(msg)
        pause.wait(_LOOK_SECONDS)
        now = time.monotonic()
        waited += min(now - looked, _LOOK_SECONDS_MAX)
        looked = now


def statuses(members: Sequence[Member], *, digests: bool = False) -> Dict[int, NodeStatus]:
    """How those nodes are that run and answer."""
    found: Dict[int, NodeStatus] = {}
    for index, member in enumerate(members):
        if member.running and not member.paused:
            try:
                found[index] = member.status(digests=digests)
            except KVError:
                # It answers nothing, which is all there is to say of it.
                continue
    return found


def leaders(members: Sequence[Member]) -> List[int]:
    """The nodes that say that they lead, that of the newest term first."""
    groups = {index: status.group for index, status in statuses(members).items()}
    found = [(group.term, index) for index, group in groups.items() if group is not None and group.role == "leader"]
    return [index for _, index in sorted(found, reverse=True)]


def group_problems(members: Sequence[Member]) -> List[str]:
    """Why not all nodes are in one strong group under one leader; empty: they are."""
    found = statuses(members)
    problems = [_absence(index, member) for index, member in enumerate(members) if index not in found]
    return problems or _group_problems(found)


def health_problems(members: Sequence[Member]) -> List[str]:
    """Why the cluster is not well; empty: all are up and agree."""
    found = statuses(members, digests=True)
    problems = [_absence(index, member) for index, member in enumerate(members) if index not in found]
    if problems:
        return problems
    problems = _group_problems(found)
    for index, status in found.items():
        if not status.healthy:
            problems.append(f"node {index} is not healthy: {', '.join(status.problems) or 'not ready'}")
        connected = sum(peer.state == "connected" for peer in status.peers)
        if connected < len(members) - 1:
            problems.append(f"node {index} is connected with {connected} of {len(members) - 1} others")
    if len({status.digests for status in found.values()}) > 1:
        problems.append("replicas of the eventual keyspace differ")
    if len({(group.applied_index, group.log_hash) for group in _groups(found)}) > 1:
        problems.append("replicas of the strong keyspaces differ")
    return problems


def _absence(index: int, member: Member) -> str:
    state = "is paused" if member.paused else "does not answer" if member.running else "does not run"
    return f"node {index} {state}"


def _groups(found: Dict[int, NodeStatus]) -> List[GroupStatus]:
    return [status.group for status in found.values() if status.group is not None]


def _group_problems(found: Dict[int, NodeStatus]) -> List[str]:
    groups, ids = _groups(found), {status.id for status in found.values()}
    problems = [
        f"node {index} sees no leader{_because(status.group)}"
        for index, status in found.items()
        if status.group is None or status.group.leader is None
    ]
    if len({(group.leader, group.term) for group in groups}) > 1:
        problems.append("they do not agree on a leader")
    wanted = min(len(ids), _VOTERS_MAX)
    for index, status in found.items():
        voters = {member.id for member in status.group.members if member.votes} if status.group else set()
        # Votes of former lives of a node count as if they were those of others.
        if len(voters & ids) < wanted or voters - ids:
            problems.append(f"node {index} sees {len(voters & ids)} of {wanted} voters of the strong group")
    return problems


def _because(group: Optional[GroupStatus]) -> str:
    return f" ({group.problem})" if group is not None and group.problem else ""


def describe(members: Sequence[Member]) -> List[str]:
    """A line a node, for people."""
    found = statuses(members)
    lines = []
    for index, member in enumerate(members):
        status = found.get(index)
        if status is None:
            lines.append(f"{_absence(index, member)}; it was at {member.address or 'no address'}")
            continue
        group = status.group
        strong = f"applied {group.applied_index} in term {group.term}" if group is not None else "no strong group"
        peers = ", ".join(f"{peer.address} {peer.state}" for peer in status.peers) or "no peers"
        told = f"; problems: {', '.join(status.problems)}" if status.problems else ""
        lines.append(
            f"node {index}: {status.id} at {status.address}, {status.role}, {status.keys} keys, {strong}, {peers}{told}"
        )
    return lines

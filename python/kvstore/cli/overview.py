"""What `status` shows people of a cluster beside its nodes: a line about the whole, and its keyspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import kvstore

from .output import Column, human_bytes, print_records, report_note

if TYPE_CHECKING:
    from kvstore import NodeStatus

    from .settings import Settings

# Seconds. Whoever asks how the cluster is wants to know soon, also when no majority of it is there.
_PATIENCE = 1.0

_COLUMNS = [
    Column("KEYSPACE", lambda record: str(record["name"])),
    Column("CONSISTENCY", lambda record: str(record["consistency"])),
    Column("KEYS", lambda record: f"{record['keys']:,}", right=True),
    Column("SIZE", lambda record: human_bytes(record["bytes"]), right=True),
    Column("CONFLICTS", lambda record: f"{record['conflicts']:,}", right=True),
]


def headline(members: int, answers: Sequence[NodeStatus]) -> str:
    """One line about a cluster of so many members, by those that answered."""
    name = answers[0].cluster if answers else "?"
    healthy = sum(not status.problems for status in answers)
    return f"CLUSTER {name}  {healthy}/{members} healthy  {leader_of(answers)}"


def leader_of(answers: Sequence[NodeStatus]) -> str:
    """Who leads, by those that answered."""
    leading = [status for status in answers if status.group and status.group.role == "leader"]
    if not leading:
        return "no leader"
    # One that was cut off may believe that it still leads.
    latest = max(leading, key=lambda status: status.group.term if status.group else 0)
    return f"leader {latest.address}"


def print_keyspaces(settings: Settings) -> None:
    """A table of the keyspaces, as the contacted node sees them; a note where the group that knows them is away."""
    try:
        with settings.client() as client:
            found = client.with_options(timeout=_PATIENCE).keyspaces()
    except kvstore.KVError as error:
        report_note(settings, f"keyspaces: {error}")
        return
    print_records(settings, "keyspaces", _COLUMNS, (info._asdict() for info in found))

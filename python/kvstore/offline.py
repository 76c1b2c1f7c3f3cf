"""What is done with files alone, without a node: checking and restoring snapshots, looking at data directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple

from kvstore import _core
from kvstore._options import absolute

if TYPE_CHECKING:
    from kvstore._options import Path

__all__ = [
    "DirectoryReport",
    "SegmentReport",
    "SnapshotReport",
    "examine_data_dir",
    "restore_snapshot",
    "verify_snapshot",
]


class SnapshotReport(NamedTuple):
    """What is readable in a snapshot file.

    `node` wrote it for its `cluster`, at `created` (seconds since the Unix epoch); None: not even that is readable.
    `blocks`, `records` and `payload_bytes` count what comes before the first damage; `damaged_at` is the byte where
    that begins and `damage` says what is wrong there: None, both, when the snapshot is whole.
    """

    path: str
    file_bytes: int
    node: Optional[str]
    cluster: Optional[str]
    created: Optional[float]
    blocks: int
    records: int
    payload_bytes: int
    damaged_at: Optional[int]
    damage: Optional[str]

    @property
    def valid(self) -> bool:
        """Whether it is whole."""
        return self.damage is None


class SegmentReport(NamedTuple):
    """What is readable in one file of a log.

    `entries` and `readable_bytes` count what comes before the first damage. `torn_at` is where a crash tore the end of
    the log off: no damage, the next start cuts it. `damaged_at` and `damage` are None when all is well.
    """

    path: str
    readable_bytes: int
    entries: int
    torn_at: Optional[int]
    damaged_at: Optional[int]
    damage: Optional[str]


class DirectoryReport(NamedTuple):
    """What the data directory of a node holds.

    `in_use`: a node works with it now, so that the end of its log may look torn. `set_aside` are files that were
    damaged at a start; nothing reads them any more. `problems` says in words what is wrong.
    """

    path: str
    node: Optional[str]
    cluster: Optional[str]
    in_use: bool
    snapshots: Tuple[SnapshotReport, ...]
    segments: Tuple[SegmentReport, ...]
    set_aside: Tuple[str, ...]
    problems: Tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether a node would start with it, and find everything."""
        return not self.problems


def verify_snapshot(path: Path) -> SnapshotReport:
    """Read a whole snapshot file and tell what of it is readable. That it is damaged is no error.

    Raises:
        UnavailableError: It cannot be read (code DISK_FAILED).
        UnsupportedError: A later version of this software wrote it.
    """
    return _core.verify_snapshot(absolute(path))


def restore_snapshot(path: Path, data_dir: Path, cluster: str) -> str:
    """Make the data directory of a new node out of a snapshot; the id of the node.

    The node begins a cluster: give it a name that no other has. Start it with this directory, then let empty nodes
    join.

    Args:
        path: The snapshot.
        data_dir: An empty directory, or one that is not there yet.
        cluster: The name of the new node's cluster.

    Raises:
        CorruptError: The snapshot is damaged; nothing was made.
        InvalidArgumentError: The directory is not empty, or no cluster can have such a name.
        UnavailableError: The disk refuses (code DISK_FULL or DISK_FAILED), or a node works there.
    """
    return _core.restore_snapshot(absolute(path), absolute(data_dir), cluster)


def examine_data_dir(path: Path) -> DirectoryReport:
    """Look at the data directory of a node, running or not, without changing it.

    Raises:
        InvalidArgumentError: There is no such directory, or it holds no node.
        UnavailableError: It cannot be read.
    """
    return _core.examine_data_dir(absolute(path))

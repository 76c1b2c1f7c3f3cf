"""Nodes that keep their data on disk, and disks that can be filled and cut off."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import pytest

from kvstore.cli.processes import NodeProcess

from .harness import DEADLINE_SECONDS, Cluster, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

# EXT4_IOC_SHUTDOWN, and EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more reaches the disk, the journal included.
_EXT4_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = (2).to_bytes(4, sys.byteorder)


class DurableCluster(Cluster):
    """As Cluster, but each node has a directory below `root`, and comes back as who it is."""

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        super().__init__()
        self.root = root
        self.options = list(options)

    def directory(self, index: int) -> Path:
        """Of one node."""
        return self.root / f"node-{index}"

    def _launch(self, index: int, port: int, peers: Sequence[str], options: Sequence[str] = ()) -> NodeProcess:
        place = ["--data-dir", str(self.directory(index))]
        return NodeProcess.start(port, peers, [*place, *self.options, *options], DEADLINE_SECONDS)

    def stop_node(self, index: int) -> None:
        """SIGTERM, and wait for an end in order."""
        assert self.nodes[index].stop(DEADLINE_SECONDS) == 0, self.nodes[index].last_words()

    def wait_ready(self, index: int) -> None:
        """Wait until it has caught up."""
        with self.client(index) as client:
            eventually(lambda: client.status().ready, f"node {index} has caught up")

    def storage(self, index: int) -> Any:
        """What a node says of its storage."""
        with self.client(index) as client:
            return client.status().storage


class Mount:
    """A file system of its own, mounted at `path`; gone at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def mount(self, *arguments: str) -> None:
        """Mount it; the test is skipped where that is not allowed."""
        done = subprocess.run(["mount", *arguments, str(self.path)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        """Take it away; processes that have just died may hold it a moment longer."""
        command = ["umount", str(self.path)]
        eventually(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, "it is unmounted")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        if os.path.ismount(self.path):
            self.unmount()


def small_disk(path: Path, megabytes: int) -> Mount:
    """One that is soon full."""
    _need_root("mount")
    mount = Mount(path)
    mount.mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs")
    return mount


class PowerDisk(Mount):
    """An ext4 whose power can be cut: what was not synced is gone.

    By default ext4 hides a rename of content that was never synced; `noauto_da_alloc` takes that away.
    """

    def __init__(self, path: Path, megabytes: int = 128) -> None:
        _need_root("mount", "mkfs.ext4")
        super().__init__(path)
        self._image = path.with_suffix(".img")
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], capture_output=True, check=True)
        self.power_on()

    def power_on(self) -> None:
        """Mount it, which replays its journal."""
        self.mount("-o", "loop,noauto_da_alloc", str(self._image))

    def cut(self) -> None:
        """From now on nothing reaches the disk, and every call of the file system fails."""
        directory = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _EXT4_SHUTDOWN, _NO_LOG_FLUSH)
        except OSError as error:
            pytest.skip(f"the power of a file system cannot be cut here: {error}")
        finally:
            os.close(directory)


def _need_root(*programs: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount file systems")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def flip_bit(path: Path, offset: int) -> None:
    """Damage one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def log_files(directory: Path) -> List[Path]:
    """The segments of a node's log, in order."""
    return sorted((directory / "log").glob("*.log"))


def contents(client: Any, prefix: str = "") -> Dict[str, Any]:
    """What a node has, versions included."""
    return {entry.key: (entry.value, entry.version, entry.expires) for entry in client.scan(prefix)}


def first_difference(one: Dict[str, Any], other: Dict[str, Any]) -> Optional[str]:
    """A key in which they differ."""
    return next((key for key in sorted({*one, *other}) if one.get(key) != other.get(key)), None)

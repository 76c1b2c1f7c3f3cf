"""Three processes whose clocks disagree: what is stamped too far ahead is refused, named, and taken once it is time."""

from __future__ import annotations

import pathlib
from typing import Any, List, Optional, Tuple

import pytest

from .harness import Cluster, eventually

# The bound is small, so that the clocks of the others reach what was stamped ahead within the test.
MAX_DRIFT_SECONDS = 2
OFFSETS_SECONDS = (0, 15, -15)


def _library() -> Optional[str]:
    """The libfaketime for programs with threads, where distributions put it."""
    roots = ("lib/*", "lib", "lib64", "local/lib")
    found = [path for root in roots for path in pathlib.Path("/usr").glob(f"{root}/faketime/libfaketimeMT.so.1")]
    return str(found[0]) if found else None


LIBRARY = _library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (package: faketime)")


def _set_offset(file: pathlib.Path, seconds: int) -> None:
    file.write_text(f"{seconds:+d}s\n")


@pytest.fixture
def skewed(
    cluster: Cluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Tuple[Cluster, List[pathlib.Path]]:
    """A cluster of three, and the file of each that says how far its clock is off."""
    assert LIBRARY is not None
    monkeypatch.setenv("LD_PRELOAD", LIBRARY)
    # The file is read again at each look at the clock, so that a clock can be set right while its process runs.
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    # Timers go on by the monotonic clock, as they do when somebody sets the wall clock.
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    files = []
    for number, offset in enumerate(OFFSETS_SECONDS):
        file = tmp_path / f"offset{number}"
        _set_offset(file, offset)
        monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
        options = ["--max-drift", str(MAX_DRIFT_SECONDS)]
        cluster.add([node.address for node in cluster.nodes], options)
        files.append(file)
    monkeypatch.delenv("LD_PRELOAD")
    cluster.wait_connected()
    return cluster, files


def _peer(cluster: Cluster, index: int, of: int) -> Any:
    """How one node sees another."""
    with cluster.client(index) as client:
        peers = client.status().peers
    return next(peer for peer in peers if peer.address == cluster.address(of))


def test_writes_stamped_too_far_ahead_are_refused_named_and_taken_later(
    skewed: Tuple[Cluster, List[pathlib.Path]],
) -> None:
    cluster, files = skewed
    for index, key in enumerate(("right", "ahead", "behind")):
        with cluster.client(index) as client:
            client.put(key, index)
    cluster.wait_value(1, "right", 0)
    cluster.wait_value(1, "behind", 2)
    cluster.wait_value(0, "behind", 2)
    seen = eventually(lambda: _refused(cluster, 0, 1), "the node ahead is named by the one that is right")
    assert MAX_DRIFT_SECONDS < seen.refused <= 15.5
    # Measured again and again, and wrong by as much as a question took on a busy machine.
    eventually(lambda: 14 < _peer(cluster, 0, 1).clock_offset < 16, "it knows by how much that is ahead")
    eventually(lambda: _peer(cluster, 1, 0).refuses > 0, "the node ahead knows that it is refused")
    eventually(lambda: _refused(cluster, 2, 0), "the node behind refuses the one that is right")
    with cluster.client(0) as client:
        assert client.get("ahead") is None
        assert client.status().refused_writes > 0

    for file in files:
        _set_offset(file, 0)
    for index in range(3):
        for key, value in (("right", 0), ("ahead", 1), ("behind", 2)):
            cluster.wait_value(index, key, value, timeout=60)
    cluster.wait_equal()
    eventually(lambda: not _refused(cluster, 0, 1), "nothing is refused any more")


def _refused(cluster: Cluster, index: int, of: int) -> Any:
    """How one node sees another whose writes it refuses; None: it refuses none."""
    peer = _peer(cluster, index, of)
    return peer if peer.refused else None

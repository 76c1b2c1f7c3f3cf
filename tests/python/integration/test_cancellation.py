"""Calls that are given up at random, by tasks and by threads: nobody gets the answer of another, and nothing is left.

KVSTORE_CANCELLED_CALLS is how many calls there are; `make cancellations` makes it 100,000.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from . import cancelled

if TYPE_CHECKING:
    from .harness import Cluster

CALLS = int(os.environ.get("KVSTORE_CANCELLED_CALLS", "10000"))


@pytest.mark.timeout(max(270, CALLS // 100))
def test_an_answer_goes_to_whoever_asked(cluster: Cluster) -> None:
    cluster.start(1)
    seed = random.randrange(1_000_000)
    command = [sys.executable, "-W", "error", cancelled.__file__, cluster.address(0), str(CALLS), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(240, CALLS // 100), check=False)
    assert (done.returncode, done.stderr) == (0, ""), (seed, done.stderr[-4000:])
    found = {name: int(count) for name, _, count in (part.partition("=") for part in done.stdout.split())}
    sys.stdout.write(f"seed {seed}: {found}\n")
    assert found["answered"] + found["cancelled"] + found["late"] >= CALLS
    # Enough of each to show anything.
    assert min(found["answered"], found["cancelled"]) > CALLS // 10, found
    assert found["late"] > 10, found
    assert (found["files"], found["futures"]) == (0, 0), found

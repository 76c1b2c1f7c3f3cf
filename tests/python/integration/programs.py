"""Programs that tests run in processes of their own, because they are about the whole process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Optional, Sequence

# Generous: it bounds how long a broken build hangs, not how long a good one takes.
PROGRAM_SECONDS = 60.0


def run_program(
    code: str, arguments: Sequence[str] = (), timeout: float = PROGRAM_SECONDS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Unclosed things are told; that a fork has threads beside it is what the tests are about."""
    warnings = ["-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *warnings, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)


def assert_silent(done: subprocess.CompletedProcess[str], output: Optional[str] = None, code: int = 0) -> None:
    """It ended as expected, and wrote nothing but that."""
    assert (done.returncode, done.stderr) == (code, ""), done
    if output is not None:
        assert done.stdout.strip() == output

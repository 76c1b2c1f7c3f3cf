"""The code in README.md and docs/ does what the pages say: `blocks` tells how it is marked, `page` how it is run."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import List, Tuple

import pytest

from .blocks import RUN, blocks_of

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
SECONDS = 280.0


def pages() -> List[pathlib.Path]:
    """Those with code that is run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if any(is_run(block.language, block.how) for block in blocks_of(page))]


def is_run(language: str, how: str) -> bool:
    return language in RUN and not how.startswith("skip: ")


# Nothing in a page waits for a clock; the time is for three interpreters that share a busy machine.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # In a process of its own: programs of users change what is there once a process. What they print goes to a file, so
    # that nobody waits for a pipe which something that was left behind holds open.
    log = tmp_path / "log"
    work = tmp_path / "work"
    work.mkdir()
    with log.open("wb") as output:
        run = subprocess.run(
            [sys.executable, str(HERE / "page.py"), str(page)],
            cwd=work,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    assert run.returncode == 0, log.read_text("utf-8", "replace")


def test_little_is_skipped() -> None:
    found: List[Tuple[str, int, str]] = []
    run = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        blocks = [block for block in blocks_of(page) if block.language in RUN]
        run += sum(is_run(block.language, block.how) for block in blocks)
        found += [(page.name, block.line, block.how) for block in blocks if block.how.startswith("skip: ")]
    assert run > 40
    assert len(found) <= 6, found

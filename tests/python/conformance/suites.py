"""Where the sources of host libraries are whose own tests run here: scripts/fetch-suites puts them there."""

from __future__ import annotations

import pathlib
import sys

import pytest

_SUITES = pathlib.Path(__file__).resolve().parents[3] / "target" / "suites"


def suite(name: str, *parts: str) -> pathlib.Path:
    """The folder of a released source; skips the module when it was not fetched."""
    found = [path for path in _SUITES.glob(f"{name}-*") if path.is_dir()]
    if not found:
        pytest.skip(f"{name}: scripts/fetch-suites was not run", allow_module_level=True)
    return found[0].joinpath(*parts)


def importable(path: pathlib.Path) -> None:
    """Have what is in a folder imported by its own name."""
    if str(path) not in sys.path:
        sys.path.append(str(path))

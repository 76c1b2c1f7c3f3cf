"""Where a user's files are: `XDG_*` where it is set, else as the platform has it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_NAME = "kvstore"


def contexts_file() -> Path:
    """The named targets of `kvstore context`."""
    return _directory("XDG_CONFIG_HOME", Path(".config"), "APPDATA") / "contexts.json"


def history_file() -> Path:
    """What was typed into `kvstore shell`."""
    return _directory("XDG_STATE_HOME", Path(".local", "state"), "LOCALAPPDATA") / "history"


def settings_file() -> Path:
    """The settings of a directory: of nodes, and under `[client]` those of the command line."""
    return Path("kvstore.toml")


def _directory(variable: str, elsewhere: Path, on_windows: str) -> Path:
    if os.environ.get(variable):
        return Path(os.environ[variable]) / _NAME
    if sys.platform == "win32":
        return Path(os.environ.get(on_windows) or Path.home()) / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _NAME
    return Path.home() / elsewhere / _NAME

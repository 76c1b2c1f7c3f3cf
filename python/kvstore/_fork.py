"""What a forked child inherits and cannot use. One hook for the whole module, however many objects there are."""

from __future__ import annotations

import contextlib
import os

from kvstore import _core

_generation = 0


def generation() -> int:
    """How many forks lie between this process and the one that imported kvstore."""
    return _generation


def _in_child() -> None:
    global _generation  # noqa: PLW0603  # there is one process
    for file in _core.after_fork_in_child():
        # A port or a lock of the parent, which would stay taken for as long as this process lives.
        with contextlib.suppress(OSError):
            os.close(file)
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

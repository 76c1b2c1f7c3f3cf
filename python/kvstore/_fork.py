"""What a forked child inherits and cannot use. One hook for the whole module, however many objects there are."""

from __future__ import annotations

import contextlib
import os

from kvstore import _core
from kvstore._options import Retry

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


def make_kept() -> None:
    """Make what the native module keeps of Python from its first use on, once the package is whole.

    A child that is forked while another thread makes one would wait for that thread, which it does not have.
    """
    if hasattr(os, "register_at_fork"):
        _core.make_imports()
        # The names of its options.
        _core.Client(["127.0.0.1:1"], Retry(), None, False, None)  # noqa: FBT003 - by position, as it takes them


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

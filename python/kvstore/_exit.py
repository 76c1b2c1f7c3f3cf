"""The end of the interpreter: nodes that still run hand over what they have and stop, `logging` gets the last of it.

The clients' threads need no end: they never touch Python, and end with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import TYPE_CHECKING, Final, Set

from kvstore import _core, _log
from kvstore.errors import KVError

if TYPE_CHECKING:
    from kvstore.node import Node

_STOP_SECONDS: Final = 2.0

_running: Set[Node] = set()


def keep(node: Node) -> None:
    """Keep a node alive while it runs, as a thread is, and stop it at the end."""
    _running.add(node)


def release(node: Node) -> None:
    """It was stopped."""
    _running.discard(node)


def _stop_nodes() -> None:
    for node in list(_running):
        # A child inherited it, or it was cut short: the process ends anyway, and there is nobody left to tell.
        with contextlib.suppress(KVError):
            node.stop(_STOP_SECONDS)
    _log.end()


# Runs before the interpreter waits for its threads, so that one which waits for a node to end does not wait for ever.
_register = getattr(threading, "_register_atexit", atexit.register)
_register(_stop_nodes)
# Runs after that wait: only daemon threads are left, which end where they are.
atexit.register(_core.end_calls)

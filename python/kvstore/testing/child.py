"""A node in a process of its own: `python -m kvstore.testing.child`, spoken to by `kvstore.testing.process`.

One JSON object a line, in both directions: the first one in says what node to start, each is answered by one out. When
the input ends, whoever started it is gone, and so is the node, at once.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable, Dict

from kvstore import _core
from kvstore._security import TLS
from kvstore.config import NodeConfig
from kvstore.errors import KVError
from kvstore.node import Node


def main() -> None:
    """Start the node, then do as told until the end of the input."""
    first = sys.stdin.readline()
    if not first:
        return
    order: Dict[str, Any] = json.loads(first)
    faults = _core.Faults(order["seed"])
    faults.block(order["blocked"])
    faults.slow(*order["slowness"])
    faults.advance(order["ahead"])
    _core.log_to_stderr()
    config: Dict[str, Any] = order["config"]
    if config["tls"] is not None:
        # JSON knows no tuples with names.
        config["tls"] = TLS(*config["tls"])
    node = Node._of(NodeConfig(**config), faults)  # noqa: SLF001
    _answer(lambda: {"address": node.start().address})

    def ready(timeout: float) -> None:
        node.start(wait="ready", timeout=timeout)

    actions: Dict[str, Callable[..., object]] = {
        "block": faults.block,
        "slow": faults.slow,
        "advance": faults.advance,
        "ready": ready,
        "stop": node.stop,
    }
    for line in sys.stdin:
        name, arguments = json.loads(line)
        _answer(lambda: {"done": actions[name](*arguments)})  # noqa: B023 - called before the next turn
        if name == "stop":
            return
    # Not in good order: nobody is left who would wait for it.
    os._exit(0)


def _answer(action: Callable[[], Dict[str, object]]) -> None:
    try:
        answer = action()
    except KVError as error:
        answer = {"error": type(error).__name__, "code": error.code, "text": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A TCP relay in this process that can be cut: what it carries breaks, and nobody gets through until it is healed.

It can also swallow what the target answers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Callable, Optional, Set

_CHUNK_BYTES = 64 * 1024


class Proxy:
    """Listens on a port of its own and relays to `target`, once there is one and while it is not cut."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.target: Optional[int] = None
        self._is_cut = False
        self._is_mute = False
        # Guards the sockets in use and whether there may be more.
        self._lock = threading.Lock()
        self._sockets: Set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection, and let none through from now on."""
        with self._lock:
            self._is_cut = True
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Let connections and answers through again."""
        with self._lock:
            self._is_cut = self._is_mute = False

    def mute(self) -> None:
        """Swallow answers from now on. What is connected is of no more use: cut it before it is healed."""
        self._is_mute = True

    def close(self) -> None:
        """End it."""
        self.cut()
        # Wakes the thread that accepts, which closing alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inbound, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(inbound,), daemon=True).start()

    def _relay(self, inbound: socket.socket) -> None:
        with inbound:
            if self._is_cut or self.target is None:
                return
            try:
                outbound = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with outbound:
                if not self._enter(inbound, outbound):
                    return
                back = threading.Thread(target=_pump, args=(outbound, inbound, lambda: self._is_mute), daemon=True)
                back.start()
                _pump(inbound, outbound)
                back.join()
                with self._lock:
                    self._sockets -= {inbound, outbound}

    def _enter(self, *sockets: socket.socket) -> bool:
        with self._lock:
            if not self._is_cut:
                self._sockets.update(sockets)
            return not self._is_cut


def _pump(source: socket.socket, sink: socket.socket, is_mute: Callable[[], bool] = lambda: False) -> None:
    """Carry bytes, or swallow them, until one side ends; then both end."""
    with contextlib.suppress(OSError):
        while True:
            chunk = source.recv(_CHUNK_BYTES)
            if not chunk:
                break
            if not is_mute():
                sink.sendall(chunk)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)

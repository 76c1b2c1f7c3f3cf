"""Ports that stay those of a node while it does not run."""

from __future__ import annotations

import socket
import sys
from typing import Tuple

from kvstore.errors import UnavailableError


def reserve(host: str) -> Tuple[socket.socket, int]:
    """A free port of a host, and the socket that keeps others from getting it until it is closed.

    Linux gives it to no other listener and to no outgoing connection. A node can listen there all the same: it names
    the port, and both allow it (SO_REUSEADDR), for this one never listens. Elsewhere nothing keeps the port.

    Raises:
        UnavailableError: There is none (code BIND_FAILED).
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        guard = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unavailable(host, error) from error
    try:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.bind(address)
    except OSError as error:
        guard.close()
        raise _unavailable(host, error) from error
    port = int(guard.getsockname()[1])
    if not sys.platform.startswith("linux"):
        guard.close()
    return guard, port


def _unavailable(host: str, error: OSError) -> UnavailableError:
    return UnavailableError(f"no port of {host!r} can be had: {error}", code="BIND_FAILED")

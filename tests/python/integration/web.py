"""Asking a node over plain HTTP: as a well-behaved program does, and byte by byte as nobody should."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional

from .harness import DEADLINE_SECONDS

if TYPE_CHECKING:
    import ssl

HOST = "127.0.0.1"


class Reply(NamedTuple):
    """An answer; the names of its headers are in small letters."""

    status: int
    body: str
    headers: Dict[str, str]


def taken(response: http.client.HTTPResponse) -> Reply:
    """All of an answer."""
    body = response.read().decode()
    return Reply(response.status, body, {name.lower(): value for name, value in response.getheaders()})


def ask(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Optional[Dict[str, str]] = None,
    tls: Optional[ssl.SSLContext] = None,
) -> Reply:
    """One request on a connection of its own."""
    if tls is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE_SECONDS)
    else:
        connection = http.client.HTTPSConnection(HOST, port, timeout=DEADLINE_SECONDS, context=tls)
    try:
        connection.request(method, path, headers=headers or {})
        return taken(connection.getresponse())
    finally:
        connection.close()


def call(port: int) -> socket.socket:
    """A connection on which nothing was said yet."""
    return socket.create_connection((HOST, port), timeout=DEADLINE_SECONDS)


def rest(connection: socket.socket) -> bytes:
    """What comes until the node closes the connection."""
    found = b""
    # Reset because what we sent was not read: that is an end, too.
    with contextlib.suppress(ConnectionError):
        while True:
            piece = connection.recv(65536)
            if not piece:
                break
            found += piece
    return found


def raw(port: int, data: bytes) -> bytes:
    """What a node answers to these bytes until it closes the connection."""
    with call(port) as connection:
        # Closed before it had read all: the answer says why.
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return rest(connection)

"""ui: the dashboard of a node, in a browser."""

from __future__ import annotations

import http.client
import os
import ssl
import sys
import webbrowser
from typing import Any, Final

import click

from .exits import NOT_FOUND, Failure
from .output import print_record
from .settings import Settings, verb
from .stat import one_of

# What a node answers at /healthz: well, or not.
_HEALTH: Final = (200, 503)


@verb()
@click.option("--print", "only_print", is_flag=True, help="Print the address of the dashboard, and open nothing.")
def ui(settings: Settings, *, only_print: bool) -> None:
    """Open the dashboard of the contacted node in a browser, or print its address where there is no display.

    Exit 1 when the node serves no HTTP, and 3 when it cannot be reached.
    """
    address = one_of(settings)
    is_tls = "tls" in settings.access()
    if not _serves_http(address, settings.timeout, is_tls=is_tls):
        # Whether it is there at all.
        with settings.client(address) as client:
            client.ping()
        msg = f"{address} serves no HTTP: start the node with the setting `http`, see `kvstore serve --help`"
        raise Failure(msg, NOT_FOUND)
    url = f"{'https' if is_tls else 'http'}://{address}/"
    if only_print or not _has_display() or not webbrowser.open(url):
        print_record(settings, {"url": url}, url)


def _serves_http(address: str, timeout: float, *, is_tls: bool) -> bool:
    """Whether a node answers a browser. Nothing secret is sent, so it is not asked who it is."""
    kinds: Any = {"timeout": timeout}
    if is_tls:
        kinds["context"] = ssl.create_default_context()
        kinds["context"].check_hostname = False
        kinds["context"].verify_mode = ssl.CERT_NONE
    connection = (http.client.HTTPSConnection if is_tls else http.client.HTTPConnection)(address, **kinds)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status in _HEALTH
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _has_display() -> bool:
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))

"""The token of the cluster: out of a file, a variable or a URL, never an argument of its own, and never shown."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Dict, Final, Tuple
from urllib.parse import parse_qsl, unquote, urlencode

from .exits import USAGE, Failure

TOKEN_VARIABLE: Final = "KVSTORE_TOKEN"  # noqa: S105 - the name of a variable

_USER: Final = re.compile(r"(?P<scheme>[a-z]+://):(?P<token>[^/?]+)@")
_ANY_USER: Final = re.compile(r"//.*@", re.DOTALL)


def split_server(server: str) -> Tuple[str, Dict[str, str]]:
    """A target without what a URL says of `tls` and `token`, and that."""
    said: Dict[str, str] = {}
    match = _USER.match(server)
    if match is not None:
        said["token"] = unquote(match["token"])
        server = match["scheme"] + server[match.end() :]
    scheme, separator, rest = server.partition("://")
    if not separator:
        return server, said
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "tls" not in options:
        return server, said
    said["tls"] = options.pop("tls")
    return f"{scheme}://{place}" + (f"?{urlencode(options)}" if options else ""), said


def without_token(server: str) -> str:
    """A target as it may be shown."""
    return _ANY_USER.sub("//:***@", server)


def read_token(path: str) -> str:
    """What a file says, without the end of its line.

    Raises:
        Failure: It cannot be read, is empty, or others than its owner can read it.
    """
    file = Path(path).expanduser()
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        msg = f"the token file {file} cannot be read: {why}"
        raise Failure(msg, USAGE) from error
    # On Windows the bits say nothing.
    if sys.platform != "win32" and stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
        msg = f"the token file {file} is open to others than its owner: chmod 600 {file}"
        raise Failure(msg, USAGE)
    if not text:
        msg = f"the token file {file} is empty"
        raise Failure(msg, USAGE)
    return text

"""Settings of the command line that are kept in files: the context in use, and `[client]` in kvstore.toml.

A context is a name for a target, with the keyspace, read level, timeout, `tls` and token file to use there. Contexts
are in a JSON file of the user; `KVSTORE_CONTEXT` takes another than the one in use, for a while.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Final, List, Mapping, NamedTuple, Optional, Sequence

from .exits import USAGE, Failure
from .params import parse_duration
from .places import contexts_file, settings_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

READS: Final = ("local", "session", "linearizable")
FORMATS: Final = ("table", "json", "jsonl", "plain", "raw")

CONTEXT_VARIABLE: Final = "KVSTORE_CONTEXT"
CONTEXT_SETTINGS: Final = ("server", "keyspace", "read", "timeout", "tls", "token_file")
_TABLE: Final = "client"


class Layer(NamedTuple):
    """What one place says, and the name of the place."""

    origin: str
    values: Mapping[str, Any]
    others: Sequence[str] = ()
    """What the place says besides, which is for nodes."""


class Contexts(NamedTuple):
    """The user's contexts, by name, and which of them is in use."""

    current: Optional[str]
    named: Dict[str, Dict[str, Any]]


def layers() -> List[Layer]:
    """What files say, the nearest first.

    Raises:
        Failure: A file cannot be read, says something that is no setting, or the context is not there.
    """
    return [layer for layer in (_context_layer(), file_layer()) if layer is not None]


def _context_layer() -> Optional[Layer]:
    contexts = read_contexts()
    name = os.environ.get(CONTEXT_VARIABLE) or contexts.current
    if name is None:
        return None
    if name not in contexts.named:
        msg = f"there is no context {name!r}; `kvstore context ls` lists them"
        raise Failure(msg, USAGE)
    return Layer(f"context {name}", contexts.named[name])


def file_layer(file: Optional[Path] = None) -> Optional[Layer]:
    """`[client]` of a file, by default of kvstore.toml in the current directory; None where there is no such file."""
    file = file or settings_file()
    text = _text_of(file)
    if text is None:
        return None
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        msg = f"{file}: {error}"
        raise Failure(msg, USAGE) from error
    client = found.pop(_TABLE, {})
    return Layer(str(file), _checked(client, tuple(_CHECKS), f"{file}, [{_TABLE}]"), list(found))


def read_contexts() -> Contexts:
    """The contexts of the user.

    Raises:
        Failure: The file cannot be read, or is damaged.
    """
    file = contexts_file()
    text = _text_of(file)
    if text is None:
        return Contexts(None, {})
    try:
        document = json.loads(text)
        current, found = document["current"], dict(document["contexts"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{file}: this is no file of contexts: {error}"
        raise Failure(msg, USAGE) from error
    named = {name: _checked(values, CONTEXT_SETTINGS, f"{file}, {name}") for name, values in found.items()}
    return Contexts(current, named)


def write_contexts(contexts: Contexts) -> None:
    """Replace the file in one step: another command finds the old contexts or the new ones, never half of them.

    Raises:
        Failure: It cannot be written.
    """
    file = contexts_file()
    text = json.dumps({"current": contexts.current, "contexts": contexts.named}, indent=2) + "\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made readable by its owner only.
        handle, name = tempfile.mkstemp(prefix=".contexts-", dir=str(file.parent))
        os.close(handle)
        try:
            Path(name).write_text(text, "utf-8")
            Path(name).replace(file)
        except OSError:
            Path(name).unlink()
            raise
    except OSError as error:
        msg = f"cannot write {file}: {error.strerror or error}"
        raise Failure(msg, USAGE) from error


def _text_of(file: Path) -> Optional[str]:
    try:
        return file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        msg = f"cannot read {file}: {error}"
        raise Failure(msg, USAGE) from error


def _checked(found: Any, known: Sequence[str], where: str) -> Dict[str, Any]:
    if not isinstance(found, dict):
        msg = f"{where}: {found!r} is no table of settings"
        raise Failure(msg, USAGE)
    for name in found:
        if name not in known:
            msg = f"{where}: {name}: no such setting; there are {', '.join(known)}"
            raise Failure(msg, USAGE)
    checked = {name: _CHECKS[name](value) for name, value in found.items()}
    for name, value in checked.items():
        if value is None:
            msg = f"{where}: {name}: {found[name]!r} does not fit"
            raise Failure(msg, USAGE)
    return checked


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) and value else None


def _flag(value: Any) -> Optional[bool]:
    return value if isinstance(value, bool) else None


def _seconds(value: Any) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    seconds = parse_duration(value) if isinstance(value, str) else float(value)
    return seconds if seconds is not None and 0 < seconds < float("inf") else None


def _one_of(*words: str) -> Callable[[Any], Optional[str]]:
    return lambda value: value if value in words else None


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "server": _text,
    "keyspace": _text,
    "read": _one_of(*READS),
    "timeout": _seconds,
    "tls": _text,
    "token_file": _text,
    "output": _one_of(*FORMATS),
    "quiet": _flag,
    "color": _flag,
}
"""What each setting must be; None from it says that a value is not."""

"""Settings of a node: keyword over environment over file over default."""

from __future__ import annotations

import os
import pathlib
import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Dict, Literal, Mapping, Optional, Tuple, TypedDict, Union

from kvstore._options import Path, Peers, absolute, check_names, parse_peers, parse_size
from kvstore._security import TLS, tls_of_node, token_of_node
from kvstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from kvstore.status import Consistency

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["NodeConfig", "NodeSettings"]

_FILE = "kvstore.toml"
_CLIENT = "client"
_PREFIX = "KVSTORE_"
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_DURABILITIES = ("sync", "interval", "memory")
_LOGS = ("python", "stderr", "none")
_CONSISTENCIES = ("eventual", "strong")


class NodeSettings(TypedDict, total=False):
    """What a node can be told besides its port and peers; `NodeConfig` says what each means.

    The same names are used in kvstore.toml, and in capitals after `KVSTORE_` in the environment.
    """

    host: str
    advertise: Optional[str]
    cluster: str
    threads: int
    tls: Optional[TLS]
    token: Optional[str]
    insecure: bool
    http: bool
    log: Literal["python", "stderr", "none"]
    max_drift: float
    data_dir: Optional[Path]
    durability: Literal["sync", "interval", "memory"]
    max_memory: Union[None, int, str]  # noqa: RUF036 - as the contract has it
    default_consistency: Consistency
    history_changes: int
    history_bytes: Union[int, str]
    history_age: float


class _Replaced(NodeSettings, total=False):
    """What replace() takes."""

    port: int
    peers: Peers


@dataclass(frozen=True, init=False)
class NodeConfig:
    """Node settings, frozen.

    Args:
        port: To listen on; 0 picks a free one.
        peers: Members to begin with, in any form: "h1:p,h2:p", [7002, ("h", 7003), "h:p"], {id: "h:p"}. One that can be
            reached is enough; the node's own address may be among them.
        **settings: `host`, the interface to listen on (default "127.0.0.1"; one that others reach needs `tls` and
            `token`, or `insecure=True`); `tls`, a TLS with `ca`, `cert` and `key`: clients and peers then have to speak
            TLS, and peers have to present a certificate of `ca`; `token`, what clients and peers have to present, one
            for the whole cluster, which is in no repr, log or status; `http` (default False), whether the node answers
            plain HTTP on its port, too: a dashboard, /metrics, /healthz and /readyz, see docs/dashboard.md;
            `advertise`, the "host:port" by which others reach this node; `cluster`, its name (nodes of another are
            refused); `threads` (0: one for every two cores; the others are for your program); `log`, where the nodes
            and clients of this process report what changed: "none" (the default), "stderr", or "python" (the loggers
            `kvstore.node`, `kvstore.raft` and others of `logging`, see docs/in-your-program.md); `max_drift`, in
            seconds (default 10): writes of peers stamped further ahead of this node's clock are refused until it gets
            there; `data_dir`, a directory in which the node keeps its data and its id over restarts (default None: in
            memory only); `durability`, what a write there waits for: "sync" (the default with a `data_dir`), until it
            is on disk; "interval", for nothing, and the power cut takes about a second; "memory" (the default without
            one), for nothing, and the system decides; `max_memory`, what keys and values may take, as bytes or such as
            "2GB" or "512MiB" (default None: no bound): puts beyond it raise LimitError; `default_consistency`,
            "eventual" (the default) or "strong", what the keyspace `default` is: read when a cluster is first formed,
            which then keeps it for ever; say the same to all nodes; `history_changes` (default 100,000, at least
            10,000), `history_bytes` (default "64MiB", at least 16 MiB; a change counts its key, its value and some 400
            bytes) and `history_age` (in seconds, default 600), how much of the history of strong keyspaces is kept for
            watches that resume and reads of the past: what is over any of them is forgotten, and what the leader's node
            was told counts.

    Raises:
        InvalidArgumentError: It names the setting.

    Example:
        >>> NodeConfig(7001, [7002, 7003]).replace(cluster="demo")
    """

    port: int
    peers: Tuple[str, ...]
    host: str
    advertise: Optional[str]
    cluster: str
    threads: int
    tls: Optional[TLS]
    # Not shown.
    token: Optional[str] = field(repr=False)
    insecure: bool
    http: bool
    log: str
    max_drift: float
    data_dir: Optional[str]
    durability: str
    max_memory: Optional[int]
    default_consistency: Consistency
    history_changes: int
    history_bytes: int
    history_age: float

    def __init__(self, port: int = 0, peers: Peers = None, **settings: Unpack[NodeSettings]) -> None:
        check_names(settings, NodeSettings.__annotations__, "setting of a node")
        host = settings.get("host", "127.0.0.1")
        data_dir = _directory(settings.get("data_dir"))
        values: Dict[str, Any] = {
            "port": _number("port", port, 65535),
            "host": _text("host", host),
            "peers": tuple(parse_peers(peers, host)),
            "advertise": _optional_text("advertise", settings.get("advertise")),
            "cluster": _text("cluster", settings.get("cluster", "default")),
            "threads": _number("threads", settings.get("threads", 0), 256),
            "tls": tls_of_node(settings.get("tls")),
            "token": token_of_node(settings.get("token")),
            "insecure": _truth("insecure", settings.get("insecure", False)),
            "http": _truth("http", settings.get("http", False)),
            "log": _log(settings.get("log", "none")),
            "max_drift": _seconds("max_drift", settings.get("max_drift", 10.0), (0.1, 3600.0)),
            "data_dir": data_dir,
            "durability": _durability(settings.get("durability"), data_dir),
            "max_memory": parse_size("max_memory", settings.get("max_memory")),
            "default_consistency": _consistency(settings.get("default_consistency", "eventual")),
            "history_changes": _number("history_changes", settings.get("history_changes", 100_000), 10_000_000, 10_000),
            "history_bytes": _number(
                "history_bytes", parse_size("history_bytes", settings.get("history_bytes", "64MiB")), 1 << 40, 1 << 24
            ),
            "history_age": _seconds("history_age", settings.get("history_age", 600.0), (1.0, 365 * 86400.0)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def load(cls, path: Optional[Path] = None, env: Optional[Mapping[str, str]] = None) -> Self:
        """From `path` (default: kvstore.toml here, if there is one) and `env` (default: os.environ).

        A table `[client]` of the file is for the command line, and nothing of it is looked at here.

        Raises:
            InvalidArgumentError: It names the setting or variable.
            OSError: `path` was given and cannot be read.
        """
        settings = _from_file(path)
        settings.update(_from_env(os.environ if env is None else env))
        return cls(**settings)

    def replace(self, **settings: Unpack[_Replaced]) -> Self:
        """A changed copy; takes `port` and `peers`, too."""
        known = [field.name for field in fields(self)]
        check_names(settings, known, "setting of a node")
        values = {name: getattr(self, name) for name in known}
        values.update(settings)
        return type(self)(**values)


def _from_file(path: Optional[Path]) -> Dict[str, Any]:
    file = pathlib.Path(_FILE if path is None else path)
    if path is None and not file.exists():
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except ValueError as error:
        msg = f"{file}: {error}"
        raise InvalidArgumentError(msg) from error
    found.pop(_CLIENT, None)
    check_names(found, ["port", "peers", *NodeSettings.__annotations__], f"setting in {file}")
    return found


def _from_env(env: Mapping[str, str]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name in ("port", "peers", *NodeSettings.__annotations__):
        variable = _PREFIX + name.upper()
        text = env.get(variable)
        if text is None:
            continue
        if name in ("port", "threads", "history_changes"):
            found[name] = _parse_int(variable, text)
        elif name in ("max_drift", "history_age"):
            found[name] = _parse_float(variable, text)
        elif name in ("insecure", "http"):
            found[name] = _parse_bool(variable, text)
        else:
            found[name] = text
    return found


def _parse_int(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        msg = f"{variable}: {text!r} is no number"
        raise InvalidArgumentError(msg) from None


def _parse_float(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{variable}: {text!r} is no number"
        raise InvalidArgumentError(msg) from None


def _parse_bool(variable: str, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    msg = f"{variable}: {text!r} is neither {', '.join(_TRUE)} nor {', '.join(_FALSE)}"
    raise InvalidArgumentError(msg)


def _number(name: str, value: object, largest: int, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
        msg = f"{name}: {value!r} is no number from {least} to {largest}"
        raise InvalidArgumentError(msg)
    return value


def _truth(name: str, value: object) -> bool:
    # The text "false" counts as true to Python, and `insecure` opens a node to everybody.
    if not isinstance(value, bool):
        msg = f"{name}: {value!r}, must be True or False"
        raise InvalidArgumentError(msg)
    return value


def _seconds(name: str, value: object, bounds: Tuple[float, float]) -> float:
    least, most = bounds
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        msg = f"{name}: {value!r} is no number of seconds from {least:g} to {most:g}"
        raise InvalidArgumentError(msg)
    return float(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{name}: {value!r} is no str"
        raise InvalidArgumentError(msg)
    return value


def _directory(value: object) -> Optional[str]:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        msg = f"data_dir: {value!r} names no directory"
        raise InvalidArgumentError(msg)
    return absolute(value)


def _durability(value: object, data_dir: Optional[str]) -> str:
    if value is None:
        return "memory" if data_dir is None else "sync"
    if value not in _DURABILITIES:
        msg = f"durability: {value!r} is none of {', '.join(_DURABILITIES)}"
        raise InvalidArgumentError(msg)
    if data_dir is None and value != "memory":
        msg = f"durability: {value!r} needs a data_dir"
        raise InvalidArgumentError(msg)
    return str(value)


def _consistency(value: object) -> str:
    if value not in _CONSISTENCIES:
        msg = f"default_consistency: {value!r} is neither {' nor '.join(_CONSISTENCIES)}"
        raise InvalidArgumentError(msg)
    return str(value)


def _log(value: object) -> str:
    if value not in _LOGS:
        msg = f"log: {value!r} is none of {', '.join(_LOGS)}"
        raise InvalidArgumentError(msg)
    return str(value)


def _optional_text(name: str, value: object) -> Optional[str]:
    return None if value is None else _text(name, value)

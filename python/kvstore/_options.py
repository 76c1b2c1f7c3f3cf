"""What calls, clients and nodes take as arguments: the types, and how their many forms become one."""

from __future__ import annotations

import datetime as dt
import difflib
import enum
import pathlib
import re
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Final,
    Iterable,
    List,
    Literal,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)
from urllib.parse import parse_qsl, unquote

from kvstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from os import PathLike

DEFAULT: Final[Any] = ...
"""Stands for "as the client was configured"."""

MISSING: Final[Any] = object()
"""Stands for an argument that was not given."""


class ReadLevel(str, enum.Enum):
    """How fresh a read must be; the plain strings are accepted everywhere."""

    LOCAL = "local"
    """What the contacted node has now: may be stale, fastest."""
    SESSION = "session"
    """At least this client's own writes and earlier reads, whichever node answers; default in eventual keyspaces."""
    LINEARIZABLE = "linearizable"
    """Every acknowledged write; default in strong keyspaces, and for them only."""


Key = Union[str, bytes]
Path = Union[str, "PathLike[str]"]
Seconds = Union[int, float, dt.timedelta]
Timeout = Union[int, float, dt.timedelta, None]
Read = Union[ReadLevel, Literal["local", "session", "linearizable"]]
Size = Union[None, int, str]
Peer = Union[str, int, Tuple[str, int]]
Peers = Union[None, str, Iterable[Peer], Mapping[Union[str, int], str]]
Target = Union[str, Sequence[str]]


def key_bytes(key: Key) -> bytes:
    """A key as it is on the wire."""
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def in_seconds(timeout: Timeout) -> Optional[float]:
    """A timeout as a number; None: no limit."""
    return timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of `Client` and `AsyncClient`."""

    timeout: Timeout
    read: Optional[Read]


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def moment(wall_ms: int) -> dt.datetime:
    """Milliseconds since 1970 as an aware datetime."""
    return _EPOCH + dt.timedelta(milliseconds=wall_ms)


def since_ms(when: Optional[dt.datetime]) -> int:
    """The other way round; None is the beginning."""
    if when is None:
        return 0
    if when.tzinfo is None:
        msg = f"since: {when} has no time zone; datetime.now(timezone.utc) has one"
        raise InvalidArgumentError(msg)
    return max(0, (when - _EPOCH) // dt.timedelta(milliseconds=1))


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse unknown options, with a close match: a misspelt one must not be ignored."""
    known = sorted(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            msg = f"{name}: no such {what}; {hint}"
            raise InvalidArgumentError(msg)


# ------------------------------------------------------------------------------------------------------- targets
class ParsedTarget(NamedTuple):
    """A target in its parts; what a URL does not say is None."""

    addresses: List[str]
    keyspace: Optional[str]
    options: Dict[str, str]


def parse_target(target: Target) -> ParsedTarget:
    """Take "h:p", "h1:p,h2:p", a sequence of them, or "kv://h1:p,h2:p/keyspace?timeout=2"."""
    if not isinstance(target, str):
        addresses = list(target)
        if not addresses or not all(isinstance(address, str) for address in addresses):
            bad_target(target)
        return ParsedTarget(addresses, None, {})
    scheme, separator, rest = target.partition("://")
    if not separator:
        return ParsedTarget(split_addresses(target, "target"), None, {})
    if scheme != "kv":
        bad_target(target)
    rest, _, query = rest.partition("?")
    hosts, _, keyspace = rest.partition("/")
    if "@" in hosts:
        msg = "target: tokens are not there yet; leave out what stands before the @"
        raise InvalidArgumentError(msg)
    return ParsedTarget(split_addresses(hosts, "target"), unquote(keyspace) or None, dict(parse_qsl(query)))


def bad_target(target: object) -> NoReturn:
    """Say what a target looks like."""
    msg = f'target: {target!r} is not "host:port", several of them, or "kv://host:port/keyspace"'
    raise InvalidArgumentError(msg)


def split_addresses(text: str, name: str) -> List[str]:
    """Split "h1:p,h2:p"; the native module checks each."""
    addresses = [address.strip() for address in text.split(",") if address.strip()]
    if not addresses:
        msg = f'{name}: {text!r} names no "host:port"'
        raise InvalidArgumentError(msg)
    return addresses


def parse_timeout(text: str, name: str) -> Timeout:
    """Seconds as text; "none" means no limit."""
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        msg = f'{name}: {text!r} is no number of seconds and not "none"'
        raise InvalidArgumentError(msg) from None


# --------------------------------------------------------------------------------------------------------- files
def absolute(path: Path) -> str:
    """As it is meant now: a later chdir() means nothing. `~` is the user's home."""
    return str(pathlib.Path(path).expanduser().absolute())


# --------------------------------------------------------------------------------------------------------- sizes
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(name: str, size: object) -> Optional[int]:
    """Bytes out of a number, or a text such as "2GB" (powers of 1000) or "512MiB" (of 1024)."""
    if size is None:
        return None
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is None or (match[3] and not match[2]) or float(match[1]) <= 0:
        msg = f'{name}: {size!r} is no size such as 1000000, "2GB" or "512MiB"'
        raise InvalidArgumentError(msg)
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


# --------------------------------------------------------------------------------------------------------- peers
def parse_peers(peers: Peers, host: str) -> List[str]:
    """All forms of `peers` as "host:port", each once, in order; a bare port is one on our own host."""
    if peers is None:
        return []
    if isinstance(peers, str):
        # A trailing comma, or an empty variable of the environment, is no peer.
        forms: Iterable[Peer] = [peer.strip() for peer in peers.split(",") if peer.strip()]
    elif isinstance(peers, Mapping):
        forms = list(peers.values())
    else:
        forms = peers
    # dict keeps the order and drops what comes twice.
    return list(dict.fromkeys(_peer(peer, host) for peer in forms))


def _peer(peer: Peer, host: str) -> str:
    if isinstance(peer, str):
        return join_address(host, int(peer)) if peer.isdecimal() else peer
    if isinstance(peer, int):
        return join_address(host, peer)
    try:
        peer_host, port = peer
        return join_address(peer_host, int(port))
    except (TypeError, ValueError):
        msg = f'peers: {peer!r} is not "host:port", a port or (host, port)'
        raise InvalidArgumentError(msg) from None


def join_address(host: str, port: int) -> str:
    """Join them to "host:port"; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


# --------------------------------------------------------------------------------------------------------- pages
class Page(NamedTuple):
    """Which page of a scan to fetch; `last` is the last key of the page before."""

    prefix: Key
    start: Optional[Key]
    end: Optional[Key]
    reverse: bool
    last: Optional[bytes]
    size: int


class Wanted(NamedTuple):
    """What to watch."""

    key: Optional[Key]
    prefix: Optional[Key]
    since: Optional[bytes]
    initial: bool
    buffer: int
    keyspace: Optional[str] = None
    """A strong one."""
    locks: bool = False
    """Of who holds its locks, instead of its keys."""


def check_page(limit: Optional[int], page_size: int) -> int:
    """How many entries a scan gives at most."""
    if page_size < 1:
        msg = f"page_size: {page_size}, must be at least 1"
        raise InvalidArgumentError(msg)
    if limit is None:
        return sys.maxsize
    if limit < 0:
        msg = f"limit: {limit}, must not be negative"
        raise InvalidArgumentError(msg)
    return limit

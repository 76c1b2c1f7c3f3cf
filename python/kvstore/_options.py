"""What calls, clients and nodes take as arguments: the types, and how their many forms become one."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import enum
import math
import pathlib
import re
import sys
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Final,
    Iterable,
    Iterator,
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
    cast,
)
from urllib.parse import parse_qsl, unquote

from kvstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from os import PathLike

    from typing_extensions import TypeAlias

    from kvstore._security import TLS, Token

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


Key: TypeAlias = Union[str, bytes]
"""Bytes on the wire; a str is its UTF-8."""
Path: TypeAlias = Union[str, "PathLike[str]"]
"""Of a file or directory of this machine."""
Seconds: TypeAlias = Union[int, float, dt.timedelta]
"""A number of seconds, or a timedelta."""
Timeout: TypeAlias = Union[int, float, dt.timedelta, None]
"""The deadline of a whole call, in seconds or as a timedelta, retries included. None: no limit."""
Read: TypeAlias = Union[ReadLevel, Literal["local", "session", "linearizable"]]
"""How fresh a read must be, as a `ReadLevel` or its name."""
Peer: TypeAlias = Union[str, int, Tuple[str, int]]
"""A "host:port", a port on our own host, or (host, port)."""
Peers: TypeAlias = Union[None, str, Iterable[Peer], Mapping[Union[str, int], str]]  # noqa: RUF036 - as the contract has it
"""Also "h1:p,h2:p" and {id: "h:p"}."""
Target: TypeAlias = Union[str, Sequence[str]]
"""A "host:port", several of them in a sequence or with commas between, or "kv://:TOKEN@h1:p,h2:p/keyspace?timeout=2"."""


def key_bytes(key: Key) -> bytes:
    """A key as it is on the wire."""
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def in_seconds(timeout: Timeout) -> Optional[float]:
    """A timeout as a number; None: no limit."""
    return timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout


def left_of(timeout: Timeout, begun: float) -> Timeout:
    """What is left of a timeout that began at that time.monotonic(); DEFAULT stays what it is."""
    seconds = None if timeout is DEFAULT else in_seconds(timeout)
    return timeout if seconds is None else max(0.0, seconds - (time.monotonic() - begun))


class Retry(NamedTuple):
    """How a client repeats calls that came to nothing, all within the timeout of the call.

    A try came to nothing when none of the nodes could be reached, when the connection was lost before the answer, or
    when the node was stopping or knew no leader. Before the next one the client turns to another node.

    Args:
        attempts: How often a call is tried, the first time included. 0: as often as its timeout allows.
        first: The first pause, in seconds; each is twice the one before.
        cap: The longest pause.
        jitter: Each pause is longer or shorter by up to this fraction, so that clients do not come all at once.
        writes: Which writes are sent again when they were sent and the answer got lost. "safe": only those that the
            server recognises as repeated, which are those in strong keyspaces; "always": those in eventual keyspaces
            too, where one that comes late may replace what others have written meanwhile; "never": none. What is known
            to have changed nothing is tried again all the same.

    Example:
        >>> Client("127.0.0.1:7001", retry=Retry(attempts=3, writes="never"))
    """

    attempts: int = 0
    first: float = 0.04
    cap: float = 0.4
    jitter: float = 0.3
    writes: Literal["safe", "always", "never"] = "safe"


_ATTEMPTS_MAX: Final = 1_000_000
_PAUSE_MAX: Final = 3600.0


def check_retry(retry: Any) -> Optional[Retry]:
    """Refuse what is no way to repeat calls."""
    if retry is None:
        return None
    if not isinstance(retry, Retry):
        msg = f"retry: {retry!r} is no Retry, and not None"
        raise InvalidArgumentError(msg)
    attempts, first, cap, jitter, writes = cast("Tuple[Any, ...]", retry)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 0 <= attempts <= _ATTEMPTS_MAX:
        msg = f"retry: attempts is {attempts!r}, must be a number from 0 to {_ATTEMPTS_MAX}"
        raise InvalidArgumentError(msg)
    if not all(isinstance(each, (int, float)) for each in (first, cap, jitter)) or not 0 < first <= cap <= _PAUSE_MAX:
        msg = f"retry: pauses from {first!r} to {cap!r}, must be seconds, above 0, growing, at most {_PAUSE_MAX:g}"
        raise InvalidArgumentError(msg)
    if not 0 <= jitter <= 1:
        msg = f"retry: jitter is {jitter!r}, must be a fraction from 0 to 1"
        raise InvalidArgumentError(msg)
    if writes not in ("safe", "always", "never"):
        msg = f'retry: writes is {writes!r}, must be "safe", "always" or "never"'
        raise InvalidArgumentError(msg)
    return retry


_HEDGE_MAX: Final = 3600.0


def check_hedge(hedge: Any) -> Optional[float]:
    """Refuse what is no time to wait before a second node is asked."""
    if hedge is None:
        return None
    seconds = hedge.total_seconds() if isinstance(hedge, dt.timedelta) else hedge
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= _HEDGE_MAX:
        msg = f"hedge: {hedge!r}, must be seconds, above 0, at most {_HEDGE_MAX:g}, or None"
        raise InvalidArgumentError(msg)
    return float(seconds)


def check_discover(discover: Any) -> bool:
    """Refuse what is neither true nor false."""
    if not isinstance(discover, bool):
        msg = f"discover: {discover!r}, must be True or False"
        raise InvalidArgumentError(msg)
    return discover


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of `Client` and `AsyncClient`."""

    timeout: Timeout
    read: Optional[Read]
    retry: Optional[Retry]
    tls: Union[bool, TLS]
    token: Token
    name: Optional[str]
    discover: bool
    hedge: Optional[Seconds]


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


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Say where a bad argument came from."""
    try:
        yield
    except InvalidArgumentError as error:
        msg = f"{what}: {error}"
        raise InvalidArgumentError(msg, code=error.code) from error


# ------------------------------------------------------------------------------------------------------- targets
_NO_ADDRESS: Final = re.compile("[/@]")
_USER: Final = re.compile(r"//.*@", re.DOTALL)


class ParsedTarget(NamedTuple):
    """A target in its parts; what a URL does not say is None."""

    addresses: List[str]
    keyspace: Optional[str]
    options: Dict[str, Any]


def parse_target(target: Target) -> ParsedTarget:
    """Take "h:p", "h1:p,h2:p", a sequence of them, or "kv://:TOKEN@h1:p,h2:p/keyspace?timeout=2"."""
    if not isinstance(target, str):
        addresses = list(target)
        if not addresses or not all(isinstance(address, str) for address in addresses):
            bad_target(target)
        return ParsedTarget(_checked_addresses(addresses, "target"), None, {})
    scheme, separator, rest = target.partition("://")
    if not separator:
        return ParsedTarget(split_addresses(target, "target"), None, {})
    if scheme != "kv":
        bad_target(target)
    rest, _, query = rest.partition("?")
    hosts, _, keyspace = rest.partition("/")
    user, at, hosts = hosts.rpartition("@")
    if hosts.startswith(":") or (at and not (user.startswith(":") and user[1:])):
        # Not repeated: whatever it is, it was meant as a secret.
        msg = "target: what stands before the @ is not :TOKEN; of what means something in a URL it has to be quoted"
        raise InvalidArgumentError(msg)
    texts = dict(parse_qsl(query, keep_blank_values=True))
    # A misspelt one must not be ignored, and a token has its own place.
    check_names(texts, [name for name in ClientOptions.__annotations__ if name != "token"], "option of a client")
    options = parse_options(texts, {name: f"target: {name}" for name in texts})
    if at:
        options["token"] = unquote(user[1:])
    return ParsedTarget(split_addresses(hosts, "target"), unquote(keyspace) or None, options)


def without_token(target: str) -> str:
    """A target as it may be shown: without what stands before its last @, for a token may have an @ in it."""
    return _USER.sub("//:***@", target)


def bad_target(target: object) -> NoReturn:
    """Say what a target looks like."""
    shown = without_token(repr(target))
    msg = f'target: {shown} is not "host:port", several of them, or "kv://host:port/keyspace"'
    raise InvalidArgumentError(msg)


def split_addresses(text: str, name: str) -> List[str]:
    """Split "h1:p,h2:p"; the native module checks each."""
    addresses = [address.strip() for address in text.split(",") if address.strip()]
    if not addresses:
        msg = f'{name}: {text!r} names no "host:port"'
        raise InvalidArgumentError(msg)
    return _checked_addresses(addresses, name)


def _checked_addresses(addresses: List[str], name: str) -> List[str]:
    """Refuse URLs and parts of them. Not repeated: there may be a token in one, and errors end in logs."""
    if any(_NO_ADDRESS.search(address) for address in addresses):
        msg = f'{name}: an address is "host:port"; a URL is one text for all of them, "kv://:TOKEN@h1:p,h2:p/keyspace"'
        raise InvalidArgumentError(msg)
    return addresses


def parse_options(texts: Mapping[str, str], names: Mapping[str, str]) -> Dict[str, Any]:
    """The options of a client out of texts, each of which goes by a name of its own in errors."""
    options: Dict[str, Any] = dict(texts)
    if "timeout" in texts:
        options["timeout"] = parse_timeout(texts["timeout"], names["timeout"])
    if "retry" in texts:
        options["retry"] = _parse_retry(texts["retry"], names["retry"])
    if "discover" in texts:
        options["discover"] = _parse_discover(texts["discover"], names["discover"])
    if "hedge" in texts:
        with naming(names["hedge"]):
            options["hedge"] = check_hedge(parse_timeout(texts["hedge"], "hedge"))
    if "read" in texts and texts["read"] not in [level.value for level in ReadLevel]:
        msg = f"{names['read']}: {texts['read']!r} is none of {', '.join(level.value for level in ReadLevel)}"
        raise InvalidArgumentError(msg)
    return options


def _parse_retry(text: str, name: str) -> Optional[Retry]:
    """How often a call is tried; "none" means never again."""
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        msg = f'{name}: {text!r} is no number of attempts and not "none"'
        raise InvalidArgumentError(msg)
    return Retry(attempts=int(text))


def _parse_discover(text: str, name: str) -> bool:
    """Whether to look for further nodes."""
    known = {"true": True, "false": False}
    if text.lower() not in known:
        msg = f'{name}: {text!r} is neither "true" nor "false"'
        raise InvalidArgumentError(msg)
    return known[text.lower()]


def parse_timeout(text: str, name: str) -> Timeout:
    """Seconds as text; "none" means no limit."""
    if text.lower() == "none":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        msg = f'{name}: {text!r} is no number of seconds and not "none"'
        raise InvalidArgumentError(msg)
    return seconds


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
    addresses = list(dict.fromkeys(_peer(peer, host) for peer in forms))
    if any(_NO_ADDRESS.search(address) for address in addresses):
        # Not repeated: there may be a token in it.
        msg = 'peers: a peer is "host:port", and no URL'
        raise InvalidArgumentError(msg)
    return addresses


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
    keyspace: str = "default"
    strong: bool = False
    """It is known to be strong."""
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

"""By what nodes and clients know each other: certificates and tokens, in their many forms."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, Mapping, NamedTuple, Optional, Union

from kvstore._options import Path, absolute, check_names
from kvstore.errors import InvalidArgumentError, KVError

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from kvstore import _core

Token: TypeAlias = Union[None, str, Callable[[], str]]  # noqa: RUF036 - as the contract has it
"""What is presented to nodes. A callable is asked again after its token was refused."""

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class TLS(NamedTuple):
    """PEM files. A client needs `ca`; a node, and a client that presents a certificate, also `cert` and `key`.

    The files are read once: by a node when it starts, by a client at its first call.

    Args:
        ca: The certificates of the authorities that are believed.
        cert: Our own certificate, followed by those between it and its authority. That of a node is presented to
            clients and to other nodes: it has to be good for both ends of TLS.
        key: The private key of `cert`, not encrypted.
        server_name: The name that a node's certificate has to bear, instead of the host that was connected to.

    Example:
        >>> Client("db.example.org:7001", tls=TLS(ca="ca.pem"), token="...")
    """

    ca: Optional[Path] = None
    cert: Optional[Path] = None
    key: Optional[Path] = None
    server_name: Optional[str] = None


_FILES = ("ca", "cert", "key")


def parse_tls(text: str, name: str) -> Union[bool, TLS]:
    """A text such as "ca=ca.pem,cert=node.pem,key=node.key", or "true": the authorities of the system."""
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    values: Dict[str, str] = {}
    for part in text.split(","):
        field, separator, value = part.partition("=")
        if not separator or not value.strip():
            msg = f'{name}: {text!r} is not true, false, or such as "ca=ca.pem,cert=node.pem,key=node.key"'
            raise InvalidArgumentError(msg)
        values[field.strip()] = value.strip()
    check_names(values, TLS._fields, f"part of {name}")
    return TLS(**values)


def tls_of_client(tls: Any) -> Union[bool, TLS]:
    """Refuse what a client cannot use; a text out of a URL will do. The paths are absolute from then on."""
    if isinstance(tls, str):
        tls = parse_tls(tls, "tls")
    if isinstance(tls, bool):
        return tls
    checked = _checked(tls, "neither a bool nor a TLS")
    if checked.ca is None:
        msg = "tls: ca is missing: without it no node can be believed; tls=True takes the authorities of the system"
        raise InvalidArgumentError(msg)
    if (checked.cert is None) != (checked.key is None):
        msg = f"tls: {'cert' if checked.cert is None else 'key'} is missing: one is of no use without the other"
        raise InvalidArgumentError(msg)
    return checked


def tls_of_node(tls: Any) -> Optional[TLS]:
    """Refuse what a node cannot use; a table of kvstore.toml and a text of the environment will do."""
    if tls is None:
        return None
    if isinstance(tls, str):
        tls = parse_tls(tls, "tls")
        if tls is False:
            return None
    if isinstance(tls, dict):
        check_names(tls, TLS._fields, "part of tls")
        tls = TLS(**tls)
    checked = _checked(tls, "no TLS")
    for field in _FILES:
        if getattr(checked, field) is None:
            msg = f"tls: {field} is missing: a node needs ca, cert and key"
            raise InvalidArgumentError(msg)
    return checked


def _checked(given: Any, what: str) -> TLS:
    if not isinstance(given, TLS):
        msg = f"tls: {given!r} is {what}"
        raise InvalidArgumentError(msg)
    tls: Any = given
    for field in _FILES:
        path = getattr(tls, field)
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not str(path)):
            msg = f"tls: {field}: {path!r} names no file"
            raise InvalidArgumentError(msg)
    if tls.server_name is not None and not isinstance(tls.server_name, str):
        msg = f"tls: server_name: {tls.server_name!r} is no str"
        raise InvalidArgumentError(msg)
    ca, cert, key = (None if path is None else absolute(path) for path in (tls.ca, tls.cert, tls.key))
    return TLS(ca, cert, key, tls.server_name)


def token_of_client(token: Any) -> Token:
    """Refuse what is no token. The error does not repeat it: it may be one that was written down wrong."""
    if token is None or callable(token):
        known: Token = token
        return known
    return token_of_node(token)


def token_of_node(token: Any) -> Optional[str]:
    """The same for a node, which presents and takes one and the same."""
    if token is None:
        return None
    if not isinstance(token, str):
        msg = f"token: a {type(token).__name__} is no str"
        raise InvalidArgumentError(msg)
    return token


def options_for(tls: Optional[TLS], token: Optional[str]) -> Dict[str, Any]:
    """What a client of a node with these settings needs. It presents no certificate: the token says who it is."""
    options: Dict[str, Any] = {}
    if tls is not None:
        options["tls"] = TLS(ca=tls.ca, server_name=tls.server_name)
    if token is not None:
        options["token"] = token
    return options


def without_callable(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The options of a client for a pickle. Whoever gets it is told what it lacks when a token is needed."""
    kept = dict(options)
    if callable(kept.get("token")):
        kept["token"] = left_out
    return kept


def left_out() -> str:
    """Stand for a callable in a pickled client."""
    msg = "token: this client came out of a pickle, which leaves out a token that is a callable: make the client anew"
    raise InvalidArgumentError(msg)


_desks: Dict[threading.Thread, _core.TokenDesk] = {}
"""Which threads answer, and where."""

_END_SECONDS: Final = 1.0


def _close_desks() -> None:
    """A thread that woke up while the interpreter goes down would be in its way."""
    answering = dict(_desks)
    for desk in answering.values():
        desk.close()
    for thread in answering:
        # One whose callable takes long is left behind.
        thread.join(_END_SECONDS)


# Before the interpreter waits for its threads, where there is a way to say so.
_register = getattr(threading, "_register_atexit", atexit.register)
_register(_close_desks)
if hasattr(os, "register_at_fork"):
    # Those threads are the parent's.
    os.register_at_fork(after_in_child=_desks.clear)


def answer_at(desk: _core.TokenDesk, ask: Callable[[], str]) -> None:
    """Call `ask` whenever the token is needed, on a thread of its own that ends with the client."""
    thread = threading.Thread(target=_answer, args=(desk, ask), name="kvstore-token", daemon=True)
    _desks[thread] = desk
    thread.start()


def _answer(desk: _core.TokenDesk, ask: Callable[[], str]) -> None:
    while desk.wait():
        _answer_once(desk, ask)
    _desks.pop(threading.current_thread(), None)


def _answer_once(desk: _core.TokenDesk, ask: Callable[[], str]) -> None:
    try:
        desk.answer(ask())
    except KVError as error:
        desk.fail(str(error))
    except BaseException as error:  # noqa: BLE001 - whoever waits has to be told, whatever it is
        desk.fail(f"token: the callable raised {type(error).__name__}: {error}")

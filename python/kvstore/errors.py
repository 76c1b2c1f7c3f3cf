"""Every exception of kvstore, by what the caller does next. Each is a builtin too: `except TimeoutError` works."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, Literal, Optional, Tuple, Type

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

ErrorKind: TypeAlias = Literal[
    "InvalidArgument", "Unsupported", "Conflict", "Unavailable", "Timeout", "Denied", "Closed", "Corrupt", "Internal"
]

__all__ = [
    "ClosedError",
    "CodecError",
    "CompactedError",
    "ConflictError",
    "CorruptError",
    "DeadlineError",
    "DeniedError",
    "ErrorKind",
    "ForkedError",
    "InternalError",
    "InvalidArgumentError",
    "KVError",
    "KeyExistsError",
    "KeyNotFoundError",
    "LimitError",
    "LockLostError",
    "UnavailableError",
    "UnsupportedError",
]


class KVError(Exception):
    """Base of all errors of kvstore; picklable; its text is one sentence that says what to do.

    Args:
        message: The sentence.
        code: The finer, stable reason; default: that of the class.
        retryable: The same call may succeed later; default: as usual for the class.
        maybe_applied: The outcome of this write is unknown.
        node: The node that answered, by its address, where a client knows it.
    """

    kind: ErrorKind = "Internal"
    """What to do next, in one word."""
    code: str = "INTERNAL"
    """Finer and stable, unlike the text: "ADDRESS_IN_USE", "KEY_TOO_LONG", ..."""
    retryable: bool = False
    """The same call may succeed later."""
    maybe_applied: bool = False
    """The outcome of this write is unknown: it may have been applied, or may still be."""
    node: Optional[str] = None
    """The node that answered, by its address, where a client knows it."""

    def __init__(
        self,
        message: str = "",
        *,
        code: Optional[str] = None,
        retryable: Optional[bool] = None,
        maybe_applied: bool = False,
        node: Optional[str] = None,
    ) -> None:
        # OSError makes errno and strerror of two positional arguments: there is one, for all classes alike.
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        self.maybe_applied = maybe_applied
        self.node = node

    def __str__(self) -> str:
        """The sentence; KeyError would quote it."""
        return self.message

    def __reduce__(self) -> Tuple[Callable[..., KVError], Tuple[Type[KVError], str, Dict[str, Any]]]:
        """Keyword-only arguments do not survive the default of BaseException."""
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: Type[KVError], message: str, fields: Dict[str, Any]) -> KVError:
    # With its code, by which OSError gets its errno.
    error = cls(message, code=fields.get("code"))
    error.__dict__.update(fields)
    return error


class InvalidArgumentError(KVError, ValueError):
    """Change the call or the setting named in the text; nothing was changed."""

    kind: ErrorKind = "InvalidArgument"
    code = "INVALID_ARGUMENT"


class CodecError(InvalidArgumentError):
    """Use another value or another codec."""

    code = "CODEC"
    payload: Optional[bytes] = None
    """What could not be decoded; None when a value could not be encoded."""


class LimitError(InvalidArgumentError):
    """Key, value or batch over the limit named in the text; nothing was changed."""

    code = "BATCH_TOO_LARGE"


class KeyNotFoundError(KVError, KeyError):
    """There is no such key: db[key], del db[key]."""

    kind: ErrorKind = "InvalidArgument"
    code = "KEY_NOT_FOUND"


class UnsupportedError(KVError, NotImplementedError):
    """This keyspace does not promise what was asked for; nothing was changed."""

    kind: ErrorKind = "Unsupported"
    code = "UNSUPPORTED"


class ConflictError(KVError, RuntimeError):
    """Read again, then decide."""

    kind: ErrorKind = "Conflict"
    code = "CONFLICT"
    retryable = True
    key: Optional[str] = None
    """The key whose condition failed."""
    current_version: Optional[int] = None
    """Its version now."""


class KeyExistsError(ConflictError):
    """It is there already."""

    code = "KEY_EXISTS"


class LockLostError(KVError, RuntimeError):
    """Lock, lease or leadership is gone: stop what it protected."""

    kind: ErrorKind = "Conflict"
    code = "LOCK_LOST"


class CompactedError(KVError, LookupError):
    """That history is gone: watch again with initial=True."""

    kind: ErrorKind = "Conflict"
    code = "COMPACTED"


class UnavailableError(KVError, ConnectionError):
    """Nobody reachable, no port, no space: later, or another node."""

    kind: ErrorKind = "Unavailable"
    code = "UNREACHABLE"
    retryable = True

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        if self.code == "ADDRESS_IN_USE":
            self.errno: Optional[int] = errno.EADDRINUSE


if sys.version_info >= (3, 11):
    _TimeoutError = TimeoutError
else:
    # Before they were two.
    class _TimeoutError(TimeoutError, asyncio.TimeoutError):
        """What calls and tasks raise when their time is over."""


class DeadlineError(KVError, _TimeoutError):
    """The deadline passed: look at `maybe_applied`. Also an asyncio.TimeoutError."""

    kind: ErrorKind = "Timeout"
    code = "DEADLINE_EXCEEDED"
    retryable = True


class DeniedError(KVError, PermissionError):
    """Token, certificate or role do not allow this."""

    kind: ErrorKind = "Denied"
    code = "DENIED"


class ClosedError(KVError, RuntimeError):
    """Make a new client; start the node."""

    kind: ErrorKind = "Closed"
    code = "CLIENT_CLOSED"


class ForkedError(ClosedError):
    """Made before fork(): make a new one in the child."""

    code = "FORKED"


class CorruptError(KVError, OSError):
    """Stored data failed its checks: repair from a peer."""

    kind: ErrorKind = "Corrupt"
    code = "CORRUPT"


class InternalError(KVError, RuntimeError):
    """A bug of kvstore; the text has what to report."""


_BY_KIND: Final[Dict[str, Type[KVError]]] = {
    cls.kind: cls
    for cls in (
        InvalidArgumentError,
        UnsupportedError,
        ConflictError,
        UnavailableError,
        DeadlineError,
        DeniedError,
        ClosedError,
        CorruptError,
        InternalError,
    )
}

_BY_CODE: Final[Dict[str, Type[KVError]]] = {
    "KEY_TOO_LONG": LimitError,
    "VALUE_TOO_LARGE": LimitError,
    "BATCH_TOO_LARGE": LimitError,
    "MEMORY_LIMIT": LimitError,
    "FORKED": ForkedError,
    "COMPACTED": CompactedError,
    "NOT_AN_INTEGER": CodecError,
    "OVERFLOW": LimitError,
    "KEY_EXISTS": KeyExistsError,
    "KEYSPACE_EXISTS": KeyExistsError,
    "LOCK_LOST": LockLostError,
    "LEASE_LOST": LockLostError,
}


def from_core(  # noqa: PLR0917 - the native module has no names for them
    kind: str,
    code: str,
    message: str,
    retryable: bool,  # noqa: FBT001
    maybe_applied: bool,  # noqa: FBT001
    node: Optional[str],
) -> KVError:
    """The exception for an error of the native module; called by it alone."""
    cls = _BY_CODE.get(code) or _BY_KIND[kind]
    return cls(message, code=code, retryable=retryable, maybe_applied=maybe_applied, node=node)


def from_guard(guard: str, code: str, name: str, found: int, node: Optional[str]) -> KVError:
    """The exception for a transaction whose guard does not hold; called by the native module alone.

    Args:
        guard: What was required: "version", "absent", "present", or "holds" of a lock.
        code: Of the error.
        name: Of the key or lock.
        found: The version or token that it has; 0: there is none.
        node: Which answered, where it is known.
    """
    if guard == "holds":
        return LockLostError(f"lock {name!r}: it is not held any more by who wrote this", node=node)
    if guard == "absent":
        error: ConflictError = KeyExistsError(f"key {name!r} is there already, with the version {found}", node=node)
    elif found:
        error = ConflictError(f"key {name!r} has another version: {found}", code=code, node=node)
    else:
        error = ConflictError(f"key {name!r} is not there", code=code, node=node)
    error.key = name
    error.current_version = found or None
    return error


def key_not_found(key: object) -> KeyNotFoundError:
    """The exception of db[key] and del db[key]."""
    return KeyNotFoundError(f"there is no key {key!r}")

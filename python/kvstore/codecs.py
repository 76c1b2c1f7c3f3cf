"""How values become bytes and back. Flags are stored with the entry and say which form it is; 256 and up are yours.

0 bytes, 1 str, 2 int of 64 bits, 3 float, 4 bool, 5 JSON. Never pickle by default: whoever can write to the store could
run code in its readers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol, Tuple, TypeVar

from kvstore import _core
from kvstore.errors import CodecError

if TYPE_CHECKING:
    from typing import Callable, Optional

__all__ = ["AUTO", "BYTES", "JSON", "TEXT", "Codec"]

T = TypeVar("T")

_BYTES: Final = 0
_TEXT: Final = 1
_JSON: Final = 5

_encode_text: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


class Codec(Protocol[T]):
    """Turns a value into (payload, flags) and back."""

    def encode(self, value: T) -> Tuple[bytes, int]:
        """The payload and its flags, 256 to 2**32 - 1 for a form of your own."""
        ...

    def decode(self, payload: bytes, flags: int) -> T:
        """The value."""
        ...


class _Auto:
    """The default: None, bool, int, float, str, bytes, list, dict come back as they went in; all else is refused."""

    def encode(self, value: Any) -> Tuple[bytes, int]:
        return _core.encode_auto(value)

    def decode(self, payload: bytes, flags: int) -> Any:
        return _core.decode_auto(payload, flags)

    def __repr__(self) -> str:
        return "kvstore.AUTO"

    def __reduce__(self) -> str:
        return "AUTO"


class _Bytes:
    """Bytes-like in, bytes out; ignores flags."""

    def encode(self, value: object) -> Tuple[bytes, int]:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            msg = f"value: BYTES takes bytes, not {type(value).__name__}"
            raise CodecError(msg)
        return bytes(value), _BYTES

    def decode(self, payload: bytes, flags: int) -> bytes:  # noqa: ARG002  # it shows what is there, whoever wrote it
        return payload

    def __repr__(self) -> str:
        return "kvstore.BYTES"

    def __reduce__(self) -> str:
        return "BYTES"


class _Text:
    """str in, str out; reads what was written as bytes, too, if it is UTF-8."""

    def encode(self, value: object) -> Tuple[bytes, int]:
        if not isinstance(value, str):
            msg = f"value: TEXT takes str, not {type(value).__name__}"
            raise CodecError(msg)
        return _utf8(value), _TEXT

    def decode(self, payload: bytes, flags: int) -> str:
        _check_flags("TEXT", payload, flags, (_BYTES, _TEXT))
        return _text(payload)

    def __repr__(self) -> str:
        return "kvstore.TEXT"

    def __reduce__(self) -> str:
        return "TEXT"


class _Json:
    """What json.dumps takes, with its losses: tuples come back as lists, keys of dicts as str."""

    def encode(self, value: Any) -> Tuple[bytes, int]:
        try:
            return encode_json(value), _JSON
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"value: {error}"
            raise CodecError(msg) from error

    def decode(self, payload: bytes, flags: int) -> Any:
        _check_flags("JSON", payload, flags, (_BYTES, _TEXT, _JSON))
        try:
            return decode_json(payload)
        except (ValueError, RecursionError) as error:
            raise _damaged(str(error), payload) from error

    def __repr__(self) -> str:
        return "kvstore.JSON"

    def __reduce__(self) -> str:
        return "JSON"


AUTO: Final[Codec[Any]] = _Auto()
BYTES: Final[Codec[bytes]] = _Bytes()
TEXT: Final[Codec[str]] = _Text()
JSON: Final[Codec[Any]] = _Json()


def native(codec: Optional[Codec[T]]) -> Optional[Codec[T]]:
    """The codec as the native module takes it: it does AUTO itself, for which None stands."""
    return None if codec is AUTO else codec


def encode_json(value: Any) -> bytes:
    """JSON as the store keeps it: compact UTF-8, without NaN; the same bytes whatever else is installed."""
    return _encode_text(value).encode("utf-8")


def decode_json(payload: bytes) -> Any:
    """The value; ValueError when it is no JSON."""
    return json.loads(payload.decode("utf-8"))


def _utf8(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        msg = f"value: {error}"
        raise CodecError(msg) from error


def _text(payload: bytes) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(str(error), payload) from error


def _check_flags(codec: str, payload: bytes, flags: int, known: Tuple[int, ...]) -> None:
    if flags not in known:
        why = f"flags {flags} are not of {codec}; read it with the codec it has"
        raise _damaged(why, payload)


def _damaged(why: str, payload: bytes) -> CodecError:
    error = CodecError(f"stored value: {why}")
    error.payload = payload
    return error

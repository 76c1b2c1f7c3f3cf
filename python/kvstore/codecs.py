"""How values become bytes and back. Flags are stored with the entry and say which form it is; 256 and up are yours.

0 bytes, 1 str, 2 int of 64 bits, 3 float, 4 bool, 5 JSON, 7 pickle. Never pickle by default: whoever can write to the
store could run code in its readers.
"""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Tuple, Type, TypeVar, cast

from kvstore import _core
from kvstore._fields import Record
from kvstore.errors import CodecError, InvalidArgumentError

if TYPE_CHECKING:
    from typing import Callable, Optional

__all__ = ["AUTO", "BYTES", "JSON", "PICKLE", "TEXT", "Codec", "dataclass_codec", "pydantic_codec"]

T = TypeVar("T")

_BYTES: Final = 0
_TEXT: Final = 1
_JSON: Final = 5
_PICKLE: Final = 7

_encode_text: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


class Codec(Protocol[T]):
    """Turns a value into (payload, flags) and back. Any object with these two methods is one.

    Flags are stored with the value and say which form it has. Raise CodecError for what does not fit.
    """

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


class _Pickle:
    """What pickle takes. Whoever can write to the store can run code in its readers: choose it knowingly."""

    def encode(self, value: Any) -> Tuple[bytes, int]:
        try:
            # The newest that every Python from 3.8 on reads.
            return pickle.dumps(value, protocol=5), _PICKLE
        except Exception as error:
            # The value's own methods are called, and may raise anything.
            msg = f"value: it cannot be pickled: {error}"
            raise CodecError(msg) from error

    def decode(self, payload: bytes, flags: int) -> Any:
        _check_flags("PICKLE", payload, flags, (_PICKLE,))
        try:
            return pickle.loads(payload)  # noqa: S301  # who asks for it by name knows what it does
        except Exception as error:
            why = f"it cannot be unpickled: {error}"
            raise _damaged(why, payload) from error

    def __repr__(self) -> str:
        return "kvstore.PICKLE"

    def __reduce__(self) -> str:
        return "PICKLE"


class _Dataclass(Generic[T]):
    """See dataclass_codec()."""

    def __init__(self, cls: Type[T]) -> None:
        self._cls = cls
        self._record: Record[T] = Record(cls)

    def encode(self, value: T) -> Tuple[bytes, int]:
        try:
            return encode_json(self._record.plain(value)), _JSON
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"value: {error}"
            raise CodecError(msg) from error

    def decode(self, payload: bytes, flags: int) -> T:
        name = f"dataclass_codec({self._cls.__name__})"
        _check_flags(name, payload, flags, (_BYTES, _TEXT, _JSON))
        try:
            return self._record.made_of(decode_json(payload))
        except (TypeError, ValueError, RecursionError) as error:
            why = f"{name}: {error}"
            raise _damaged(why, payload) from error

    def __repr__(self) -> str:
        return f"kvstore.dataclass_codec({self._cls.__qualname__})"

    def __reduce__(self) -> Tuple[Callable[[Type[T]], Codec[T]], Tuple[Type[T]]]:
        return dataclass_codec, (self._cls,)


class _Pydantic(Generic[T]):
    """See pydantic_codec()."""

    def __init__(self, model: Type[T]) -> None:
        # Only who asks for it needs it.
        import pydantic  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

        if not hasattr(pydantic, "TypeAdapter"):
            msg = f"pydantic_codec: it needs pydantic 2, and this is {pydantic.VERSION}"
            raise InvalidArgumentError(msg)
        self._model = model
        self._adapter: Any = pydantic.TypeAdapter(model)

    def encode(self, value: T) -> Tuple[bytes, int]:
        if not isinstance(value, self._model):
            msg = f"value: a {type(value).__name__} is no {self._model.__name__}"
            raise CodecError(msg)
        try:
            payload = self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
            return cast("bytes", payload), _JSON
        except ValueError as error:
            msg = f"value: {error}"
            raise CodecError(msg) from error

    def decode(self, payload: bytes, flags: int) -> T:
        name = f"pydantic_codec({self._model.__name__})"
        _check_flags(name, payload, flags, (_BYTES, _TEXT, _JSON))
        try:
            return cast("T", self._adapter.validate_json(payload))
        except ValueError as error:
            why = f"{name}: {error}"
            raise _damaged(why, payload) from error

    def __repr__(self) -> str:
        return f"kvstore.pydantic_codec({self._model.__qualname__})"

    def __reduce__(self) -> Tuple[Callable[[Type[T]], Codec[T]], Tuple[Type[T]]]:
        return pydantic_codec, (self._model,)


AUTO: Final[Codec[Any]] = _Auto()
"""The default: None, bool, int, float, str, bytes, list, dict come back as they went in; all else is refused."""
BYTES: Final[Codec[bytes]] = _Bytes()
"""Bytes-like in, bytes out, whoever wrote them."""
TEXT: Final[Codec[str]] = _Text()
"""str in, str out; reads what was written as bytes, too, if it is UTF-8."""
JSON: Final[Codec[Any]] = _Json()
"""What json.dumps takes, with its losses: tuples come back as lists, keys of dicts as str."""
PICKLE: Final[Codec[Any]] = _Pickle()
"""What pickle takes. Whoever can write to the store can run code in its readers: choose it knowingly."""


def dataclass_codec(cls: Type[T]) -> Codec[T]:
    """A codec for one dataclass, stored as a JSON object.

    Its fields may be None, bool, int, float, str, Any (whatever JSON has), lists, tuples, dicts by str, Optional and
    Union of these, and further dataclasses. A field that the stored object lacks gets its default; one that the
    dataclass lacks is refused.

    Args:
        cls: The dataclass itself; no instance of a subclass will do.

    Raises:
        InvalidArgumentError: It is no dataclass, or has a field that JSON cannot bring back.
        CodecError: From the codec: the fields do not fit.

    Example:
        >>> users = db.with_options(codec=kvstore.dataclass_codec(User))
        >>> users["user:1"] = User("Ada", 36)
    """
    return _Dataclass(cls)


def pydantic_codec(model: Type[T]) -> Codec[T]:
    """A codec for one pydantic model, stored as a JSON object. pydantic 2 is imported here, and nowhere else.

    Args:
        model: The class. What is read is validated by it.

    Raises:
        ImportError: pydantic is not installed.
        InvalidArgumentError: It is older than 2.
        CodecError: From the codec: the value is no such model, or what is stored does not fit.

    Example:
        >>> users = db.with_options(codec=kvstore.pydantic_codec(User))
    """
    return _Pydantic(model)


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

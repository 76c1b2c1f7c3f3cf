"""A prefix of a store as a mutable mapping: for code that takes a dict."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ItemsView,
    Iterator,
    Mapping,
    MutableMapping,
    Optional,
    Tuple,
    TypeVar,
    Union,
    ValuesView,
    cast,
    overload,
)

from kvstore._options import MISSING, key_bytes
from kvstore.errors import ConflictError, KeyNotFoundError, UnsupportedError, key_not_found

if TYPE_CHECKING:
    from kvstore.store import Store

__all__ = ["Map"]

K = TypeVar("K", str, bytes)
V = TypeVar("V")
D = TypeVar("D")

_ABSENT: Final[Any] = object()
"""What the store answers for a missing key; its own MISSING would have it raise the error, with the whole key."""

_ATTEMPTS: Final = 100
"""How often setdefault() and popitem() lose a race before they say so."""


class Map(MutableMapping[K, V], Generic[K, V]):
    """From `Store.map()`. len() and iteration ask the store; pop(), setdefault() are atomic in strong keyspaces only.

    Keys have the prefix's type and lack it; they come in bytewise order. What iterates reads pages of a thousand: a key
    that others write meanwhile may be seen or not, and nothing is raised for it. bool() asks for one key, len() has all
    counted on the server, `==` fetches everything, update() is one write after another, and clear() goes in steps of up
    to a thousand keys. `dict(map.items())` is one read a page, `dict(map)` one a key: Python asks for each.

    Args:
        store: Whose keys.
        prefix: What they begin with; "" or b"" for all.

    Raises:
        TypeError: The prefix is neither str nor bytes; or a key is not of its type.

    Example:
        >>> users = db.map("user:")
        >>> users["ada"] = {"born": 1815}
        >>> list(users)
        ['ada']
    """

    def __init__(self, store: Store[V], prefix: K) -> None:
        if not isinstance(prefix, (str, bytes)):
            msg = f"prefix: a prefix is str or bytes, not {type(prefix).__name__}"
            raise TypeError(msg)
        self._store = store
        self._prefix: K = prefix
        self._type: type = str if isinstance(cast("object", prefix), str) else bytes
        self._start = key_bytes(prefix)

    def __getitem__(self, key: K) -> V:
        """The value; KeyNotFoundError when missing."""
        value = self._store.get(self._full(key), _ABSENT)
        if value is _ABSENT:
            raise key_not_found(key)
        return cast("V", value)

    def __setitem__(self, key: K, value: V) -> None:
        """Store it, for ever."""
        self._store.put(self._full(key), value)

    def __delitem__(self, key: K) -> None:
        """KeyNotFoundError when missing."""
        if not self._store.delete(self._full(key)):
            raise key_not_found(key)

    def __contains__(self, key: object) -> bool:
        """Without fetching the value; a key of another type than the prefix's is in no map."""
        return isinstance(key, self._type) and self._store.exists(self._full(cast("K", key)))

    def __iter__(self) -> Iterator[K]:
        """The keys, paged lazily."""
        return (self._own(key_bytes(key)) for key in self._store.keys(self._start))

    def __len__(self) -> int:
        """Counted on the server."""
        return self._store.count(self._start)

    def __bool__(self) -> bool:
        """Whether there is a key."""
        return any(True for _ in self._store.keys(self._start, limit=1))

    def __eq__(self, other: object) -> bool:
        """Whether both have the same items: all are fetched, unless the numbers differ."""
        if self is other:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # as of every mutable mapping

    def __repr__(self) -> str:
        """With the prefix, without what is below it: that may be much."""
        return f"<kvstore map {self._prefix!r} of {self._store!r}>"

    def items(self) -> ItemsView[K, V]:
        """The items; iterating fetches keys and values page by page."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The values; iterating fetches them page by page."""
        return _Values(self)

    @overload
    def get(self, key: K) -> Optional[V]: ...
    @overload
    def get(self, key: K, default: Union[V, D]) -> Union[V, D]: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value, or `default` when the key is missing."""
        return self._store.get(self._full(key), default)

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: Union[V, D]) -> Union[V, D]: ...
    def pop(self, key: K, default: Any = MISSING) -> Any:
        """Take the value away; KeyNotFoundError without a default. In an eventual keyspace two callers may get it."""
        value = self._store.pop(self._full(key), _ABSENT)
        if value is not _ABSENT:
            return value
        if default is MISSING:
            raise key_not_found(key)
        return default

    def popitem(self) -> Tuple[K, V]:
        """Take the first item away, in the order of keys; as pop().

        Raises:
            KeyNotFoundError: There is none.
            ConflictError: Others took the first one each time.
        """
        for _ in range(_ATTEMPTS):
            key = next(self._store.keys(self._start, limit=1, read=self._store._newest()), None)  # noqa: SLF001
            if key is None:
                msg = f"popitem: there is no key below {self._prefix!r}"
                raise KeyNotFoundError(msg)
            value = self._store.pop(key, _ABSENT)
            if value is not _ABSENT:
                return self._own(key_bytes(key)), value
        msg = f"popitem: others took the first key {_ATTEMPTS} times; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value; stores `default` first when the key is missing. Atomic in strong keyspaces only.

        Raises:
            ConflictError: The key came and went in each of many attempts.
        """
        full = self._full(key)
        for _ in range(_ATTEMPTS):
            entry = self._store.entry(full, read=self._store._newest())  # noqa: SLF001
            if entry is not None:
                return entry.value
            try:
                if self._store.add(full, default):
                    return default
            except UnsupportedError:
                # An eventual keyspace: this is the promise that it cannot make.
                self._store.put(full, default)
                return default
        msg = f"setdefault: {key!r} came and went {_ATTEMPTS} times; try again"
        raise ConflictError(msg, code="VERSION_CONFLICT")

    def clear(self) -> None:
        """Delete every key, in steps of up to a thousand."""
        self._store.delete_prefix(self._start)

    def _full(self, key: K) -> bytes:
        """The key as the store has it."""
        if not isinstance(key, self._type):
            msg = f"key: {self._type.__name__} like the prefix, not {type(key).__name__}"
            raise TypeError(msg)
        return self._start + key_bytes(key)

    def _own(self, key: bytes) -> K:
        """The other way round."""
        rest = key[len(self._start) :]
        return cast("K", rest.decode("utf-8", "surrogateescape") if self._type is str else rest)


class _Items(ItemsView[K, V]):
    """ItemsView would fetch each value by itself."""

    _mapping: Map[K, V]

    def __iter__(self) -> Iterator[Tuple[K, V]]:
        origin = self._mapping
        return (
            (origin._own(entry.key_bytes), entry.value)  # noqa: SLF001
            for entry in origin._store.scan(origin._start)  # noqa: SLF001
        )


class _Values(ValuesView[V]):
    """ValuesView would fetch each value by itself."""

    _mapping: Map[Any, V]

    def __iter__(self) -> Iterator[V]:
        origin = self._mapping
        return (entry.value for entry in origin._store.scan(origin._start))  # noqa: SLF001

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)

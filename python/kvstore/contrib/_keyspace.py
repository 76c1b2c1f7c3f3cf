"""How plug-ins reach their keyspace: by settings, without I/O before the first use, and not without its promises."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Dict, Final, Hashable, Iterable, Iterator, List, Tuple, TypeVar, Union

from kvstore._options import check_names
from kvstore.calls import Calls
from kvstore.client import Client
from kvstore.errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from typing import Mapping, Optional

    from kvstore._options import Target
    from kvstore.aio.store import AsyncStore
    from kvstore.status import KeyspaceInfo
    from kvstore.store import Store

__all__ = ["DEFAULT_TARGET", "ITEMS_MAX", "AsyncStrongStore", "StrongStore", "chunks", "open_store", "portions"]

T = TypeVar("T")

ITEMS_MAX: Final = 1000
"""Keys of one call at most. More would only make single calls longer; far more would be refused."""

_PORTION_BYTES: Final = 2 * 1024 * 1024
"""Keys and values of one put_many() at most, unless one value is larger: half of what a request may have."""

DEFAULT_TARGET: Final = "127.0.0.1:7001"

_clients: weakref.WeakValueDictionary[Tuple[Hashable, ...], Client[Any]] = weakref.WeakValueDictionary()


def open_store(
    target: Union[Target, Store[Any], None],
    keyspace: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
) -> Store[Any]:
    """The store that settings name. Those that name the same share a client: libraries make a plug-in a thread.

    Args:
        target: As of a Client; None or "": the default one. Or a store, such as a Node of this process.
        keyspace: None: that of the target.
        options: As of a Client.

    Raises:
        InvalidArgumentError: It names the option.
    """
    options = dict(options or {})
    if isinstance(target, Calls):
        check_names(options, ("read", "timeout"), "option of a view")
        store: Store[Any] = target if keyspace is None else target.keyspace(keyspace)
        return store.with_options(**options) if options else store
    wanted = target or DEFAULT_TARGET
    addresses: Target = wanted if isinstance(wanted, str) else list(wanted)
    key = (str(addresses), keyspace, *sorted((name, repr(value)) for name, value in options.items()))
    client = _clients.get(key)
    if client is None:
        # Two threads at the same moment may get one each, which does no harm. A lock might be held during a fork.
        client = _clients.setdefault(key, Client(addresses, keyspace or "default", **options))
    return client


class _Promise:
    """What a plug-in needs of its keyspace, and who it is, for the error."""

    def __init__(self, who: str, what: str) -> None:
        self._who = who
        self._what = what
        self._is_kept = False

    def _judge(self, info: KeyspaceInfo) -> None:
        if info.consistency != "strong":
            msg = (
                f"{self._who}: the keyspace {info.name!r} is {info.consistency}, which does not promise {self._what};"
                " name a strong one, `kvstore keyspace create NAME` makes one"
            )
            raise UnsupportedError(msg)
        self._is_kept = True

    def _explain(self, error: InvalidArgumentError) -> InvalidArgumentError:
        if error.code != "UNKNOWN_KEYSPACE":
            return error
        msg = f"{self._who}: {error}; `kvstore keyspace create NAME` makes a strong one"
        return InvalidArgumentError(msg, code=error.code)


class StrongStore(_Promise):
    """A store that is asked at its first use whether it is strong.

    Args:
        store: Which.
        who: The plug-in.
        what: What only a strong keyspace promises it.
    """

    def __init__(self, store: Store[Any], who: str, what: str) -> None:
        super().__init__(who, what)
        self._store = store

    def __call__(self) -> Store[Any]:
        """The store.

        Raises:
            UnsupportedError: Its keyspace is eventual.
            InvalidArgumentError: There is no such keyspace.
        """
        if not self._is_kept:
            try:
                self._judge(self._store.info())
            except InvalidArgumentError as error:
                raise self._explain(error) from error
        return self._store


class AsyncStrongStore(_Promise):
    """As StrongStore, for asyncio."""

    def __init__(self, store: AsyncStore[Any], who: str, what: str) -> None:
        super().__init__(who, what)
        self._store = store

    async def __call__(self) -> AsyncStore[Any]:
        """As StrongStore."""
        if not self._is_kept:
            try:
                self._judge(await self._store.info())
            except InvalidArgumentError as error:
                raise self._explain(error) from error
        return self._store


def chunks(keys: Iterable[T]) -> Iterator[List[T]]:
    """In lists of no more than one call takes."""
    chunk: List[T] = []
    for key in keys:
        chunk.append(key)
        if len(chunk) == ITEMS_MAX:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def portions(items: Iterable[Tuple[str, Any]]) -> Iterator[Dict[str, Any]]:
    """In dicts of no more than one put_many() takes; what is not bytes counts as small."""
    portion: Dict[str, Any] = {}
    size = 0
    for key, value in items:
        weight = len(key) * 3 + (len(value) if isinstance(value, bytes) else 16)
        if portion and (len(portion) == ITEMS_MAX or size + weight > _PORTION_BYTES):
            yield portion
            portion, size = {}, 0
        portion[key] = value
        size += weight
    if portion:
        yield portion

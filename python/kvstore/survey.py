"""How much room keys take: the largest values of a keyspace, and what keys that begin with the same take together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, NamedTuple, Optional, Tuple, cast

from kvstore._core import Request
from kvstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kvstore._options import Key
    from kvstore.store import Store

__all__ = ["Fold", "LargeValue", "Survey", "survey"]

_WHOLE = 1_000_000
_Page = Tuple[int, List[Tuple[bytes, int]], List[Tuple[bytes, int, int]], Optional[bytes]]
"""Keys looked at, the largest values, folds, and where the next page begins."""


class LargeValue(NamedTuple):
    """A key, and the bytes of its value."""

    key: bytes
    value_bytes: int


class Fold(NamedTuple):
    """Keys that begin with `prefix`, which ends with "/" or ":": how many, and the bytes of them and their values.

    The fold whose `prefix` is the one that was asked for is of the keys behind it that have no further separator.
    """

    prefix: bytes
    keys: int
    total_bytes: int


class Survey(NamedTuple):
    """What a look through a keyspace found. With a `sample` all figures are of the keys that counted, but `visited`.

    `largest` and `folds` begin with the largest; `keys` counted, `total_bytes` are those of them and of their
    values, and `visited` keys were looked at.
    """

    largest: List[LargeValue]
    folds: List[Fold]
    keys: int
    total_bytes: int
    visited: int


def survey(store: Store[Any], prefix: Key = "", *, top: int = 20, sample: float = 1.0) -> Survey:
    """Look through the keys of a keyspace at the contacted node, which tells sizes and sends no values.

    It reads every key, a page a call, each with its own timeout; writes go on meanwhile, so the whole is no snapshot.
    In an eventual keyspace it is what that node holds, in a strong one what it has applied.

    Args:
        store: The keyspace, at a client or a node.
        prefix: What the keys begin with.
        top: How many of the largest values and folds to tell, up to 1,000.
        sample: The share of the keys that count, over 0 and up to 1. Which do, their hash says, so that it is always
            the same ones. The node looks at all of them all the same.

    Raises:
        InvalidArgumentError: It names the argument; or there is no such keyspace.

    Example:
        >>> survey(db, "user:", top=1).largest[0].value_bytes
    """
    begin = prefix.encode("utf-8", "surrogateescape") if isinstance(prefix, str) else bytes(prefix)
    tally = _Tally(begin, top)
    for visited, largest, folds, _ in _pages(store, begin, top, share_of(sample)):
        tally.add(visited, largest, folds)
    return tally.result()


def share_of(sample: float) -> int:
    """The share of a sample in a million, as nodes are told it.

    Raises:
        InvalidArgumentError: It is none.
    """
    share = round(sample * _WHOLE) if 0 < sample <= 1 else 0
    if not share:
        msg = f"sample: {sample!r}, must be from 0.000001 to 1, which is all"
        raise InvalidArgumentError(msg)
    return share


def _pages(store: Store[Any], prefix: bytes, top: int, share: int) -> Iterator[_Page]:
    keyspace = store._requests.keyspace  # noqa: SLF001 - of the same package
    start = None
    while True:
        request = Request.survey(keyspace, prefix, start, share, top)
        page = cast("_Page", store._run(request))  # noqa: SLF001
        yield page
        start = page[3]
        if start is None:
            return


class _Tally:
    """The sum of pages that come in key order. Of folds it keeps the largest, and the one that may go on."""

    def __init__(self, prefix: bytes, top: int) -> None:
        self._top = top
        self._visited = self._keys = self._bytes = 0
        self._largest: List[LargeValue] = []
        self._folds: List[Fold] = []
        # The keys without a further separator lie anywhere.
        self._loose = Fold(prefix, 0, 0)
        self._open: Optional[Fold] = None

    def add(self, visited: int, largest: Iterable[Tuple[bytes, int]], folds: Iterable[Tuple[bytes, int, int]]) -> None:
        """Take in a page that follows those before it."""
        self._visited += visited
        found = [*self._largest, *(LargeValue(*each) for each in largest)]
        self._largest = sorted(found, key=lambda value: (-value.value_bytes, value.key))[: self._top]
        for fold in (Fold(*each) for each in folds):
            self._keys += fold.keys
            self._bytes += fold.total_bytes
            if fold.prefix == self._loose.prefix:
                self._loose = _sum(self._loose, fold)
            elif self._open is not None and self._open.prefix == fold.prefix:
                self._open = _sum(self._open, fold)
            else:
                self._close(self._open)
                self._open = fold

    def _close(self, fold: Optional[Fold]) -> None:
        if fold is not None and fold.keys:
            self._folds.append(fold)
            # Now and then, so that a fold costs little.
            if len(self._folds) >= 2 * self._top:
                self._cut()

    def _cut(self) -> None:
        self._folds = sorted(self._folds, key=lambda fold: (-fold.total_bytes, fold.prefix))[: self._top]

    def result(self) -> Survey:
        """The sum of all pages, once."""
        self._close(self._open)
        self._close(self._loose)
        self._cut()
        return Survey(self._largest, self._folds, self._keys, self._bytes, self._visited)


def _sum(one: Fold, other: Fold) -> Fold:
    return Fold(one.prefix, one.keys + other.keys, one.total_bytes + other.total_bytes)

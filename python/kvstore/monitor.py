"""The calls that are made at a node, as they are made: a sample of them, with keys and sizes and without values."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type

from kvstore import _core
from kvstore.errors import InvalidArgumentError
from kvstore.survey import share_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from kvstore._options import Timeout
    from kvstore.client import Client

__all__ = ["HotKey", "HotKeys", "Monitor", "SamplePage", "SampledCall"]

# Keys that are counted for each that is told: the more, the less the counts are off.
_CANDIDATES = 50
_OPEN_TIMEOUT = 5.0


class SampledCall(NamedTuple):
    """A call that was made at a node.

    `kind` is what users know it by, such as "get", "put", "scan" or "lock"; `key` is that of a single key, and of a
    scan or count what the keys begin with. `client` is what the client calls itself (`name=`), None where it has not
    said so or that is not known: it is of calls that an eventual keyspace gets from another process. `value_bytes`
    are those of the value that was written or found, 0 where there is none or none is known. `age` is how long ago it
    was when the node told it, in seconds.
    """

    kind: str
    keyspace: str
    key: bytes
    client: Optional[str]
    value_bytes: int
    age: float


class SamplePage(NamedTuple):
    """What a node tells at once.

    `seen` counts the calls since the page before, whether they are told or not, and `dropped` those that were to be
    told and were not, because too many waited.
    """

    calls: List[SampledCall]
    seen: int
    dropped: int


class Monitor:
    """Listens to the calls that are made at the node that a client is in contact with, until it is closed.

    Up to four may listen to a node. While one does, every call of the node takes a little longer; while nobody does, it
    costs nothing. Iterating gives pages for ever: one as soon as there is a call, and otherwise one a second. When the
    node stops or the connection is lost it ends with an error. Not thread-safe; for one process.

    What is not told: calls about leases and keyspaces, and which client made a call to a strong keyspace.

    Example:
        >>> with Monitor(db, sample=0.01) as monitor:
        ...     for page in monitor:
        ...         print(page.seen, [call.key for call in page.calls])
    """

    def __init__(
        self,
        client: Client[Any],
        *,
        sample: Optional[float] = None,
        per_second: Optional[int] = None,
        timeout: Timeout = _OPEN_TIMEOUT,
    ) -> None:
        """Begin to listen: what is called from then on is told.

        Args:
            client: Whose contacted node to listen to.
            sample: The share of the calls that are told, over 0 and up to 1, drawn at random; give this or
                `per_second`.
            per_second: Tell the first calls, up to so many a second.
            timeout: For the beginning.

        Raises:
            InvalidArgumentError: It names the argument.
            UnavailableError: Nobody can be reached, or four listen already (code OVERLOADED).
        """
        if (sample is None) == (per_second is None):
            msg = "sample, per_second: give one of them"
            raise InvalidArgumentError(msg)
        share = None if sample is None else share_of(sample)
        channel = client._channel  # noqa: SLF001 - of the same package
        self._monitor = _core.Monitor(channel, share, per_second, timeout)

    def next(self, timeout: Timeout = None) -> Optional[SamplePage]:
        """The next page; None when the timeout passed."""
        page = self._monitor.next(timeout)
        if page is None:
            return None
        calls, seen, dropped = page
        return SamplePage([SampledCall(*call) for call in calls], seen, dropped)

    def close(self) -> None:
        """Listen no longer. Idempotent."""
        self._monitor.close()

    def __iter__(self) -> Iterator[SamplePage]:
        """Pages, until it ends with an error."""
        while True:
            page = self.next()
            if page is not None:
                yield page

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Close it."""
        self.close()


class HotKey(NamedTuple):
    """A key that is called often: in how many calls it was counted, and by how many that may be too much."""

    keyspace: str
    key: bytes
    calls: int
    surplus: int


class HotKeys:
    """Counts keys in bounded memory, and finds those that come most often.

    It is Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
    Streams", 2005): a key that is not among the counted takes the place of the one that came least often, and its
    count. So no count is too small, `surplus` bounds by how much it is too large, and a key that makes up more than
    one in `capacity` calls is among the counted.

    Example:
        >>> keys = HotKeys(top=3)
        >>> keys.add("default", b"k")
        >>> keys.result()[0].calls
        1
    """

    def __init__(self, top: int = 20, capacity: Optional[int] = None) -> None:
        """Of nothing yet.

        Args:
            top: How many keys to tell.
            capacity: How many to count, at least `top`; None: fifty times as many.
        """
        if top < 1 or (capacity is not None and capacity < top):
            msg = f"top, capacity: {top} and {capacity}, must be at least 1 and at least `top`"
            raise InvalidArgumentError(msg)
        self._top = top
        self._capacity = top * _CANDIDATES if capacity is None else capacity
        self._counts: Dict[Tuple[str, bytes], Tuple[int, int]] = {}
        # Each counted key once, under a count that it had: it is looked at again when it comes to the top.
        self._heap: List[Tuple[int, Tuple[str, bytes]]] = []

    def add(self, keyspace: str, key: bytes) -> None:
        """Count a call."""
        name = (keyspace, key)
        known = self._counts.get(name)
        if known is not None:
            self._counts[name] = (known[0] + 1, known[1])
            return
        least = self._take_least() if len(self._counts) >= self._capacity else 0
        self._counts[name] = (least + 1, least)
        heapq.heappush(self._heap, (least + 1, name))

    def _take_least(self) -> int:
        """Forget the key that came least often; its count."""
        while True:
            count, name = self._heap[0]
            now = self._counts[name][0]
            if now == count:
                heapq.heappop(self._heap)
                del self._counts[name]
                return count
            heapq.heapreplace(self._heap, (now, name))

    def result(self) -> List[HotKey]:
        """Those that came most often, the first of them first."""
        found = (HotKey(*name, count, surplus) for name, (count, surplus) in self._counts.items())
        return heapq.nsmallest(self._top, found, key=lambda hot: (-hot.calls, hot.keyspace, hot.key))

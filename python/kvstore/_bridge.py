"""Between asyncio and the native module: one completion queue an event loop."""

from __future__ import annotations

import asyncio
import functools
import warnings
import weakref
from typing import TYPE_CHECKING, Any, List, Optional, Tuple, Union

from kvstore import _core, _fork
from kvstore.errors import ForkedError

if TYPE_CHECKING:
    from kvstore._options import Read, Retry, Timeout, Wanted
    from kvstore._security import TLS, Token
    from kvstore.status import Consistency

_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _core.Completions] = weakref.WeakKeyDictionary()


def queue_of(loop: asyncio.AbstractEventLoop) -> _core.Completions:
    """The queue of an event loop; made when it is asked for first."""
    queue = _queues.get(loop)
    if queue is None:
        queue = _core.Completions()
        loop.add_reader(queue.fileno(), queue.drain)
        _queues[loop] = queue
    return queue


class AsyncChannel:
    """The connection of an AsyncClient. Its loop is the one that awaits; another loop gets its own queue."""

    def __init__(  # noqa: PLR0917 - by position, as what it stands in for
        self,
        addresses: List[str],
        retry: Optional[Retry],
        name: Optional[str],
        discover: bool,  # noqa: FBT001 - by position, as what it stands in for
        hedge: Optional[float],
        tls: Union[bool, TLS, None],  # noqa: FBT001 - as the native one takes it
        token: Token,
        /,
    ) -> None:
        self._client = _core.Client(addresses, retry, name, discover, hedge, tls, token)
        self._generation = _fork.generation()
        self._bound: Optional[Tuple[asyncio.AbstractEventLoop, _core.Completions]] = None
        self._open = False

    async def run(self, request: _core.Request, timeout: Timeout, read: Optional[Read]) -> Any:
        """Do what was asked; a cancelled task gives the call up, and an answer that still comes is dropped."""
        queue, loop = self._here()
        future = loop.create_future()
        call = queue.submit(self._client, request, timeout, read, future)
        try:
            return await future
        finally:
            if future.cancelled() or not future.done():
                queue.cancel(call)

    def watch(self, wanted: Wanted, /) -> _core.Changes:
        """Begin a watch, in the background."""
        if self._generation != _fork.generation():
            msg = "this AsyncClient was made before a fork: make a new one in the child"
            raise ForkedError(msg)
        self._open = True
        return self._client.watch(wanted)

    def keep(self, lease: int, ttl: float, /) -> _core.Kept:
        """Keep a lease alive, in the background."""
        return self._client.keep(lease, ttl)

    def _here(self) -> Tuple[_core.Completions, asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        if self._bound is not None and self._bound[0] is loop and self._generation == _fork.generation():
            return self._bound[1], loop
        if self._generation != _fork.generation():
            msg = "this AsyncClient was made before a fork: make a new one in the child"
            raise ForkedError(msg)
        queue = queue_of(loop)
        self._bound = (loop, queue)
        self._open = True
        return queue, loop

    def consistency(self, keyspace: str, /) -> Optional[Consistency]:
        """What a keyspace is, if this is known."""
        return self._client.consistency(keyspace)

    def close(self) -> None:
        """Idempotent; calls in flight raise ClosedError."""
        self._open = False
        if self._generation == _fork.generation():
            self._client.close()

    def __del__(self) -> None:
        """Only warn: closing would need the loop, which may be gone."""
        if getattr(self, "_open", False) and self._generation == _fork.generation():
            text = "unclosed AsyncClient: use `async with`, or await aclose()"
            # What let it go is wherever the garbage collector was called from.
            warnings.warn(text, ResourceWarning, stacklevel=1, source=self)


class LocalChannel:
    """The way to a node of this process: it answers at once, when its disk has a write, or when its group agrees."""

    def __init__(self, node: _core.Node) -> None:
        self._node = node

    async def run(self, request: _core.Request, timeout: Timeout, read: Optional[Read]) -> Any:
        """Do what was asked, now; what other nodes or the disk are asked for must not block the loop."""
        if self._node._waits_for(request):  # noqa: SLF001
            return await self._wait(request, timeout, read)
        if request.waits:
            run = functools.partial(self._node._run, request, timeout, read)  # noqa: SLF001
            return await asyncio.get_running_loop().run_in_executor(None, run)
        return self._node._run(request, timeout, read)  # noqa: SLF001

    async def _wait(self, request: _core.Request, timeout: Timeout, read: Optional[Read]) -> Any:
        """A write is written now, or when the log has room, and answered when it is on disk: many share one sync."""
        loop = asyncio.get_running_loop()
        queue = queue_of(loop)
        future = loop.create_future()
        call = queue.submit_local(self._node, request, timeout, read, future)
        try:
            return await future
        finally:
            if future.cancelled() or not future.done():
                queue.cancel(call)

    def watch(self, wanted: Wanted, /) -> _core.Changes:
        """Begin a watch of the node's own data."""
        return self._node._open_watch(wanted)  # noqa: SLF001

    def keep(self, lease: int, ttl: float, /) -> _core.Kept:
        """Keep a lease alive, in the background."""
        return self._node._keep(lease, ttl)  # noqa: SLF001

    def consistency(self, keyspace: str, /) -> Optional[Consistency]:
        """What a keyspace is, if this is known."""
        return self._node._consistency(keyspace)  # noqa: SLF001

    def close(self) -> None:
        """The node goes on."""

"""An asynchronous store that is called like a blocking one, so that one test serves both."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Iterator

import kvstore

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Self


class Blocking:
    """Runs each call to its end on a loop of its own. Has no operators, as what it stands for has none."""

    def __init__(self, wrapped: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return functools.partial(self._call, found) if callable(found) else found

    def __repr__(self) -> str:
        return repr(self._wrapped)

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._wrapped.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run_until_complete(self._wrapped.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        if not hasattr(self._wrapped, "__aiter__"):
            msg = f"{self._wrapped!r} is not iterable"
            raise TypeError(msg)
        return self._iterate(self._wrapped.__aiter__())

    def _call(self, function: Any, *args: Any, **options: Any) -> Any:
        answer = function(*args, **options)
        if inspect.isawaitable(answer):
            answer = self._loop.run_until_complete(answer)
        if isinstance(answer, (kvstore.AsyncStore, kvstore.AsyncBatch, kvstore.AsyncWatch)):
            return Blocking(answer, self._loop)
        return self._iterate(answer) if hasattr(answer, "__anext__") else answer

    def _iterate(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                item = self._loop.run_until_complete(iterator.__anext__())
            except StopAsyncIteration:
                return
            yield item

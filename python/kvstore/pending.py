"""The answers to the operations of a batch, whether it was sent by a blocking call or awaited."""

from __future__ import annotations

from typing import Any, Generic, Optional, Tuple, TypeVar, cast, final

from kvstore.errors import ClosedError

__all__ = ["Pending"]

T = TypeVar("T")


@final
class Pending(Generic[T]):
    """The answer to one operation of a batch."""

    def __init__(self) -> None:
        self._outcome: Optional[Tuple[bool, Any]] = None

    def result(self) -> T:
        """The answer, or its error; ClosedError before the batch was sent."""
        if self._outcome is None:
            msg = "this batch was not sent: its `with` block has not ended, or ended with an error"
            raise ClosedError(msg, code="NOT_SENT")
        is_answer, answer = self._outcome
        if not is_answer:
            raise answer
        return cast("T", answer)

    def _settle(self, outcome: Tuple[bool, Any]) -> None:
        self._outcome = outcome

"""top: all members at a glance, again and again."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, Iterator, List, Mapping, Optional, Sequence

import kvstore

from .output import Column, human_seconds, print_records, text_of
from .overview import leader_of
from .rates import COLUMNS, Look, empty_record, look, record_of
from .screen import draw
from .settings import Settings, verb
from .stat import interval_options, ticks

if TYPE_CHECKING:
    from typing_extensions import Self

    from .values import Stored

    Record = Mapping[str, Any]

# Nodes asked at the same time.
_ASKERS: Final = 16
_GONE: Final = ("left", "removed")
# Values of TERM.
_WITHOUT_SCREEN: Final = ("dumb", "unknown")


@verb()
@interval_options
def top(settings: Settings, *, count: Optional[int], interval: float) -> None:
    """Show how each member is and what it does, every second until Ctrl-C.

    With textual on a terminal it is a screen with keys: q quits, s sorts, p pauses, + and - change the interval.
    Without textual the table is redrawn. Rates are those of `stat`. A member that does not answer stays in the table
    and says so, and may hold it up for --timeout. Without a terminal a table follows the other, and plain output and
    JSON are a line a member and look.
    """
    with settings.client() as client, Watched(settings, client) as watched:
        show = _screen() if settings.format == "table" else None
        if show:
            show(settings, watched, _COLUMNS, interval, count)
            return
        rounds = _rounds(watched, interval, count)
        if settings.format == "table":
            for records in rounds:
                draw(settings, _COLUMNS, records)
        else:
            print_records(settings, "members", _COLUMNS, (record for records in rounds for record in records))


def _screen() -> Optional[Callable[..., None]]:
    """What shows it on a terminal that has keys, where textual is installed."""
    # textual draws on stderr.
    terminals = (sys.stdin, sys.stdout, sys.stderr)
    if os.environ.get("TERM") in _WITHOUT_SCREEN or not all(terminal.isatty() for terminal in terminals):
        return None
    try:
        from .top_screen import show  # noqa: PLC0415 - it imports textual, which is optional and slow
    except ImportError:
        return None
    return show


def _rounds(watched: Watched, interval: float, count: Optional[int]) -> Iterator[List[Record]]:
    watched.first()
    for _ in ticks(interval, count):
        yield watched.again()


class Watched:
    """The members that a node knows, each with a client and the last look at it."""

    def __init__(self, settings: Settings, client: kvstore.Client[Stored]) -> None:
        self._settings = settings
        self._client = client
        self._members: Sequence[kvstore.MemberStatus] = ()
        self._clients: Dict[str, kvstore.Client[Stored]] = {}
        self._looks: Dict[str, Look] = {}
        self._answers: Dict[str, kvstore.NodeStatus] = {}
        self._ends = ExitStack()
        self._pool = self._ends.enter_context(ThreadPoolExecutor(_ASKERS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self._ends.close()

    def first(self) -> List[Record]:
        """The first look, at which nothing has a rate."""
        self._members = self._client.members()
        return self._look()

    def again(self) -> List[Record]:
        """Ask all members, and say what each does since it was asked before."""
        # Where the contacted node has gone, those that it knew are still worth a look.
        with suppress(kvstore.UnavailableError, kvstore.DeadlineError):
            self._members = self._client.members()
        return self._look()

    def headline(self) -> str:
        """The cluster and who leads it, by those that answered the last look."""
        answers = list(self._answers.values())
        return f"cluster {answers[0].cluster}  {leader_of(answers)}" if answers else ""

    def interrupt(self) -> None:
        """End the calls under way: they raise ClosedError."""
        for client in [self._client, *self._clients.values()]:
            client.close()

    def _look(self) -> List[Record]:
        shown = [member for member in self._members if member.state not in _GONE]
        for member in shown:
            if member.address not in self._clients:
                client = self._settings.client(member.address)
                self._clients[member.address] = self._ends.enter_context(client)
        self._answers.clear()
        return list(self._pool.map(self._record, shown))

    def _record(self, member: kvstore.MemberStatus) -> Record:
        record: Dict[str, Any] = {"at": time.time(), "node": member.id, "address": member.address}
        client = self._clients[member.address]
        try:
            status, after = client.status(), look(client)
        except kvstore.KVError as error:
            # What it did meanwhile is nobody's rate.
            self._looks.pop(member.address, None)
            record.update(state="no answer", answers=False, problem=str(error), uptime=None, role=None)
            return {**record, **empty_record()}
        self._answers[member.address] = status
        before = self._looks.get(member.address, after)
        self._looks[member.address] = after
        state = "removed" if status.removed else "ready" if status.ready else "catching up"
        record.update(state=state, answers=True, problem="; ".join(status.problems) or None, uptime=status.uptime)
        record["role"] = status.group.role if status.group else None
        return {**record, **record_of(before, after)}


_COLUMNS: Final = [
    Column("NODE", lambda record: record["node"] or "-"),
    Column("ADDRESS", text_of("address")),
    Column("STATE", text_of("state")),
    Column("ROLE", lambda record: record["role"] or "-"),
    *COLUMNS,
    Column(
        "UPTIME",
        lambda record: "-" if record["uptime"] is None else human_seconds(record["uptime"]),
        right=True,
        field="uptime",
    ),
]

"""top: all members at a glance, again and again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Dict, Final, Iterator, List, Mapping, Optional, Sequence

import kvstore

from .output import Column, human_seconds, print_records, text_of
from .rates import COLUMNS, Look, empty_record, look, record_of
from .screen import draw
from .settings import Settings, verb
from .stat import interval_options, ticks

if TYPE_CHECKING:
    from typing_extensions import Self

    from .values import Stored

# Nodes asked at the same time.
_ASKERS: Final = 16
_GONE: Final = ("left", "removed")


@verb()
@interval_options
def top(settings: Settings, *, count: Optional[int], interval: float) -> None:
    """Show how each member is and what it does, redrawn every second until Ctrl-C.

    Rates are those of `stat`. A member that does not answer stays in the table and says so, and may hold it up for
    --timeout. Without a terminal a table follows the other, and plain output and JSON are a line a member and look.
    """
    with settings.client() as client, _Watched(settings) as watched:
        rounds = _rounds(client, watched, interval, count)
        if settings.format == "table":
            for records in rounds:
                draw(settings, _COLUMNS, records)
        else:
            print_records(settings, "members", _COLUMNS, (record for records in rounds for record in records))


def _rounds(
    client: kvstore.Client[Stored], watched: _Watched, interval: float, count: Optional[int]
) -> Iterator[List[Mapping[str, Any]]]:
    members = client.members()
    watched.look(members)
    for _ in ticks(interval, count):
        # Where the contacted node has gone, those that it knew are still worth a look.
        with suppress(kvstore.UnavailableError, kvstore.DeadlineError):
            members = client.members()
        yield watched.look(members)


class _Watched:
    """Members with a client and the last look at each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: Dict[str, kvstore.Client[Stored]] = {}
        self._looks: Dict[str, Look] = {}
        self._ends = ExitStack()
        self._pool = self._ends.enter_context(ThreadPoolExecutor(_ASKERS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self._ends.close()

    def look(self, members: Sequence[kvstore.MemberStatus]) -> List[Mapping[str, Any]]:
        """Ask all members, and say what each does since it was asked before."""
        shown = [member for member in members if member.state not in _GONE]
        for member in shown:
            if member.address not in self._clients:
                client = self._settings.client(member.address)
                self._clients[member.address] = self._ends.enter_context(client)
        return list(self._pool.map(self._record, shown))

    def _record(self, member: kvstore.MemberStatus) -> Mapping[str, Any]:
        record: Dict[str, Any] = {"at": time.time(), "node": member.id, "address": member.address}
        client = self._clients[member.address]
        try:
            status, after = client.status(), look(client)
        except kvstore.KVError as error:
            # What it did meanwhile is nobody's rate.
            self._looks.pop(member.address, None)
            record.update(state="no answer", answers=False, problem=str(error), uptime=None, role=None)
            return {**record, **empty_record()}
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
    Column("UPTIME", lambda record: "-" if record["uptime"] is None else human_seconds(record["uptime"]), right=True),
]

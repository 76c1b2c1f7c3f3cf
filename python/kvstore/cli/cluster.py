"""How the nodes are: status, members."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

import click

import kvstore

from .exits import UNAVAILABLE, Failure
from .output import Column, human_bytes, human_seconds, print_records, report_note
from .settings import Settings, verb

# Nodes asked at the same time.
_ASKERS = 16


class _Answer(NamedTuple):
    """What a member said of itself, or why it said nothing."""

    address: str
    status: Optional[kvstore.NodeStatus]
    problem: Optional[str]


@verb()
@click.option("--digests", is_flag=True, help="Compare the contents of the nodes too; reads every record.")
def status(settings: Settings, *, digests: bool) -> None:
    """Print how each member is; exit 3 when one does not answer.

    With --digests, nodes with equal contents show the same digest.
    """
    with settings.client() as client:
        addresses = [member.address for member in client.members()]
    with ThreadPoolExecutor(_ASKERS) as pool:
        answers = list(pool.map(lambda address: _ask(settings, address, digests=digests), addresses))
    columns = _COLUMNS + ([_DIGEST_COLUMN] if digests else [])
    print_records(settings, "nodes", columns, map(_record_of, answers))
    for note in _notes(answers):
        report_note(settings, note)
    silent = [answer.address for answer in answers if answer.status is None]
    if silent:
        msg = f"no answer from {', '.join(silent)}"
        raise Failure(msg, UNAVAILABLE)


def _ask(settings: Settings, address: str, *, digests: bool) -> _Answer:
    try:
        with settings.client(address) as client:
            return _Answer(address, client.status(digests=digests), None)
    except kvstore.KVError as error:
        return _Answer(address, None, str(error))


def _record_of(answer: _Answer) -> Dict[str, Any]:
    status = answer.status
    if status is None:
        return {"address": answer.address, "answers": False, "problem": answer.problem}
    record = status._asdict()
    record["node"] = record.pop("id")
    record["answers"] = True
    record["peers"] = [peer._asdict() for peer in status.peers]
    record["lag"] = status.lag._asdict()
    # 64 bits: JSON readers would round the numbers.
    record["digests"] = [{**digest._asdict(), "digest": f"{digest.digest:016x}"} for digest in status.digests]
    return record


def _field(name: str, show: Callable[[Any], str] = str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: show(record[name]) if record["answers"] else "-"


def _state(record: Mapping[str, Any]) -> str:
    if not record["answers"]:
        return "no answer"
    return "ready" if record["ready"] else "catching up"


def _peers(record: Mapping[str, Any]) -> str:
    if not record["answers"]:
        return "-"
    connected = sum(peer["state"] == "connected" for peer in record["peers"])
    return f"{connected}/{len(record['peers'])}"


def _digest(record: Mapping[str, Any]) -> str:
    """The digests of all partitions folded into one: they do not depend on an order, and neither does their sum."""
    if not record["answers"]:
        return "-"
    return f"{sum(int(digest['digest'], 16) for digest in record['digests']) % 2**64:016x}"


_COLUMNS = [
    Column("NODE", _field("node")),
    Column("ADDRESS", lambda record: str(record["address"])),
    Column("STATE", _state),
    Column("PEERS", _peers, right=True),
    Column("KEYS", _field("keys", "{:,}".format), right=True),
    Column("SIZE", _field("bytes", human_bytes), right=True),
    Column("TOMBSTONES", _field("tombstones", "{:,}".format), right=True),
    Column("CONFLICTS", _field("conflicts", "{:,}".format), right=True),
    Column("LAG P99", _field("lag", lambda lag: human_seconds(lag["p99"]) if lag["samples"] else "-"), right=True),
    Column("UPTIME", _field("uptime", human_seconds), right=True),
    Column("VERSION", _field("version")),
]
_DIGEST_COLUMN = Column("DIGEST", _digest)


def _notes(answers: List[_Answer]) -> List[str]:
    """What keeps nodes apart, one line each."""
    notes = [f"{answer.address}: {answer.problem}" for answer in answers if answer.problem]
    for answer in answers:
        peers = answer.status.peers if answer.status else ()
        notes += [f"{answer.address} -> {peer.address}: {peer.state}, {peer.problem}" for peer in peers if peer.problem]
        notes += [
            f"{answer.address} refuses writes of {peer.address}: {peer.refused:.1f} s ahead of its clock"
            for peer in peers
            if peer.refused
        ]
        if answer.status:
            notes += _upkeep_notes(answer.address, answer.status)
    return notes


def _upkeep_notes(address: str, status: kvstore.NodeStatus) -> List[str]:
    """What a person should look at."""
    notes = []
    if status.held_back_by:
        names = ", ".join(status.held_back_by)
        lag = human_seconds(status.stable_lag)
        notes.append(f"{address}: {status.tombstones:,} deletes are remembered, held back for {lag} by {names}")
    if status.divergences:
        found, mended = status.divergences, status.repairs
        notes.append(f"{address}: differed from peers at equal vectors {found:,} times, repaired {mended:,} times")
    return notes


@verb()
def members(settings: Settings) -> None:
    """Print the members that the contacted node knows, itself first."""
    columns = [
        Column("NODE", lambda record: record["node"] or "-"),
        Column("ADDRESS", lambda record: record["address"]),
        Column("CONNECTED", lambda record: "yes" if record["connected"] else "no"),
    ]
    with settings.client() as client:
        found = client.members()
    records = ({"node": member.id, "address": member.address, "connected": member.connected} for member in found)
    print_records(settings, "members", columns, records)

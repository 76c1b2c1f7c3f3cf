"""How the nodes are: status, health, metrics, members, and removing a member."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

import click

import kvstore

from .exits import UNAVAILABLE, Failure
from .output import Column, human_bytes, human_seconds, print_record, print_records, report_note
from .overview import headline, print_keyspaces
from .params import DURATION
from .screen import draw
from .settings import Settings, verb
from .stat import interval_options, ticks

# Nodes asked at the same time.
_ASKERS = 16


# States of members that are none any more.
_GONE = ("left", "removed")

# Seconds between two looks at a node that is waited for.
_LOOK = 0.1


class _Answer(NamedTuple):
    """What a member said of itself, or why it said nothing."""

    address: str
    status: Optional[kvstore.NodeStatus]
    problem: Optional[str]


@verb()
@click.option("--digests", is_flag=True, help="Compare the contents of the nodes too; reads every record.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C; see --interval and --count.")
@interval_options
def status(settings: Settings, *, digests: bool, watch: bool, count: Optional[int], interval: float) -> None:
    """Print how each member is; exit 3 when one does not answer.

    A table shows the keyspaces, too. With --digests, nodes with equal contents show the same digest. With --watch, a
    terminal is redrawn, and elsewhere looks follow each other; every record has the time of its look, and the exit code
    is that of the last one.
    """
    columns = _COLUMNS + ([_DIGEST_COLUMN] if digests else [])
    if count is not None and not watch:
        msg = "--count is for --watch"
        raise click.UsageError(msg)
    if not watch:
        answers = _look(settings, _addresses(settings), digests=digests)
        if settings.format == "table":
            click.echo(headline(len(answers), [answer.status for answer in answers if answer.status]))
        print_records(settings, "nodes", columns, map(_record_of, answers))
        if settings.format == "table":
            print_keyspaces(settings)
        for note in _notes(answers):
            report_note(settings, note)
    else:
        # Printed as they come; the last of them are what the exit code is about.
        answers = []
        looks = _timed(_looks(settings, interval, count, digests=digests), answers)
        if settings.format == "table":
            for records in looks:
                draw(settings, columns, records, _notes(answers))
        else:
            print_records(settings, "nodes", columns, (record for records in looks for record in records))
    silent = [answer.address for answer in answers if answer.status is None]
    if silent:
        msg = f"no answer from {', '.join(silent)}"
        raise Failure(msg, UNAVAILABLE)


def _addresses(settings: Settings) -> List[str]:
    with settings.client() as client:
        return [member.address for member in client.members() if member.state not in _GONE]


def _look(settings: Settings, addresses: List[str], *, digests: bool) -> List[_Answer]:
    with ThreadPoolExecutor(_ASKERS) as pool:
        return list(pool.map(lambda address: _ask(settings, address, digests=digests), addresses))


def _looks(settings: Settings, interval: float, count: Optional[int], *, digests: bool) -> Iterator[List[_Answer]]:
    """A look, and another one an interval later, and so on: `count` of them."""
    addresses = _addresses(settings)
    yield _look(settings, addresses, digests=digests)
    for _ in ticks(interval, None if count is None else count - 1):
        # Where the contacted node has gone, those that it knew are still worth a look.
        with suppress(kvstore.UnavailableError, kvstore.DeadlineError):
            addresses = _addresses(settings)
        yield _look(settings, addresses, digests=digests)


def _timed(looks: Iterator[List[_Answer]], last: List[_Answer]) -> Iterator[List[Dict[str, Any]]]:
    """The records of each look, with its time; leaves its answers in `last`."""
    for answers in looks:
        last[:] = answers
        at = time.time()
        yield [{"at": at, **_record_of(answer)} for answer in answers]


def _ask(settings: Settings, address: Optional[str], *, digests: bool = False) -> _Answer:
    name = address or settings.server
    try:
        with settings.client(address) as client:
            return _Answer(name, client.status(digests=digests), None)
    except kvstore.KVError as error:
        return _Answer(name, None, str(error))


def _record_of(answer: _Answer) -> Dict[str, Any]:
    status = answer.status
    if status is None:
        return {"address": answer.address, "answers": False, "problem": answer.problem}
    record = status._asdict()
    record["node"] = record.pop("id")
    record["answers"] = True
    record["peers"] = [peer._asdict() for peer in status.peers]
    record["lag"] = status.lag._asdict()
    record["storage"] = status.storage._asdict() if status.storage else None
    record["group"] = _group_of(status.group)
    # 64 bits: JSON readers would round the numbers.
    record["digests"] = [{**digest._asdict(), "digest": f"{digest.digest:016x}"} for digest in status.digests]
    return record


def _group_of(group: Optional[kvstore.GroupStatus]) -> Optional[Dict[str, Any]]:
    if group is None:
        return None
    # 64 bits: JSON readers would round the number.
    members = [member._asdict() for member in group.members]
    return {**group._asdict(), "log_hash": f"{group.log_hash:016x}", "members": members}


def _field(name: str, show: Callable[[Any], str] = str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: show(record[name]) if record["answers"] else "-"


def _state(record: Mapping[str, Any]) -> str:
    if not record["answers"]:
        return "no answer"
    if record["removed"]:
        return "removed"
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


def _storage(record: Mapping[str, Any]) -> str:
    """What a write waits for, or why none is taken; "-" for a node that lives in memory."""
    storage = record.get("storage")
    if not storage:
        return "-"
    return str(storage["durability"] if storage["state"] == "ok" else storage["state"])


def _role(record: Mapping[str, Any]) -> str:
    """Of the strong group, with the term; "-" for a node that is not in one."""
    group = record.get("group")
    if not group or group["role"] == "none":
        return "-"
    return f"{group['role']} {group['term']}"


_COLUMNS = [
    Column("NODE", _field("node")),
    Column("ADDRESS", lambda record: str(record["address"])),
    Column("STATE", _state),
    Column("PEERS", _peers, right=True),
    Column("KEYS", _field("keys", "{:,}".format), right=True),
    Column("SIZE", _field("bytes", human_bytes), right=True),
    Column("TOMBSTONES", _field("tombstones", "{:,}".format), right=True),
    Column("CONFLICTS", _field("conflicts", "{:,}".format), right=True),
    Column("STORAGE", _storage),
    Column("STRONG", _role),
    Column("APPLIED", lambda record: f"{(record.get('group') or {}).get('applied_index', 0):,}", right=True),
    Column("LAG P99", _field("lag", lambda lag: human_seconds(lag["p99"]) if lag["samples"] else "-"), right=True),
    Column("UPTIME", _field("uptime", human_seconds), right=True),
    Column("VERSION", _field("version")),
]
_DIGEST_COLUMN = Column("DIGEST", _digest)


def _notes(answers: List[_Answer]) -> List[str]:
    """What keeps nodes apart, one line each."""
    notes = [f"{answer.address}: {answer.problem}" for answer in answers if answer.problem]
    notes += [f"{each.address}: {problem}" for each in answers if each.status for problem in each.status.problems]
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
            if answer.status.default_consistency != "eventual":
                notes.append(f"{answer.address}: the keyspace `default` is {answer.status.default_consistency}")
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
        Column("STATE", lambda record: record["state"]),
        Column("SINCE", _since),
        Column("BEHIND", lambda record: f"{record['behind']:,}", right=True),
        Column("CONNECTED", lambda record: "yes" if record["connected"] else "no"),
    ]
    with settings.client() as client:
        found = client.members()
    records = ({**member._asdict(), "node": member.id} for member in found)
    bare = ({name: value for name, value in record.items() if name != "id"} for record in records)
    print_records(settings, "members", columns, bare)


def _since(record: Mapping[str, Any]) -> str:
    return "-" if record["since"] is None else human_seconds(max(0.0, time.time() - record["since"]))


@click.group()
def member() -> None:
    """Change who belongs to the cluster."""


@verb()
@click.argument("node_id")
@click.option("--force", is_flag=True, help="Also when it is up; writes that it alone has are lost.")
def remove(settings: Settings, node_id: str, *, force: bool) -> None:
    """Remove a member for good, by its id; exit 4 when it is up.

    Deletes are remembered for a dead member until it is back or removed. Nobody talks to a removed one again; started
    again it is a new, empty member.
    """
    with settings.client() as client:
        client.cluster.remove(node_id, force=force)
    print_record(settings, {"node": node_id, "state": "removed"}, f"removed {node_id}")


@verb()
@click.argument("address", metavar="H:P")
def add(settings: Settings, address: str) -> None:
    """Refused: members add themselves. Says how; exit 6."""
    peers = "H:P" if "://" in settings.server else ",".join(settings.targets)
    msg = (
        f"member add: {address} joins by itself when it is started with a member as its peer, and gets a vote when it "
        f"has caught up; there: kvstore serve --peers {peers}"
    )
    raise kvstore.UnsupportedError(msg)


member.add_command(add)
member.add_command(remove)


@click.group()
def leader() -> None:
    """See and change who leads the strong group."""


@verb()
def show(settings: Settings) -> None:
    """Print the address and the id of the leader; exit 3 when there is none."""
    with settings.client() as client:
        found = client.cluster.leader()
    if found is None:
        msg = "nobody leads the strong group at the moment"
        raise Failure(msg, UNAVAILABLE)
    print_record(settings, {"node": found.id, "address": found.address}, f"{found.address}\t{found.id}")


@verb()
@click.argument("node_id", required=False)
def move(settings: Settings, node_id: Optional[str]) -> None:
    """Let the node NODE_ID lead, or whoever is best at it, and print the new leader's id."""
    with settings.client() as client:
        found = client.cluster.move_leader(node_id)
    print_record(settings, {"node": found}, found)


leader.add_command(show)
leader.add_command(move)


@verb()
@click.option("--wait", type=DURATION, default=0.0, metavar="DURATION", help="Wait so long for it, such as 30s.")
def health(settings: Settings, *, wait: float) -> None:
    """Say whether the contacted node is ready and well; exit 3 when it is not."""
    ends = time.monotonic() + wait
    pause = threading.Event()
    while True:
        answer = _ask(settings, None)
        is_healthy = answer.status is not None and answer.status.healthy
        if is_healthy or time.monotonic() >= ends:
            break
        pause.wait(_LOOK)
    problems = list(answer.status.problems) if answer.status else [answer.problem or "no answer"]
    if answer.status and not answer.status.ready:
        problems.append("it has not caught up with any peer yet")
    plain = "\n".join(["healthy" if is_healthy else "not healthy", *problems])
    print_record(settings, {"healthy": is_healthy, "problems": problems}, plain)
    if not is_healthy:
        msg = f"{settings.server} is not healthy"
        raise Failure(msg, UNAVAILABLE)


@verb()
def metrics(settings: Settings) -> None:
    """Print the figures of the contacted node, a series a line."""
    with settings.client() as client:
        found = client.metrics()
    columns = [
        Column("SERIES", lambda record: str(record["series"])),
        Column("VALUE", lambda record: f"{record['value']:g}", right=True),
    ]
    print_records(settings, "metrics", columns, ({"series": name, "value": found[name]} for name in sorted(found)))

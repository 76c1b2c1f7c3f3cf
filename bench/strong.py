"""Strong keyspaces beside etcd: `python bench/strong.py [--markdown FILE.md] [--only puts gets failover]`.

Three members of each, a process each, on one disk, every write synced; `benches/durable/` holds the one load loop.
Rounds are interleaved, ratios are taken within a round, figures are medians. Failover kills the leader and asks how
long the next put takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Sequence

from durable import Chosen, _bench, _built, _free_port, _ratio, _raw_sync, _start
from measure import machine

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = 3
# Of each system: all writers over one connection to each member, or a connection each to one of them.
CONNECTIONS = {"a connection each": 64, "one connection": 1}


class Group(NamedTuple):
    """Three members that run; `addresses` are for clients."""

    addresses: List[str]
    processes: List[subprocess.Popen[str]]
    commands: List[List[str]]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=ROOT / "target", help="on the disk that is measured")
    parser.add_argument("--binary", type=Path, help="of benches/durable, built already")
    parser.add_argument("--only", nargs="*", choices=["puts", "gets", "failover"], default=["puts", "gets", "failover"])
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-strong-", dir=str(asked.folder)) as folder:
        binary = str(asked.binary.resolve()) if asked.binary else _built()
        chosen = Chosen(binary, Path(folder).resolve(), asked.rounds, asked.seconds, asked.callers, 0)
        lines = [f"raw fdatasync before: {_raw_sync(chosen)}", ""]
        for name in asked.only:
            lines += [*(_failover(chosen, asked.kills) if name == "failover" else _compared(chosen, name)), ""]
        lines.append(f"raw fdatasync after: {_raw_sync(chosen)}")
        about = {**machine(), "load": os.getloadavg()[0], "rounds": chosen.rounds}
        lines.append(", ".join(f"{name}: {value}" for name, value in about.items()))
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text, encoding="utf-8")
    return 0


# Groups


@contextlib.contextmanager
def _kvstore(chosen: Chosen, folder: Path) -> Iterator[Group]:
    ports = [_free_port() for _ in range(MEMBERS)]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    commands = []
    for number, port in enumerate(ports):
        peers = ",".join(address for address in addresses if address != addresses[number])
        commands.append([chosen.bench, "member", str(folder / f"node-{number}"), str(port), peers])
    processes = [_start(command, chosen.folder) for command in commands]
    try:
        for process in processes:
            _ready(process)
        _bench(chosen, "create", addresses[0])
        yield Group(addresses, processes, commands)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _ready(process: subprocess.Popen[str]) -> None:
    line = process.stdout.readline() if process.stdout else ""
    if line.strip() != "READY":
        msg = f"{process.args!r} did not start: {line!r}"
        raise RuntimeError(msg)


@contextlib.contextmanager
def _etcd(folder: Path) -> Iterator[Group]:
    """Three members with the defaults of their package; the load waits until they have a leader."""
    clients = [f"http://127.0.0.1:{_free_port()}" for _ in range(MEMBERS)]
    peers = [f"http://127.0.0.1:{_free_port()}" for _ in range(MEMBERS)]
    cluster = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
    commands = []
    for number in range(MEMBERS):
        command = ["etcd", "--name", f"m{number}", "--data-dir", str(folder / f"etcd-{number}")]
        command += ["--listen-client-urls", clients[number], "--advertise-client-urls", clients[number]]
        command += ["--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number]]
        command += ["--initial-cluster", cluster, "--logger", "zap", "--log-outputs", "/dev/null"]
        commands.append(command)
    processes = [_start(command, folder) for command in commands]
    try:
        yield Group([client[len("http://") :] for client in clients], processes, commands)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate()


# Puts and gets


def _compared(chosen: Chosen, work: str) -> List[str]:
    lines: List[str] = []
    names = ["kvstore", *(["etcd"] if shutil.which("etcd") else [])]
    for how, connections in CONNECTIONS.items():
        rounds: Dict[str, List[Dict[str, float]]] = {name: [] for name in names}
        for number in range(chosen.rounds):
            for name, figures in rounds.items():
                folder = chosen.folder / f"{name}-{work}-{connections}-{number}"
                folder.mkdir()
                figures.append(_round(chosen, name, folder, (work, connections)))
                shutil.rmtree(folder)
            brief = ", ".join(f"{name} {figures[-1]['per_second']:,.0f}/s" for name, figures in rounds.items())
            print(f"{work}, {how}, round {number}: {brief}", file=sys.stderr, flush=True)
        lines += _table(chosen, f"{work}, {how}", rounds)
    return lines


def _round(chosen: Chosen, name: str, folder: Path, what: Sequence[Any]) -> Dict[str, float]:
    work, connections = what
    verb, system = {"puts": "load", "gets": "gets"}[work], {"kvstore": "strong", "etcd": "etcd"}[name]
    with _kvstore(chosen, folder) if name == "kvstore" else _etcd(folder) as group:
        shape = (chosen.seconds, chosen.writers, connections)
        return dict(json.loads(_bench(chosen, verb, system, group.addresses[0], *shape)))


def _table(chosen: Chosen, what: str, rounds: Dict[str, List[Dict[str, float]]]) -> List[str]:
    how = f"{MEMBERS} members, {chosen.writers} callers at one of them; {chosen.rounds} rounds of {chosen.seconds:g} s"
    lines = [
        f"Strong {what}; {how}:",
        "",
        "| system | calls/s | p50 | p99 | ours to it | range | our p99 to its |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    ours = rounds["kvstore"]
    for name, figures in rounds.items():
        middle = {key: statistics.median(figure[key] for figure in figures) for key in figures[0]}
        calls, spread = _ratio([f["per_second"] for f in ours], [f["per_second"] for f in figures])
        late, _ = _ratio([f["p99_us"] for f in ours], [f["p99_us"] for f in figures])
        ratios = "| | |" if name == "kvstore" else f"{calls:.2f} | {spread} | {late:.2f} |"
        lines.append(
            f"| {name} | {middle['per_second']:,.0f} "
            f"| {middle['p50_us'] / 1000:.2f} ms | {middle['p99_us'] / 1000:.2f} ms | {ratios}"
        )
    return [*lines, ""]


# Failover


def _failover(chosen: Chosen, kills: int) -> List[str]:
    """Kills the leader again and again; it comes back before the next."""
    folder = chosen.folder / "failover"
    folder.mkdir()
    pauses = []
    with _kvstore(chosen, folder) as group:
        command = [chosen.bench, "failover", ",".join(group.addresses)]
        client = _start(command, chosen.folder)
        try:
            _ready(client)
            _ask(client)
            for number in range(kills):
                pauses.append(_kill_leader(group, client))
                print(f"failover {number}: {pauses[-1] / 1e6:.3f} s", file=sys.stderr, flush=True)
        finally:
            client.kill()
            client.communicate()
    pauses.sort()
    late = pauses[min(len(pauses) - 1, int(0.99 * len(pauses)))]
    figures = f"p50 {statistics.median(pauses) / 1e6:.2f} s, p99 {late / 1e6:.2f} s, most {pauses[-1] / 1e6:.2f} s"
    return [f"From SIGKILL of the leader to the next acknowledged put, {kills} kills: {figures}"]


def _ask(client: subprocess.Popen[str]) -> float:
    """How long the next put takes, in microseconds."""
    if client.stdin is None or client.stdout is None:
        msg = "the client has no pipes"
        raise RuntimeError(msg)
    client.stdin.write("KILLED\n")
    client.stdin.flush()
    return float(client.stdout.readline())


def _kill_leader(group: Group, client: subprocess.Popen[str]) -> float:
    leader = _leader(group)
    group.processes[leader].kill()
    pause = _ask(client)
    group.processes[leader].communicate()
    group.processes[leader] = _start(group.commands[leader], Path(group.commands[leader][2]).parent)
    _ready(group.processes[leader])
    return pause


def _leader(group: Group) -> int:
    """Which process leads, once all three follow or lead with a vote."""
    import kvstore  # noqa: PLC0415 - only what fails over needs the package

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = []
        for address in group.addresses:
            with kvstore.Client(address) as client, contextlib.suppress(kvstore.KVError):
                seen.append(client.status().group)
        roles = [status.role if status else "none" for status in seen]
        applied = {status.applied_index for status in seen if status}
        if sorted(roles) == ["follower", "follower", "leader"] and max(applied) - min(applied) < MEMBERS:
            return roles.index("leader")
    msg = "the group did not become whole"
    raise RuntimeError(msg)


if __name__ == "__main__":
    sys.exit(main())

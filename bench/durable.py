"""Durable writes and recovery beside Redis and etcd: `python bench/durable.py [--markdown FILE.md] [--only writes]`.

Each system runs as a process of its own on one disk; `benches/durable/` holds the load loop. Rounds are interleaved,
ratios are taken within a round, figures are medians. A server that this machine does not have is named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from measure import machine

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.002
# The key with number 1, which every filled server holds (SplitMix64, as in benches/durable).
FIRST_KEY = "e220a8397b1dcdaf"
REDIS = ["redis-server", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
# Otherwise Redis rewrites its file in the middle of what is measured.
NO_REWRITE = ["--auto-aof-rewrite-percentage", "0"]


class Server(NamedTuple):
    """A server that runs, with its own directory."""

    process: subprocess.Popen[str]
    address: str
    folder: Path
    started_seconds: float


class Chosen(NamedTuple):
    """What is to be done."""

    bench: str
    folder: Path
    rounds: int
    seconds: float
    writers: int
    keys: int


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of writes")
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--keys", type=int, default=1_000_000, help="to recover")
    parser.add_argument("--folder", type=Path, default=ROOT / "target", help="on the disk that is measured")
    parser.add_argument("--binary", type=Path, help="of benches/durable, built already")
    parser.add_argument("--only", nargs="*", choices=["writes", "recovery"], default=["writes", "recovery"])
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-durable-", dir=str(asked.folder)) as folder:
        binary = str(asked.binary.resolve()) if asked.binary else _built()
        chosen = Chosen(binary, Path(folder).resolve(), asked.rounds, asked.seconds, asked.writers, asked.keys)
        lines = [f"raw fdatasync before: {_raw_sync(chosen)}", ""]
        for name in asked.only:
            lines += [*{"writes": _writes, "recovery": _recovery}[name](chosen), ""]
        lines.append(f"raw fdatasync after: {_raw_sync(chosen)}")
        about = {**machine(), "load": os.getloadavg()[0], "rounds": chosen.rounds}
        lines.append(", ".join(f"{name}: {value}" for name, value in about.items()))
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text, encoding="utf-8")
    return 0


def _built() -> str:
    """The path of the benchmark's binary."""
    command = ["cargo", "bench", "--no-run", "--quiet", "--bench", "durable", "--message-format", "json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found = [json.loads(line).get("executable") for line in output.splitlines()]
    return [str(path) for path in found if path][-1]


def _bench(chosen: Chosen, *arguments: object) -> str:
    command = [chosen.bench, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _raw_sync(chosen: Chosen) -> str:
    figures = json.loads(_bench(chosen, "sync", chosen.folder))
    return f"p50 {figures['p50_us']} us, p99 {figures['p99_us']} us (170 bytes appended and synced, 2,000 times)"


# Servers


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@contextlib.contextmanager
def _kvstore(chosen: Chosen, folder: Path, probe: str = "") -> Iterator[Server]:
    """A node; a probe is a key that it has to answer for before it counts as started."""
    began = time.monotonic()
    process = _start([chosen.bench, "serve", str(folder), *([probe] if probe else [])], chosen.folder)
    try:
        ready = process.stdout.readline().split() if process.stdout else []
        if not ready or ready[0] != "READY":
            msg = f"the node did not start: {ready}"
            raise RuntimeError(msg)
        yield Server(process, ready[1], folder, time.monotonic() - began)
    finally:
        process.kill()
        process.communicate()


def _figures_at_end(server: Server) -> Dict[str, Any]:
    """Ends a node in order; what it says about itself."""
    output, _ = server.process.communicate("")
    return dict(json.loads(output))


@contextlib.contextmanager
def _redis(folder: Path, *options: str) -> Iterator[Server]:
    """Redis, once it answers a ping: it has loaded what it had."""
    port = _free_port()
    began = time.monotonic()
    process = _start([*REDIS, "--dir", str(folder), "--port", str(port), *options], folder)
    try:
        while _ask_redis(port, b"PING") != b"+PONG\r\n":
            _still(process, began)
        yield Server(process, f"127.0.0.1:{port}", folder, time.monotonic() - began)
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def _etcd(folder: Path) -> Iterator[Server]:
    """One member, with the defaults of its package; the load waits until it has a leader."""
    clients, peers = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    command = ["etcd", "--data-dir", str(folder), "--listen-client-urls", clients, "--advertise-client-urls", clients]
    command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
    command += ["--initial-cluster", f"default={peers}", "--logger", "zap", "--log-outputs", "/dev/null"]
    process = _start(command, folder)
    try:
        yield Server(process, clients[len("http://") :], folder, 0.0)
    finally:
        process.terminate()
        process.communicate()


def _still(process: subprocess.Popen[str], began: float) -> None:
    """Waits a moment for a server that starts."""
    if process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
        msg = f"{process.args!r} did not start"
        raise RuntimeError(msg)
    select.select([], [], [], POLL_SECONDS)


def _ask_redis(port: int, command: bytes) -> bytes:
    """The first line of the answer; empty: there is nobody yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(command + b"\r\n")
            return client.makefile("rb").readline()
    except OSError:
        return b""


def _redis_info(server: Server, section: str) -> Dict[str, str]:
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(f"INFO {section}\r\n".encode())
        stream = client.makefile("rb")
        text = stream.read(int(stream.readline()[1:])).decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


# Writes


def _writes(chosen: Chosen) -> List[str]:
    others = [name for name in ("redis", "etcd") if _is_here(name)]
    hows = {
        "a connection each": chosen.writers,
        "one connection for all": 1,
        "kvstore in the process of the writers, the others over one connection": 0,
    }
    lines: List[str] = []
    for how, connections in hows.items():
        rounds: Dict[str, List[Dict[str, float]]] = {name: [] for name in ("kvstore", *others)}
        for number in range(chosen.rounds):
            for name, figures in rounds.items():
                folder = chosen.folder / f"{name}-{connections}-{number}"
                folder.mkdir()
                is_embedded = name == "kvstore" and not connections
                figures.append(
                    _embedded_round(chosen, folder) if is_embedded else _round(chosen, name, folder, connections or 1)
                )
                shutil.rmtree(folder)
            print(f"{how}, round {number}: " + _brief(rounds), file=sys.stderr, flush=True)
        lines += _writes_table(chosen, how, rounds)
    return lines


def _is_here(name: str) -> bool:
    found = shutil.which({"redis": "redis-server"}.get(name, name)) is not None
    if not found:
        print(f"{name} is not on this machine: left out", file=sys.stderr)
    return found


def _brief(rounds: Dict[str, List[Dict[str, float]]]) -> str:
    return ", ".join(f"{name} {figures[-1]['per_second']:,.0f}/s" for name, figures in rounds.items())


def _round(chosen: Chosen, name: str, folder: Path, connections: int) -> Dict[str, float]:
    starting = {
        "kvstore": lambda: _kvstore(chosen, folder),
        "redis": lambda: _redis(folder, *NO_REWRITE),
        "etcd": lambda: _etcd(folder),
    }[name]
    with starting() as server:
        shape = (chosen.seconds, chosen.writers, connections)
        figures: Dict[str, float] = json.loads(_bench(chosen, "load", name, server.address, *shape))
        if name == "kvstore":
            figures.update(_a_sync(figures, _figures_at_end(server)))
    figures["on_disk"] = _bytes_in(folder) / figures["puts"]
    return figures


def _embedded_round(chosen: Chosen, folder: Path) -> Dict[str, float]:
    """As a round, with the writers in the process of the node."""
    load, own = map(json.loads, _bench(chosen, "embed", folder, chosen.seconds, chosen.writers).splitlines())
    return {**load, **_a_sync(load, own), "on_disk": _bytes_in(folder) / load["puts"]}


def _a_sync(load: Dict[str, float], own: Dict[str, float]) -> Dict[str, float]:
    return {"a_sync": load["puts"] / own["syncs"], "payload": own["log_bytes"] / load["puts"]}


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _writes_table(chosen: Chosen, how: str, rounds: Dict[str, List[Dict[str, float]]]) -> List[str]:
    lines = [
        f"Synced puts, {chosen.writers} writers, {how}; {chosen.rounds} rounds of {chosen.seconds:g} s:",
        "",
        "| system | puts/s | p50 | p99 | ours to it | range | bytes a record on disk |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for name, figures in rounds.items():
        middle = {key: statistics.median(figure[key] for figure in figures) for key in figures[0]}
        ratio, spread = _ratio([f["per_second"] for f in rounds["kvstore"]], [f["per_second"] for f in figures])
        is_ours = name == "kvstore"
        lines.append(
            f"| {name} | {middle['per_second']:,.0f} "
            f"| {middle['p50_us'] / 1000:.2f} ms | {middle['p99_us'] / 1000:.2f} ms "
            f"| {'' if is_ours else f'{ratio:.2f}'} | {'' if is_ours else spread} "
            f"| {middle['on_disk']:.0f} |"
        )
    ours = rounds["kvstore"]
    a_sync, payload = (statistics.median(figure[key] for figure in ours) for key in ("a_sync", "payload"))
    lines += ["", f"kvstore: {a_sync:.1f} appends a sync, {payload:.0f} bytes a record in the log", ""]
    return lines


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Tuple[float, str]:
    ratios = [mine / other for mine, other in zip(ours, theirs)]
    return statistics.median(ratios), f"{min(ratios):.2f}-{max(ratios):.2f}"


# Recovery


def _recovery(chosen: Chosen) -> List[str]:
    log, snapshot, aof, rewritten = (chosen.folder / name for name in ("log", "snapshot", "aof", "rewritten"))
    _bench(chosen, "fill-log", log, chosen.keys)
    shutil.copytree(log, snapshot)
    _bench(chosen, "checkpoint", snapshot)
    kinds = {"kvstore, log": log, "kvstore, snapshot": snapshot}
    if _is_here("redis"):
        _fill_redis(chosen, aof, rewritten)
        kinds.update({"Redis, append-only file": aof, "Redis, rewritten append-only file": rewritten})
    rounds: Dict[str, List[Tuple[float, float]]] = {name: [] for name in kinds}
    for number in range(chosen.rounds):
        for name, source in kinds.items():
            # A copy, because a start changes a directory; it leaves what it read in the page cache.
            folder = chosen.folder / "recovering"
            shutil.copytree(source, folder)
            os.sync()
            rounds[name].append(_recover(chosen, folder, is_ours=name.startswith("kvstore")))
            shutil.rmtree(folder)
        last = ", ".join(f"{name} {figures[-1][0]:.2f} s" for name, figures in rounds.items())
        print(f"recovery, round {number}: {last}", file=sys.stderr, flush=True)
    sizes = {name: _bytes_in(source) / chosen.keys for name, source in kinds.items()}
    return _recovery_table(chosen, rounds, sizes)


def _fill_redis(chosen: Chosen, aof: Path, rewritten: Path) -> None:
    """One directory with every command as it came, one with what Redis makes of it when it rewrites the file."""
    aof.mkdir()
    with _redis(aof, *NO_REWRITE) as server:
        _bench(chosen, "fill-redis", server.address, chosen.keys)
    shutil.copytree(aof, rewritten)
    with _redis(rewritten) as server:
        _ask_redis(int(server.address.rpartition(":")[2]), b"BGREWRITEAOF")
        began = time.monotonic()
        while _redis_info(server, "persistence")["aof_rewrite_in_progress"] != "0":
            _still(server.process, began)


def _recover(chosen: Chosen, folder: Path, *, is_ours: bool) -> Tuple[float, float]:
    """Seconds from the start of the process until it has answered, and its resident bytes a key then."""
    starting = _kvstore(chosen, folder, FIRST_KEY) if is_ours else _redis(folder, *NO_REWRITE)
    with starting as server:
        held = _figures_at_once(server, is_ours=is_ours)
        resident = _resident_bytes(server) / chosen.keys
        found = _figures_at_end(server)["keys"] if is_ours else held
        if found is not None and found != chosen.keys:
            msg = f"{found} keys came back, not {chosen.keys}"
            raise RuntimeError(msg)
        return server.started_seconds, resident


def _figures_at_once(server: Server, *, is_ours: bool) -> Optional[int]:
    if is_ours:
        return None
    return int(_redis_info(server, "keyspace")["db0"].split(",")[0].split("=")[1])


def _resident_bytes(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def _recovery_table(chosen: Chosen, rounds: Dict[str, List[Tuple[float, float]]], sizes: Dict[str, float]) -> List[str]:
    lines = [
        f"Recovery of {chosen.keys:,} records, from the start of the process to its answer; {chosen.rounds} rounds:",
        "",
        "| from | seconds | Redis' file / this | range | rewritten / this | range | bytes on disk | resident bytes |",
        "| --- | ---: | ---: | --- | ---: | --- | ---: | ---: |",
    ]
    redis = [[figure[0] for figure in figures] for name, figures in rounds.items() if name.startswith("Redis")]
    for name, figures in rounds.items():
        seconds, resident = (statistics.median(figure[at] for figure in figures) for at in (0, 1))
        ratios = [_ratio(theirs, [figure[0] for figure in figures]) for theirs in redis]
        cells = [f"{ratio:.2f} | {spread}" for ratio, spread in ratios] or ["|", "|"]
        lines.append(f"| {name} | {seconds:.2f} | {' | '.join(cells)} | {sizes[name]:.0f} | {resident:.0f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""Memory an entry beside Redis: `python bench/memory.py [--keys N] [--rounds N]`.

The same random 16-byte keys and 100-byte values go into the store alone (`benches/records.rs`, in a process of its own)
and into a `redis-server` of this machine. What is compared is by how much the resident set of each grew.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, Iterator

from measure import machine

ROOT = Path(__file__).resolve().parent.parent
VALUE = b"\x07" * 100
PIPELINED = 1000
STARTED_WITHIN_SECONDS = 10.0
MASK = (1 << 64) - 1


def main() -> int:
    """Print both figures and their ratio; 1 when ours is the greater."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    ours = statistics.median(_ours(chosen.keys) for _ in range(chosen.rounds))
    theirs = statistics.median(_redis(chosen.keys) for _ in range(chosen.rounds))
    print(f"{chosen.keys:,} keys of 16 bytes, values of {len(VALUE)} bytes: resident bytes an entry")
    print(f"  kvstore {ours:.0f}   Redis {theirs:.0f}   ratio {ours / theirs:.2f}")
    print("  " + ", ".join(f"{name}: {value}" for name, value in machine().items()))
    return int(ours > theirs)


def _ours(keys: int) -> float:
    command = ["cargo", "bench", "--quiet", "--bench", "records", "--", f"memory:{keys}"]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)


def _redis(keys: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            with _connected(path, server) as stream:
                before = _resident_bytes(server.pid)
                _fill(stream, keys)
                return (_resident_bytes(server.pid) - before) / keys
        finally:
            server.terminate()
            server.wait()


def _connected(path: str, server: subprocess.Popen[bytes]) -> BinaryIO:
    """A stream to the server, as soon as it answers a ping."""
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except OSError:
            client.close()
            continue
        stream = client.makefile("rwb")
        client.close()
        stream.write(b"PING\r\n")
        stream.flush()
        if stream.readline() == b"+PONG\r\n":
            return stream
        stream.close()
    msg = "redis-server did not start"
    raise RuntimeError(msg)


def _fill(stream: BinaryIO, keys: int) -> None:
    for sent, key in enumerate(_keys(keys), start=1):
        stream.write(b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$%d\r\n%b\r\n" % (key, len(VALUE), VALUE))
        if sent % PIPELINED == 0 or sent == keys:
            stream.flush()
            for _ in range((sent - 1) % PIPELINED + 1):
                answer = stream.readline()
                if answer != b"+OK\r\n":
                    msg = f"redis-server: {answer!r}"
                    raise RuntimeError(msg)


def _keys(count: int) -> Iterator[bytes]:
    """The keys of `benches/records.rs` (SplitMix64)."""
    for number in range(1, count + 1):
        z = number * 0x9E3779B97F4A7C15 & MASK
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        yield b"%016x" % (z ^ (z >> 31))


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(main())

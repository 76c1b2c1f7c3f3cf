"""Nodes in processes of their own, for `up`, `demo` and whoever tests with real ones.

A node process runs `kvstore serve --until-eof`: it ends when the pipe that its starter holds is closed, also when the
starter was killed, so that none is ever left behind.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import kvstore

from .exits import INTERNAL, UNAVAILABLE, Failure

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

# A cold interpreter on a busy machine takes about a second; a start that takes longer than this has gone wrong.
START_SECONDS = 20.0

# What a node may take to hand over and close before it is killed.
STOP_SECONDS = 10.0

_STDERR_BYTES_SHOWN = 2000

# How its errors begin: see `exits.report`.
_PROGRAM = "kvstore: "


class NodeProcess:
    """A node process. Made by `start`; `with` makes sure that it is gone at the end."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: IO[bytes], hello: Dict[str, Any]) -> None:
        self._process = process
        self._stderr = stderr
        self._words = ""
        self.address: str = str(hello["address"])
        self.port: int = int(hello["port"])
        self.node: str = str(hello["node"])
        self.dashboard: Optional[str] = hello.get("dashboard")

    @classmethod
    def start(
        cls, port: int = 0, peers: Sequence[str] = (), options: Sequence[str] = (), timeout: float = START_SECONDS
    ) -> NodeProcess:
        """Start a node and wait until it listens.

        Args:
            port: Where; 0 picks a free one.
            peers: Addresses of members to begin with.
            options: Further options of `kvstore serve`.
            timeout: Seconds it may take.

        Returns:
            The running node.

        Raises:
            Failure: It ended, with its own exit code and last words, or did not listen in time.
        """
        command = [sys.executable, "-m", "kvstore", "-o", "json", "serve", str(port), "--until-eof", *options]
        if peers:
            command += ["--peers", ",".join(peers)]
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the node is done with
        # A session of its own: Ctrl-C on the terminal reaches the starter only, which then ends its nodes in order.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, and no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(),
            start_new_session=True,
        )
        line = _first_line(process, timeout)
        if line:
            return cls(process, stderr, json.loads(line))
        raise _failure_of(process, stderr, timeout)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def client(self, **options: Any) -> kvstore.Client[Any]:
        """A client of this node alone."""
        return kvstore.Client(self.address, **{"discover": False, **options})

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: it loses its memory, and its peers are told nothing."""
        self._process.kill()
        self._process.wait()
        self._close()

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Ask it to end, and kill it when it does not.

        Returns:
            Its exit code; negative: the signal that ended it.
        """
        if self.running:
            self._process.terminate()
        code = self.wait(timeout)
        if code is None:
            self.kill()
        self._close()
        return int(self._process.returncode)

    def wait(self, timeout: float) -> Optional[int]:
        """Its exit code, or None when it still runs after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return self._words if self._stderr.closed else _tail(self._stderr)

    def _close(self) -> None:
        self._words = self.last_words()
        _close_files(self._process, self._stderr)

    def end(self) -> None:
        """Make sure that it is gone, whatever state it is in."""
        if hasattr(signal, "SIGCONT") and self.running:
            # A paused process would not hear that it has to end.
            self.signal(signal.SIGCONT)
        self.stop()

    def __enter__(self) -> Self:
        """Nothing to do: it runs since it was made."""
        return self

    def __exit__(self, *_details: object) -> None:
        """See `end`."""
        self.end()


def start_cluster(
    count: int, ports: Sequence[int] = (), options: Sequence[str] = (), data_dir: Optional[Path] = None
) -> List[NodeProcess]:
    """Start nodes that know each other: each is told of those before it, and they tell the earlier ones.

    Args:
        count: How many.
        ports: Their ports; none given: free ones.
        options: Further options of `kvstore serve`.
        data_dir: Where each has a directory of its own, by its number; None: they live in memory.

    Returns:
        The nodes. When one fails, those already started are stopped and its Failure is raised.
    """
    nodes: List[NodeProcess] = []
    try:
        for index in range(count):
            peers = [node.address for node in nodes]
            place = [] if data_dir is None else ["--data-dir", str(data_dir / f"node-{index + 1}")]
            nodes.append(NodeProcess.start(ports[index] if ports else 0, peers, [*options, *place]))
    except BaseException:
        stop_all(nodes)
        raise
    return nodes


def stop_all(nodes: Sequence[NodeProcess]) -> None:
    """End all of them; those that do not end in time are killed."""
    for node in nodes:
        node.end()


def _environment() -> Dict[str, str]:
    # Settings meant for this process (its port, its server) are none of its nodes'.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KVSTORE_")}
    return {**inherited, "PYTHONUNBUFFERED": "1"}


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    assert process.stdout is not None  # noqa: S101 - asked for above
    lines: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        return lines.get(timeout=timeout)
    except queue.Empty:
        return b""


def _failure_of(process: subprocess.Popen[bytes], stderr: IO[bytes], timeout: float) -> Failure:
    try:
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        _close_files(process, stderr)
        return Failure(f"a node did not listen within {timeout:.0f} s", UNAVAILABLE)
    words = _tail(stderr)
    _close_files(process, stderr)
    if words.startswith(_PROGRAM):
        words = words[len(_PROGRAM) :]
    return Failure(words or f"a node ended with exit code {code}", code if code > 0 else INTERNAL)


def _close_files(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
    for file in (process.stdin, process.stdout, stderr):
        if file is not None:
            file.close()


def _tail(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(size - _STDERR_BYTES_SHOWN, 0))
    return stderr.read().decode("utf-8", "replace").strip()

"""A node of a `LocalCluster` that lives in a process of its own; see `kvstore.testing.child`."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, cast

from kvstore import errors
from kvstore._security import options_for
from kvstore.client import Client
from kvstore.errors import InternalError, KVError, UnavailableError
from kvstore.testing.member import Slowness

if TYPE_CHECKING:
    from kvstore.config import NodeConfig
    from kvstore.node import Node
    from kvstore.status import NodeStatus

# A cold interpreter on a busy machine takes seconds; an answer that takes longer than this does not come.
_ANSWER_SECONDS = 60.0

# What a node that is asked how it is may take.
_STATUS_SECONDS = 2.0

_LINES_KEPT = 200
_LOOK_SECONDS = 0.002


class ProcessMember:
    """Its faults are told to each process that is started for it. While it is paused they wait for it to go on."""

    address: str
    paused: bool

    def __init__(self, config: NodeConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._blocked: List[str] = []
        self._slowness = Slowness()
        self._ahead = 0.0
        self._waiting: List[Tuple[str, Sequence[Any]]] = []
        self._process: Optional[subprocess.Popen[str]] = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._lines: Deque[str] = collections.deque(maxlen=_LINES_KEPT)
        self._client: Optional[Client[Any]] = None
        self._started = False
        self.address = ""
        self.paused = False

    @property
    def running(self) -> bool:
        """Started, and neither stopped nor killed."""
        return self._started and self._process is not None and self._process.poll() is None

    @property
    def node(self) -> Optional[Node]:
        """It is somewhere else."""
        return None

    def launch(self) -> None:
        """Start the interpreter, which takes most of the time."""
        if self._process is not None:
            return
        # Settings meant for this process are none of its nodes'.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KVSTORE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "kvstore.testing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=inherited,
            encoding="utf-8",
            errors="replace",
            # A session of its own: Ctrl-C on the terminal reaches the test only, which then ends its nodes.
            start_new_session=True,
        )
        self._process = process
        self._answers = queue.Queue()
        shown = self._config.log == "stderr"
        readers: List[Tuple[Callable[..., None], Tuple[Any, ...]]] = [
            (_pass_answers, (process.stdout, self._answers)),
            (_keep_lines, (process.stderr, self._lines, shown)),
        ]
        try:
            while readers:
                target, arguments = readers.pop(0)
                threading.Thread(target=target, args=arguments, name="kvstore-testing", daemon=True).start()
        except BaseException:
            # A Ctrl-C in the wait for a thread that begins. Each closes what it reads; nobody reads the rest.
            for _, (pipe, *_others) in readers:
                pipe.close()
            raise

    def start(self, port: int, peers: Sequence[str]) -> None:
        """Start it; returns when it listens."""
        self.launch()
        order = {
            "config": dict(dataclasses.asdict(self._config), port=port, peers=list(peers)),
            "seed": self._seed,
            "blocked": self._blocked,
            "slowness": self._slowness,
            "ahead": self._ahead,
        }
        try:
            self.address = str(self._ask(order)["address"])
        except KVError:
            self.kill()
            raise
        access = options_for(self._config.tls, self._config.token)
        self._client = Client(self.address, timeout=_STATUS_SECONDS, discover=False, **access)
        self._started = True

    def wait_ready(self, timeout: float) -> None:
        """Wait until it has caught up with a peer."""
        self._tell("ready", timeout)

    def stop(self) -> None:
        """In good order."""
        self.resume()
        try:
            if self.running:
                self._tell("stop")
                self._process_here().wait(_ANSWER_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        self._started = self.paused = False
        self._waiting.clear()
        if self._client is not None:
            self._client.close()
        if process is not None:
            process.kill()
            process.wait()
            # The other two pipes are closed by the threads that read them.
            assert process.stdin is not None  # noqa: S101 - asked for above
            # What it was not told any more, it need not know.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def pause(self) -> None:
        """SIGSTOP; returns when every thread of it has stopped, where the system tells."""
        if self.paused or not self.running:
            return
        self.paused = True
        process = self._process_here()
        process.send_signal(signal.SIGSTOP)
        if sys.platform == "darwin":
            return
        pause, deadline = threading.Event(), time.monotonic() + _ANSWER_SECONDS
        while process.poll() is None and not os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG):
            if time.monotonic() > deadline:
                msg = f"process {process.pid} does not stop"
                raise InternalError(msg)
            pause.wait(_LOOK_SECONDS)

    def resume(self) -> None:
        """SIGCONT, then what it was told meanwhile."""
        if not self.paused:
            return
        self.paused = False
        if self.running:
            self._process_here().send_signal(signal.SIGCONT)
        waiting, self._waiting = self._waiting, []
        for name, arguments in waiting:
            self._tell(name, *arguments)

    def block(self, addresses: List[str]) -> None:
        """Cut it off from these, and from no others."""
        self._blocked = addresses
        self._tell("block", addresses)

    def slow(self, slowness: Slowness) -> None:
        """How slow it is from now on."""
        self._tell("slow", *slowness)
        self._slowness = slowness

    def advance(self, seconds: float) -> None:
        """Set its clocks ahead."""
        self._tell("advance", seconds)
        self._ahead += seconds

    def status(self, *, digests: bool) -> NodeStatus:
        """How it is."""
        return self._client_here().status(digests=digests)

    def log(self) -> List[str]:
        """The last lines of its log, former lives included."""
        return list(self._lines)

    def _tell(self, name: str, *arguments: Any) -> None:
        if self.paused:
            self._waiting.append((name, arguments))
        elif self.running:
            self._ask([name, arguments])

    def _ask(self, message: object) -> Dict[str, Any]:
        stdin = self._process_here().stdin
        assert stdin is not None  # noqa: S101 - asked for above
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
            line = self._answers.get(timeout=_ANSWER_SECONDS)
        except (BrokenPipeError, queue.Empty):
            line = ""
        if not line:
            last = "\n".join(self.log()[-10:])
            msg = f"the process of a node ended or does not answer; its last words:\n{last}"
            raise UnavailableError(msg)
        answer: Dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise cast("KVError", getattr(errors, answer["error"])(answer["text"], code=answer["code"]))
        return answer

    def _process_here(self) -> subprocess.Popen[str]:
        assert self._process is not None  # noqa: S101 - asked of launched ones only
        return self._process

    def _client_here(self) -> Client[Any]:
        assert self._client is not None  # noqa: S101 - asked of started ones only
        return self._client


def _pass_answers(stdout: IO[str], answers: queue.Queue[str]) -> None:
    with stdout:
        for line in stdout:
            answers.put(line)
    # It has ended: nobody has to wait for an answer.
    answers.put("")


def _keep_lines(stderr: IO[str], lines: Deque[str], shown: bool) -> None:  # noqa: FBT001
    with stderr:
        for line in stderr:
            lines.append(line.rstrip())
            if shown:
                sys.stderr.write(line)

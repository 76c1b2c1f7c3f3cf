"""Runs the code of one page of the documentation: `python page.py PAGE`, in an empty directory.

Python blocks share one namespace, as in an interpreter; commands are run by bash, in that directory. What would be the
same for all pages that run at the same time is made its own:

* Ports 7001 to 7004 are four free ports in a row. `kvstore` asks at the first of them unless told, and `kvstore up`
  begins there.
* 10.0.0.1:7001 to 10.0.0.4:7001 are those four on this machine, and /var/lib is a directory below this one.
* `pip install` looks whether all that it names is installed, and installs nothing.

Blocks that a page hides may call `until(condition)`, which waits for it, and `interrupt()`, which is a Ctrl-C in all
other terminals.

Of a `console` block, lines after `$ ` are commands, and what follows is what they have to print, where anything
follows; `...` in it stands for anything, and any space for any other.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from blocks import Block, blocks_of

from kvstore.testing.ports import reserve

SECONDS = 60.0
PORTS = 4
INTERRUPTED = 130

PIP = """
import sys
from importlib.metadata import version
assert sys.argv[1] == "install", sys.argv
for name in sys.argv[2:]:
    print(name, version(name.partition("[")[0]))
"""
"""Raises where something that a page names is not installed."""


class Command(NamedTuple):
    """A command and what it has to print."""

    line: int
    text: str
    output: List[str]


class Page:
    """What is known and what runs while the blocks of a page are run."""

    def __init__(self, path: pathlib.Path, first_port: int) -> None:
        self._path = path
        self._ports = range(first_port, first_port + PORTS)
        self._names: Dict[str, Any] = {"__name__": "__main__", "until": until, "interrupt": self._interrupt}
        self._printed = ""
        self._tests = ""
        self._terminals: List[Terminal] = []

    def run(self) -> None:
        """All of it. What does not go as the page says ends with an AssertionError, or with its own error."""
        with contextlib.ExitStack() as ends:
            ends.callback(lambda: [terminal.kill() for terminal in self._terminals])
            for block in blocks_of(self._path):
                self._run_block(block)
            self._interrupt()
            if self._tests:
                self._run_tests()

    def _interrupt(self) -> None:
        terminals, self._terminals = self._terminals, []
        with contextlib.ExitStack() as ends:
            for terminal in terminals:
                ends.callback(terminal.kill)
            # The last one first: a node says goodbye to those that it joined while they are there.
            for terminal in reversed(terminals):
                terminal.end()

    def _run_block(self, block: Block) -> None:
        if block.how.startswith("skip: "):
            return
        if block.how.startswith("file "):
            file = pathlib.Path(block.how.split()[1])
            file.write_text(self._here(block.text), "utf-8")
            file.chmod(0o755)
        elif block.how == "output":
            self._assert_shown(block.line, self._expected(block), self._printed.splitlines())
        elif block.how == "background output":
            self._terminals[-1].expect(self._where(block.line), self._expected(block))
        elif block.how == "pytest":
            self._tests += self._here(block.text)
        elif block.language == "console":
            self._run_commands(block)
        elif block.language == "python":
            self._run_python(block)

    def _run_python(self, block: Block) -> None:
        # Lines are those of the page, so that a traceback shows where it happened.
        code = compile("\n" * (block.line - 1) + self._here(block.text), str(self._path), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self._names)
        self._printed = printed.getvalue()

    def _run_commands(self, block: Block) -> None:
        for command in self._commands(block):
            if block.how == "background":
                self._terminals.append(Terminal(command.text))
                self._terminals[-1].expect(self._where(command.line), command.output)
                continue
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command.text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            where = self._where(command.line)
            assert done.returncode == 0, f"{where}: {command.text}: {done.returncode}: {done.stdout}"
            if command.output:
                self._assert_shown(command.line, command.output, done.stdout.splitlines())

    def _run_tests(self) -> None:
        pathlib.Path("test_page.py").write_text(self._tests, "utf-8")
        pathlib.Path("pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", "utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_page.py"]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout

    def _commands(self, block: Block) -> Iterator[Command]:
        found: Optional[Command] = None
        for number, line in enumerate(block.lines, start=block.line):
            if line.startswith("$ "):
                if found:
                    yield found
                found = Command(number, self._here(line[2:]), [])
            else:
                assert found, f"{self._where(number)}: a console block begins with `$ `"
                found.output.append(self._here(line))
        if found:
            yield found

    def _expected(self, block: Block) -> List[str]:
        return self._here(block.text).splitlines()

    def _here(self, text: str) -> str:
        """The text with places of this run."""
        text = re.sub(r"\b10\.0\.0\.([1234]):7001\b", lambda found: f"127.0.0.1:700{found.group(1)}", text)
        text = re.sub(r"\b700([1234])\b", lambda found: str(self._ports[int(found.group(1)) - 1]), text)
        text = re.sub(r"\bkvstore up\b", f"kvstore up --port {self._ports[0]}", text)
        return text.replace("/var/lib/", f"{pathlib.Path.cwd()}/var-lib-")

    def _assert_shown(self, line: int, expected: List[str], shown: List[str]) -> None:
        assert matches(expected, shown), f"{self._where(line)}: the page says {expected}, it was {shown}"

    def _where(self, line: int) -> str:
        return f"{self._path}:{line}"


class Terminal:
    """A command that goes on beside the others."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lines: List[str] = []
        self._looked_at = 0
        self._is_over = False
        self._came = threading.Condition()
        # In place of the shell: a Ctrl-C is for the command.
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, where: str, expected: List[str]) -> None:
        """Wait until it has printed these lines, next after those that were waited for."""
        with self._came:
            self._came.wait_for(lambda: self._is_over or len(self._next()) >= len(expected), SECONDS)
            shown = self._next()[: len(expected)]
            self._looked_at += len(expected)
        assert matches(expected, shown), f"{where}: {self._command}: the page says {expected}, it was {shown}"

    def end(self) -> None:
        """Ctrl-C, which it has to obey."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert code in (0, INTERRUPTED), f"{self._command}: {code}: {self._lines}"

    def kill(self) -> None:
        """Whatever state it is in."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                with self._came:
                    self._lines.append(line.rstrip("\n"))
                    self._came.notify()
        with self._came:
            self._is_over = True
            self._came.notify()

    def _next(self) -> List[str]:
        return self._lines[self._looked_at :]


def until(condition: Callable[[], bool]) -> None:
    """For what pages hide: wait until something is so that a reader, who types slowly, finds so."""
    deadline = time.monotonic() + SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        pause.wait(0.01)


def matches(expected: List[str], shown: List[str]) -> bool:
    """Whether the lines are as expected, where `...` stands for anything, and much space is as good as little."""
    patterns = [".*".join(map(re.escape, " ".join(line.split()).split("..."))) for line in expected]
    lines = [" ".join(line.split()) for line in shown]
    return len(patterns) == len(lines) and all(map(re.fullmatch, patterns, lines))


def ports_in_a_row() -> Tuple[int, List[socket.socket]]:
    """The first of the free ports, and what keeps others from getting them."""
    while True:
        guards: List[socket.socket] = []
        guard, first = reserve("127.0.0.1")
        guards.append(guard)
        try:
            for port in range(first + 1, first + PORTS):
                guards.append(socket.socket())
                # In this order: two guards that both allow it from the start could have the same port.
                guards[-1].bind(("127.0.0.1", port))
                guards[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            for each in guards:
                each.close()
        else:
            return first, guards


def prepare(first_port: int) -> None:
    """Make this directory a home, with commands of its own."""
    here = pathlib.Path.cwd()
    programs = here / "bin"
    programs.mkdir()
    for name, text in {
        "kvstore": f'#!/bin/sh\nexec "{sys.executable}" -m kvstore "$@"\n',
        "pip": f"#!{sys.executable}\n{PIP}",
    }.items():
        (programs / name).write_text(text, "utf-8")
        (programs / name).chmod(0o755)
    # The weakest place to say it: whatever a page says wins. With time for a machine that does much else.
    settings = f'[client]\nserver = "127.0.0.1:{first_port}"\ntimeout = "30s"\n'
    (here / "kvstore.toml").write_text(settings, "utf-8")
    path = [str(programs), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    os.environ.update(PATH=os.pathsep.join(path), HOME=str(here), PYTHONUNBUFFERED="1")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(here / name.lower())
    sys.path.insert(0, str(here))


def main() -> None:
    """Run the page that is named."""
    path = pathlib.Path(sys.argv[1])
    first_port, guards = ports_in_a_row()
    prepare(first_port)
    Page(path, first_port).run()
    for guard in guards:
        guard.close()


if __name__ == "__main__":
    main()

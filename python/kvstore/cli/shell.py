"""shell: the other commands, one a line, with what the shell was started with.

Lines are edited by prompt_toolkit where it is installed, else by readline where Python has it, else not at all. What
was typed on a terminal is remembered in a file of the user.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Final, Iterator, List, Optional

import click
from click.shell_completion import ShellComplete

from .exits import INTERRUPTED, OK, USAGE, report
from .output import report_note
from .places import history_file
from .settings import Settings, verb

if TYPE_CHECKING:
    from pathlib import Path

    from .app import Program

Reader = Callable[[], str]
"""Gives the next line; EOFError at the end, KeyboardInterrupt for Ctrl-C."""

_PROMPT: Final = "kvstore> "
_LEAVE: Final = ("exit", "quit")
_HELP: Final = ("help", "?")
_HISTORY_LINES: Final = 10_000


@verb()
@click.pass_context
def shell(ctx: click.Context, settings: Settings) -> None:
    """Read commands, such as `get k`, and run each, until `exit` or the end of the input; `help` lists them.

    The flags of the shell hold for all its commands. A line that begins with # is none. Without a terminal there is no
    prompt; a command that fails does not end the shell, whose exit code is that of the last command.
    """
    program: Any = ctx.find_root().command
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    session = _Session(program, settings, is_interactive=is_interactive)
    with _reader(settings, program) if is_interactive else contextlib.nullcontext(_line_of_stdin) as read:
        ctx.exit(session.run(read))


class _Session:
    """Commands, one after the other."""

    def __init__(self, program: Program, settings: Settings, *, is_interactive: bool) -> None:
        self._program = program
        self._settings = replace(settings, pinned=True)
        self._is_interactive = is_interactive
        self._code = OK

    def run(self, read: Reader) -> int:
        """Run all lines; the exit code of the last."""
        while True:
            try:
                line = read().strip()
            except EOFError:
                return self._code
            except KeyboardInterrupt:
                if not self._is_interactive:
                    raise
                # As in other shells: it drops the line.
                click.echo(err=True)
                continue
            if line in _LEAVE:
                return self._code
            if line and not line.startswith("#"):
                self._code = self._run_line(line)

    def _run_line(self, line: str) -> int:
        try:
            words = shlex.split(line)
        except ValueError as error:
            report(f"cannot read this line: {error}")
            return USAGE
        if words[:1] == ["shell"]:
            report("this is a shell already")
            return USAGE
        if words and words[0] in _HELP:
            words = [*words[1:], "--help"]
        # A copy: `-o json` of one command must not hold for the next.
        settings = replace(self._settings, origins=dict(self._settings.origins))
        try:
            return self._program.run(words, prog_name="kvstore", obj=settings)
        except SystemExit as error:
            # Of commands that end as another program did.
            return error.code if isinstance(error.code, int) else OK
        except KeyboardInterrupt:
            return INTERRUPTED


def candidates(program: click.Command, line: str) -> List[str]:
    """What the last word of the line could become."""
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    last = "" if not words or line[-1:].isspace() else words.pop()
    found = ShellComplete(program, {}, "kvstore", "_KVSTORE_COMPLETE").get_completions(words, last)
    return [each.value for each in found if each.type == "plain"]


# ----------------------------------------------------------------------------------------------------- the input
def _reader(settings: Settings, program: click.Command) -> ContextManager[Reader]:
    history = _prepared(settings, history_file())
    try:
        import prompt_toolkit  # noqa: F401, PLC0415 - optional, and slow to import
    except ImportError:
        return _readline(settings, program, history)
    return _prompt_toolkit(program, history)


def _line_of_stdin() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _prepared(settings: Settings, file: Path) -> Optional[Path]:
    """The file of the history, made if need be, for its owner only: commands have values in them."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError as error:
        report_note(settings, f"no history: cannot write {file}: {error.strerror or error}")
        return None
    return file


@contextlib.contextmanager
def _prompt_toolkit(program: click.Command, history: Optional[Path]) -> Iterator[Reader]:
    from .shell_prompt import session_of  # noqa: PLC0415 - it imports prompt_toolkit

    session = session_of(lambda line: candidates(program, line), history)
    yield lambda: session.prompt(_PROMPT)


@contextlib.contextmanager
def _readline(settings: Settings, program: click.Command, history: Optional[Path]) -> Iterator[Reader]:
    try:
        import readline  # noqa: PLC0415 - not on every platform
    except ImportError:
        yield lambda: input(_PROMPT)
        return
    if history is not None:
        try:
            readline.read_history_file(str(history))
        except OSError as error:
            report_note(settings, f"no history: cannot read {history}: {error.strerror or error}")
            history = None
    readline.set_history_length(_HISTORY_LINES)
    readline.set_completer_delims(" \t\n")

    def complete(_word: str, number: int) -> Optional[str]:
        found = candidates(program, readline.get_line_buffer()[: readline.get_endidx()])
        return found[number] + " " if number < len(found) else None

    readline.set_completer(complete)
    # Some Pythons have libedit under the same name, which is told so.
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    try:
        yield lambda: input(_PROMPT)
    finally:
        readline.set_completer(None)
        if history is not None:
            _write_history(settings, history, readline.write_history_file)


def _write_history(settings: Settings, file: Path, write: Callable[[str], None]) -> None:
    try:
        write(str(file))
    except OSError as error:
        report_note(settings, f"the history is lost: cannot write {file}: {error.strerror or error}")

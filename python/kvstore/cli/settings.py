"""What holds for every command: which server, how long, how to print.

A flag wins over `KVSTORE_*`, that over the default. The options are understood before and after the name of the
command: `kvstore -o json get k` and `kvstore get k -o json`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Callable, Final, List, Optional

import click

import kvstore

from .params import DURATION
from .values import STORED, Stored

READS: Final = ("local", "session", "linearizable")
FORMATS: Final = ("table", "json", "jsonl", "plain", "raw")


@dataclass
class Settings:
    """The global options, with their defaults."""

    server: str = "127.0.0.1:7001"
    keyspace: str = "default"
    read: Optional[str] = None
    timeout: float = 5.0
    output: Optional[str] = None
    quiet: bool = False
    color: bool = True

    @property
    def format(self) -> str:
        """How to print: as asked for, else a table for people and plain lines for a pipe."""
        return self.output or ("table" if sys.stdout.isatty() else "plain")

    @property
    def targets(self) -> List[str]:
        """The nodes to talk to."""
        if "://" in self.server:
            return [self.server]
        return [target.strip() for target in self.server.split(",") if target.strip()]

    def client(self, server: Optional[str] = None) -> kvstore.Client[Stored]:
        """A client of `server`, or of the configured ones, that leaves values as they are stored."""
        targets = self.targets
        target = server or (targets[0] if len(targets) == 1 else targets)
        read: Any = self.read
        return kvstore.Client(target, self.keyspace, codec=STORED, timeout=self.timeout, read=read)


class GlobalOption(click.Option):
    """An option whose value goes into the `Settings` of the run; the last place where it is given wins."""

    def __init__(self, *declarations: str, **attributes: Any) -> None:
        super().__init__(list(declarations), expose_value=False, callback=_remember, **attributes)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        setattr(ctx.ensure_object(Settings), param.name, value)


def global_options(*, from_environment: bool) -> List[click.Parameter]:
    """The global options; only those of the program itself read the environment, so that a flag wins from any place."""

    def variable(*names: str) -> Optional[List[str]]:
        return [f"KVSTORE_{name}" for name in names] if from_environment else None

    # A client library's URL and the command line's server are the same thing under two habits.
    return [
        GlobalOption(
            "-s",
            "--server",
            metavar="H:P[,H:P]",
            envvar=variable("SERVER", "URL"),
            help="Nodes to talk to; the first that answers is used.  [default: 127.0.0.1:7001]",
        ),
        GlobalOption(
            "-k",
            "--keyspace",
            metavar="NAME",
            envvar=variable("KEYSPACE"),
            help="`default` is as the cluster was formed, all others are strong.  [default: default]",
        ),
        GlobalOption(
            "--read",
            type=click.Choice(READS),
            envvar=variable("READ"),
            help="How fresh.  [default: session; linearizable in strong keyspaces]",
        ),
        GlobalOption(
            "--timeout",
            type=DURATION,
            envvar=variable("TIMEOUT"),
            help="Deadline of a call, such as 500ms or 5s.  [default: 5s]",
        ),
        GlobalOption(
            "-o",
            "--output",
            type=click.Choice(FORMATS),
            envvar=variable("OUTPUT"),
            help="How to print.  [default: table on a terminal, else plain]",
        ),
        GlobalOption(
            "-q",
            "--quiet",
            is_flag=True,
            default=None,
            envvar=variable("QUIET"),
            help="No progress and no notes, only results and errors.",
        ),
        GlobalOption(
            "--no-color", "color", is_flag=True, flag_value=False, default=None, help="No colours; so does NO_COLOR."
        ),
    ]


class Verb(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Where a command has an option of that name, it means its own: `bench --read 95`.
        own = {name for param in self.params for name in param.opts}
        self.params.extend(param for param in global_options(from_environment=False) if not own & set(param.opts))


def verb(name: Optional[str] = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command; its first argument is the `Settings`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=Verb)(click.make_pass_decorator(Settings, ensure=True)(function))

    return decorate

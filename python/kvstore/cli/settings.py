"""What holds for every command: which server, how long, how to print.

A flag wins over `KVSTORE_*`, that over the context in use, that over `[client]` in kvstore.toml, that over the default;
`origins` remembers which it was. The options are understood before and after the name of the command:
`kvstore -o json get k` and `kvstore get k -o json`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Final, List, Optional, Type, Union

import click
from click.core import ParameterSource

import kvstore

from .layers import FORMATS, READS, layers
from .params import DURATION
from .secret import read_token, split_server
from .values import STORED, Stored

FLAG: Final = "flag"
DEFAULT: Final = "default"


@dataclass
class Settings:
    """The global options, with their defaults."""

    server: str = "127.0.0.1:7001"
    keyspace: str = "default"
    read: Optional[str] = None
    timeout: float = 5.0
    tls: Optional[str] = None
    """As in a URL: whom to believe, for nodes also who they are."""
    token_file: Optional[str] = None
    token: Optional[str] = field(default=None, repr=False)
    """Out of a variable."""
    of_server: Dict[str, str] = field(default_factory=dict, repr=False)
    """What the URL in `server` said of `tls` and `token`."""
    output: Optional[str] = None
    quiet: bool = False
    color: bool = True
    origins: Dict[str, str] = field(default_factory=dict)
    """Where each option that is not the default comes from: `flag`, a variable, a context or a file."""
    pinned: bool = False
    """Whether only flags change it: in the shell, which has looked at everything else when it started."""

    def complete(self) -> None:
        """Fill in what neither a flag nor a variable has said.

        Raises:
            Failure: A file cannot be read, or says something that is no setting.
        """
        for layer in [] if self.pinned else layers():
            for name, value in layer.values.items():
                if name not in self.origins:
                    self.set(name, value, layer.origin)

    def set(self, name: str, value: Any, origin: str) -> None:
        """Take an option over from a place.

        What a URL says of TLS and token is kept apart: nobody shows it by mistake, and it holds for other members, too.
        """
        if name == "server":
            value, self.of_server = split_server(value)
        setattr(self, name, value)
        self.origins[name] = origin

    def access(self) -> Dict[str, Any]:
        """How nodes are reached: the options `tls` and `token` of a client or a node, those that were said.

        Raises:
            Failure: The token file cannot be used.
        """
        tls, token = self._nearest("tls"), self._nearest("token")
        if self.token_file is not None and (token is None or self._is_flag("token_file")):
            token = read_token(self.token_file)
        return {name: value for name, value in (("tls", tls), ("token", token)) if value is not None}

    def _nearest(self, name: str) -> Optional[str]:
        """What a URL says counts less than an option, unless it was given as a flag and the option was not."""
        of_server: Optional[str] = self.of_server.get(name)
        option: Optional[str] = getattr(self, name)
        is_nearer = self._is_flag("server") and not self._is_flag(name)
        return of_server if of_server is not None and (option is None or is_nearer) else option

    def _is_flag(self, name: str) -> bool:
        return self.origins.get(name) == FLAG

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

    @property
    def target(self) -> Union[str, List[str]]:
        """The same as a client takes it."""
        targets = self.targets
        return targets[0] if len(targets) == 1 else targets

    def client(self, server: Optional[str] = None) -> kvstore.Client[Stored]:
        """A client of `server`, or of the configured ones in their order, that leaves values as they are stored."""
        targets = self.targets
        target = server or (targets[0] if len(targets) == 1 else targets)
        read: Any = self.read
        # A command is about the nodes that it was given, so it turns to no others.
        return kvstore.Client(
            target, self.keyspace, codec=STORED, timeout=self.timeout, read=read, discover=False, **self.access()
        )


class GlobalOption(click.Option):
    """An option whose value goes into the `Settings` of the run; the last place where it is given wins."""

    def __init__(self, *declarations: str, **attributes: Any) -> None:
        super().__init__(list(declarations), expose_value=False, callback=_remember, **attributes)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is None or param.name is None:
        return
    settings = ctx.ensure_object(Settings)
    origin = _origin(ctx, param)
    if origin == FLAG or not settings.pinned:
        settings.set(param.name, value, origin)


def _origin(ctx: click.Context, param: click.Parameter) -> str:
    if ctx.get_parameter_source(str(param.name)) is not ParameterSource.ENVIRONMENT:
        return FLAG
    names = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
    return next((name for name in names if os.environ.get(name)), "environment")


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
            help="Which one; see the command `keyspace`.  [default: default]",
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
            "--token-file",
            metavar="FILE",
            envvar=variable("TOKEN_FILE"),
            help="Holds the token of the cluster; only its owner may read it. KVSTORE_TOKEN has the token itself.",
        ),
        GlobalOption(
            "--tls",
            metavar="true|ca=FILE,...",
            envvar=variable("TLS"),
            help="Speak TLS, and believe the system's authorities or those in FILE; also cert=, key=, server_name=.",
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, after the flags of all places are known."""
        ctx.ensure_object(Settings).complete()
        return super().invoke(ctx)


class LocalVerb(Verb):
    """A command that talks to nobody, and that must run although a file of settings is damaged."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it with what flags and variables say."""
        return click.Command.invoke(self, ctx)


def verb(name: Optional[str] = None, cls: Type[Verb] = Verb) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command; its first argument is the `Settings`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=cls)(click.make_pass_decorator(Settings, ensure=True)(function))

    return decorate

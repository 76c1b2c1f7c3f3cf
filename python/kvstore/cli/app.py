"""The program: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, List, NoReturn

import click

import kvstore

from . import (
    bench,
    bigkeys,
    browse,
    cluster,
    completion,
    config,
    conflicts,
    context,
    demo,
    hold,
    info,
    keys,
    keyspace,
    latency,
    lease,
    ls,
    monitor,
    serve,
    shell,
    stat,
    storage,
    top,
    transfer,
    txn,
    ui,
    up,
    watch,
)
from .exits import INTERNAL, INTERRUPTED, OK, code_of, report
from .secret import TOKEN_VARIABLE
from .settings import Settings, global_options

COMMANDS: List[click.Command] = [
    serve.serve, up.up,
    keys.get, keys.put, keys.add, keys.incr, keys.delete, keys.exists, keys.touch,
    browse.scan, browse.keys, ls.ls, browse.count, watch.watch,
    keyspace.keyspace, txn.txn, hold.lock, hold.elect, lease.lease,
    cluster.status, cluster.health, cluster.metrics, stat.stat, top.top,
    cluster.members, cluster.member, cluster.leader,
    conflicts.conflicts,
    transfer.export_entries, transfer.import_entries, storage.snapshot, storage.doctor,
    latency.latency, bigkeys.bigkeys, monitor.hotkeys, monitor.monitor, ui.ui,
    bench.bench, demo.demo, shell.shell, config.config, context.context,
    completion.completion, info.version,
]  # fmt: skip


class Program(click.Group):
    """Lists its commands in the order in which a newcomer needs them, and ends with the exit codes of `exits`."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run one command and exit. Every error is one line on stderr; a bug also shows where it is."""
        sys.exit(self.run(*args, **extra))

    def run(self, *args: Any, **extra: Any) -> int:
        """Run one command, as `main`, and give its exit code."""
        try:
            code: Any = super().main(*args, **{**extra, "standalone_mode": False})
        except click.UsageError as error:
            where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            report(error.format_message() + where)
            return error.exit_code
        except click.ClickException as error:
            report(error.format_message())
            return error.exit_code
        except kvstore.KVError as error:
            report(str(error))
            return code_of(error)
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the last line of defence: the exit code must say that it is our bug
            traceback.print_exc()
            report(f"this is a bug, please report the lines above: {error!r}")
            return INTERNAL
        return code if isinstance(code, int) else OK

    def list_commands(self, ctx: click.Context) -> List[str]:  # noqa: ARG002 - click's signature
        """As in the table above."""
        return [str(command.name) for command in COMMANDS]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whoever closed the pipe we write to has enough, which is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK


def _prepare() -> None:
    settings = click.get_current_context().ensure_object(Settings)
    if os.environ.get(TOKEN_VARIABLE) and not settings.pinned:
        settings.set("token", os.environ[TOKEN_VARIABLE], TOKEN_VARIABLE)
    if os.environ.get("NO_COLOR"):
        settings.color = False
        settings.origins.setdefault("color", "NO_COLOR")


program: Program = Program(
    name="kvstore",
    commands={str(command.name): command for command in COMMANDS},
    params=global_options(from_environment=True),
    callback=_prepare,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A distributed key-value store: run nodes, and talk to them.",
    epilog="Exit codes: 0 ok, 1 not found or damaged, 2 usage, 3 unavailable, 4 conflict, 5 denied, 6 unsupported, "
    "70 internal, 124 deadline, 130 interrupted.",
)


def main() -> NoReturn:
    """The entry point: runs the command line and ends the process with its exit code."""
    program.main(prog_name="kvstore")

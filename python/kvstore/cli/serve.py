"""One node in this process, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

import click
from click.core import ParameterSource

import kvstore

from .exits import USAGE, Failure
from .layers import file_layer
from .output import to_json_text
from .settings import LocalVerb, Settings, verb
from .values import SCHEMA

if TYPE_CHECKING:
    from types import FrameType

_STDIN = 0
_READ_BYTES = 4096


@verb(cls=LocalVerb)
@click.argument("port", type=click.IntRange(0, 65535), default=7001, envvar="KVSTORE_PORT")
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Settings of the node, as in kvstore.toml; flags and variables win over it.  [default: no file is read]",
)
@click.option(
    "--peers",
    metavar="H:P,...",
    envvar="KVSTORE_PEERS",
    help="Members to begin with; one that is reachable is enough. The node's own address is ignored.",
)
@click.option("--host", envvar="KVSTORE_HOST", help="Interface to listen on.  [default: 127.0.0.1]")
@click.option("--advertise", metavar="H:P", envvar="KVSTORE_ADVERTISE", help="The address by which others reach it.")
@click.option("--cluster", metavar="NAME", envvar="KVSTORE_CLUSTER", help="Nodes of another cluster are refused.")
@click.option(
    "--threads",
    type=click.IntRange(0, 256),
    envvar="KVSTORE_THREADS",
    help="Worker threads; 0: one for every two cores.",
)
@click.option(
    "--log",
    type=click.Choice(["stderr", "python", "none"]),
    envvar="KVSTORE_LOG",
    help="Where the node reports; python: by `logging`, whose lines go to stderr, too.  [default: none]",
)
@click.option(
    "--insecure",
    is_flag=True,
    default=None,
    envvar="KVSTORE_INSECURE",
    help="Listen where others can reach it without tls and token.",
)
@click.option(
    "--http",
    is_flag=True,
    default=None,
    envvar="KVSTORE_HTTP",
    help="Answer browsers and Prometheus on the same port, too: dashboard, /metrics, /healthz, /readyz.",
)
@click.option(
    "--max-drift",
    type=click.FloatRange(0.1, 3600.0),
    metavar="SECONDS",
    envvar="KVSTORE_MAX_DRIFT",
    help="Refuse writes of peers that are stamped further ahead of this node's clock.  [default: 10]",
)
@click.option(
    "--data-dir",
    metavar="DIR",
    envvar="KVSTORE_DATA_DIR",
    help="Keep data and identity there, over restarts.  [default: in memory only]",
)
@click.option(
    "--durability",
    type=click.Choice(["sync", "interval", "memory"]),
    envvar="KVSTORE_DURABILITY",
    help="What a write waits for in a data dir: the disk; nothing, synced each second; nothing.  [default: sync]",
)
@click.option(
    "--max-memory",
    metavar="SIZE",
    envvar="KVSTORE_MAX_MEMORY",
    help="Refuse writes beyond it, such as 512MiB or 2GB.  [default: no bound]",
)
@click.option(
    "--default-consistency",
    type=click.Choice(["eventual", "strong"]),
    envvar="KVSTORE_DEFAULT_CONSISTENCY",
    help="What the keyspace `default` is, if this node forms the cluster; say the same to all.  [default: eventual]",
)
@click.option(
    "--history-changes",
    type=int,
    envvar="KVSTORE_HISTORY_CHANGES",
    help="Changes of strong keyspaces that are kept for watches and reads of the past.  [default: 100000]",
)
@click.option(
    "--history-bytes",
    metavar="SIZE",
    envvar="KVSTORE_HISTORY_BYTES",
    help="What they may take, such as 256MiB.  [default: 64MiB]",
)
@click.option(
    "--history-age",
    type=float,
    metavar="SECONDS",
    envvar="KVSTORE_HISTORY_AGE",
    help="How long they are kept at most.  [default: 600]",
)
@click.option(
    "--until-eof", is_flag=True, help="Stop when stdin ends: a node started by a program then never outlives it."
)
def serve(settings: Settings, port: int, *, file: Optional[Path], until_eof: bool, **options: Any) -> None:
    """Run a node on PORT (default 7001; 0 picks a free one) until Ctrl-C or SIGTERM.

    The first line printed says the address; with `-o json` it is one JSON object. With --tls ca=..,cert=..,key=..
    clients and peers have to speak TLS, with --token-file or KVSTORE_TOKEN they have to present that token.
    """
    signal.signal(signal.SIGTERM, _end)
    given = {**{name: value for name, value in options.items() if value is not None}, **settings.access()}
    node = kvstore.Node(port, **given) if file is None else kvstore.Node(config=_config(file, port, given))
    if node.config.log == "python":
        # Whoever runs this command has set up nothing, and would see warnings only.
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        node.start()
        _announce(settings, node)
        if until_eof:
            threading.Thread(target=_stop_at_eof, args=[node], name="kvstore-stdin", daemon=True).start()
        node.join()
    finally:
        node.stop()


def _config(file: Path, port: int, given: Dict[str, Any]) -> kvstore.NodeConfig:
    """What the file says, but for what a flag or a variable said: that is checked together, as if from variables."""
    layer = file_layer(file)
    is_port_said = click.get_current_context().get_parameter_source("port") is not ParameterSource.DEFAULT
    if is_port_said or layer is None or "port" not in layer.others:
        given = {**given, "port": port}
    try:
        return kvstore.NodeConfig.load(file, {f"KVSTORE_{name.upper()}": str(given[name]) for name in given})
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror or error}"
        raise Failure(msg, USAGE) from error


def _end(_signal: int, _frame: Optional[FrameType]) -> None:
    sys.exit(0)


def _announce(settings: Settings, node: kvstore.Node) -> None:
    record: Dict[str, Any] = {"schema": SCHEMA, "event": "listening", "node": node.id, "address": node.address}
    record.update(port=node.port, pid=os.getpid(), version=kvstore.__version__)
    dashboard = f"{'http' if node.config.tls is None else 'https'}://{node.address}/" if node.config.http else None
    if dashboard is not None:
        record["dashboard"] = dashboard
    if settings.format in {"json", "jsonl"}:
        click.echo(to_json_text(record))
    else:
        where = node.config.data_dir or "memory only"
        page = "" if dashboard is None else f"dashboard {dashboard}  "
        click.echo(f"kvstore {kvstore.__version__}  node {node.id}  {node.address}  {page}{where}, Ctrl-C stops it")


def _stop_at_eof(node: kvstore.Node) -> None:
    # os.read and not sys.stdin: a thread inside sys.stdin's lock would keep the interpreter from ending.
    while os.read(_STDIN, _READ_BYTES):
        pass
    node.stop()

"""A development cluster in one command."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

import click

from .exits import INTERNAL, Failure
from .output import to_json_text
from .processes import NodeProcess, start_cluster, stop_all
from .settings import LocalVerb, Settings, verb
from .values import SCHEMA

# How often it looks whether a node has ended by itself.
_LOOK_SECONDS = 0.2
_PORTS_END = 65536


@verb(cls=LocalVerb)
@click.option("--nodes", "count", type=click.IntRange(1, 16), default=3, show_default=True, help="How many.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7001,
    show_default=True,
    help="Of the first node, the others follow; 0 picks free ones.",
)
@click.option("--cluster", metavar="NAME", help="The cluster's name.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep data there, a directory a node; `up` finds it again.  [default: in memory only]",
)
@click.option(
    "--default-consistency",
    type=click.Choice(["eventual", "strong"]),
    envvar="KVSTORE_DEFAULT_CONSISTENCY",
    help="What the keyspace `default` is.  [default: eventual]",
)
@click.option("--http", is_flag=True, help="Each node has a dashboard, /metrics, /healthz and /readyz on its port.")
def up(
    settings: Settings,
    count: int,
    port: int,
    *,
    cluster: Optional[str],
    data_dir: Optional[Path],
    default_consistency: Optional[str],
    http: bool,
) -> None:
    """Run a cluster of processes on this machine until Ctrl-C: for development."""
    if port and port + count > _PORTS_END:
        msg = f"there are no {count} ports from {port} on"
        raise click.UsageError(msg)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ports = [port + index for index in range(count)] if port else []
    options = ["--cluster", cluster] if cluster else []
    options += ["--default-consistency", default_consistency] if default_consistency else []
    options += ["--http"] if http else []
    nodes = start_cluster(count, ports, options, data_dir)
    try:
        _announce(settings, nodes)
        _watch(nodes)
    finally:
        stop_all(nodes)


def _announce(settings: Settings, nodes: List[NodeProcess]) -> None:
    if settings.format in {"json", "jsonl"}:
        members = [_record(node) for node in nodes]
        click.echo(to_json_text({"schema": SCHEMA, "event": "up", "nodes": members}))
        return
    for node in nodes:
        page = f"  dashboard {node.dashboard}" if node.dashboard else ""
        click.echo(f"node {node.node}  {node.address}  pid {node.pid}{page}")
    if not settings.quiet:
        click.echo(f"Ctrl-C stops all. Try: kvstore -s {nodes[0].address} put motto 'any node, any time'", err=True)


def _record(node: NodeProcess) -> Dict[str, Any]:
    record: Dict[str, Any] = {"node": node.node, "address": node.address, "pid": node.pid}
    return {**record, "dashboard": node.dashboard} if node.dashboard else record


def _watch(nodes: List[NodeProcess]) -> None:
    never = threading.Event()
    while not never.wait(_LOOK_SECONDS):
        for node in nodes:
            if not node.running:
                msg = f"the node {node.address} ended by itself: {node.last_words() or 'without a word'}"
                raise Failure(msg, INTERNAL)

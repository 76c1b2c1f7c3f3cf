"""What is done with snapshots and data directories: snapshot save, verify and restore, and doctor."""

from __future__ import annotations

import datetime as dt
from typing import Any, Dict, List, Optional

import click

import kvstore

from .exits import CORRUPT, Failure
from .output import human_bytes, print_record
from .params import DURATION
from .settings import Settings, verb

_path = click.Path(dir_okay=False)
_dir = click.Path(file_okay=False)


@click.group()
def snapshot() -> None:
    """Save all that a node holds to a file, check such a file, and begin a cluster from one."""


@verb("save")
@click.argument("file", type=_path)
@click.option("--within", type=DURATION, metavar="DURATION", help="Give up after it, such as 10m.  [default: never]")
def save(settings: Settings, file: str, within: Optional[float]) -> None:
    """Save everything that the contacted node holds to FILE, while it goes on serving.

    FILE is there whole or not at all; one that is there is replaced. It has the keys of all eventual keyspaces, but not
    their names: to read one elsewhere, `export -k NAME` it.
    """
    with settings.client() as client:
        size = client.snapshot(file, timeout=within)
    print_record(settings, {"file": file, "bytes": size}, f"{file}: {human_bytes(size)}")


@verb("verify")
@click.argument("file", type=_path)
def verify(settings: Settings, file: str) -> None:
    """Read all of FILE, without a node, and say what is readable; exit 1 when it is damaged."""
    report = kvstore.verify_snapshot(file)
    print_record(settings, _snapshot_record(report), "\n".join(_snapshot_lines(report)))
    if not report.valid:
        msg = f"{file} is damaged"
        raise Failure(msg, CORRUPT)


@verb("restore")
@click.argument("file", type=_path)
@click.option("--data-dir", type=_dir, required=True, metavar="DIR", help="Of the new node: empty, or not there yet.")
@click.option("--cluster", required=True, metavar="NAME", help="Of the new node: one that no other cluster has.")
def restore(settings: Settings, file: str, data_dir: str, cluster: str) -> None:
    """Make the data directory of a new node, of a new cluster, out of FILE; no node has to run.

    Start the node with `serve --data-dir DIR --cluster NAME`, then let empty nodes join it.
    """
    node = kvstore.restore_snapshot(file, data_dir, cluster)
    record = {"node": node, "cluster": cluster, "data_dir": data_dir}
    print_record(settings, record, f"node {node} of cluster {cluster} is in {data_dir}")


@verb("doctor")
@click.argument("data_dir", metavar="DIR", type=_dir)
def doctor(settings: Settings, data_dir: str) -> None:
    """Look at the data directory of a node, running or not, and change nothing; exit 1 when something is damaged."""
    report = kvstore.examine_data_dir(data_dir)
    print_record(settings, _directory_record(report), "\n".join(_directory_lines(report)))
    if not report.healthy:
        msg = f"{data_dir}: {len(report.problems)} problems"
        raise Failure(msg, CORRUPT)


def _snapshot_record(report: kvstore.SnapshotReport) -> Dict[str, Any]:
    return {**report._asdict(), "valid": report.valid}


def _snapshot_lines(report: kvstore.SnapshotReport) -> List[str]:
    lines = [f"snapshot {report.path}: {human_bytes(report.file_bytes)}"]
    if report.created is not None:
        created = dt.datetime.fromtimestamp(report.created, dt.timezone.utc).isoformat(timespec="seconds")
        lines.append(f"  of node {report.node}, cluster {report.cluster}, begun {created}")
    lines.append(f"  readable: {report.records:,} records in {report.blocks:,} blocks")
    lines.append("  whole" if report.valid else f"  damaged at byte {report.damaged_at}: {report.damage}")
    return lines


def _segment_line(report: kvstore.SegmentReport) -> str:
    line = f"log {report.path}: {report.entries:,} entries, {human_bytes(report.readable_bytes)}"
    if report.damage is not None:
        return f"{line}, damaged at byte {report.damaged_at}: {report.damage}"
    torn = f", torn off at byte {report.torn_at}: the next start cuts it" if report.torn_at is not None else ""
    return line + torn


def _directory_record(report: kvstore.DirectoryReport) -> Dict[str, Any]:
    record = {**report._asdict(), "healthy": report.healthy}
    record["snapshots"] = [_snapshot_record(each) for each in report.snapshots]
    record["segments"] = [each._asdict() for each in report.segments]
    return record


def _directory_lines(report: kvstore.DirectoryReport) -> List[str]:
    used = "a node works with it" if report.in_use else "no node works with it"
    lines = [f"node {report.node or '(unknown)'}, cluster {report.cluster or '(unknown)'}: {used}"]
    for each in report.snapshots:
        lines += _snapshot_lines(each)
    lines += [_segment_line(each) for each in report.segments]
    lines += [f"set aside, and not read any more: {path}" for path in report.set_aside]
    lines += [f"PROBLEM: {problem}" for problem in report.problems]
    return [*lines, "healthy" if report.healthy else "damaged"]


snapshot.add_command(save)
snapshot.add_command(verify)
snapshot.add_command(restore)

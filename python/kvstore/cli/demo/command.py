"""The story: load through three nodes, kill one half way, go on, start it again, account for everything."""

from __future__ import annotations

import signal
import sys
from typing import List, NamedTuple, Optional, Set, Tuple

import click

import kvstore
from kvstore.cli.exits import INTERNAL, Failure
from kvstore.cli.output import Column, human_seconds, print_record, table_lines, text_of
from kvstore.cli.params import COUNT
from kvstore.cli.processes import NodeProcess, start_cluster, stop_all
from kvstore.cli.progress import progress
from kvstore.cli.settings import Settings, verb

from .characters import Table, characters
from .compare import conflicts, digests_agree, first_difference, missing_keys, wait_until
from .load import Load, batches

_NODES = 3
_VICTIM = 2
_QUICK_ENTRIES = 5000

# Bounds on every wait: ten times what a slow machine of two cores needs.
_LOAD_SECONDS = 180.0
_CATCH_UP_SECONDS = 120.0


class Account(NamedTuple):
    """What happened, in the words of the table."""

    entries: int
    writes_per_second: float
    lag_p50_seconds: float
    lag_p99_seconds: float
    killed_after: int
    lost_with_node: int
    catch_up_seconds: float
    conflicts: int
    difference: Optional[str]

    @property
    def equal(self) -> bool:
        """Whether the nodes were found the same, entry by entry and by their digests."""
        return self.difference is None


@verb()
@click.option("--limit", type=COUNT, help="Load the first N characters only.")
@click.option("--quick", is_flag=True, help=f"The same as --limit {_QUICK_ENTRIES}.")
def demo(settings: Settings, limit: Optional[int], *, quick: bool) -> None:
    """Load Python's Unicode database through three nodes, kill one half way, and see all three become equal again.

    Everything runs on this machine, on free ports, and is gone at the end. Exit 0 means: no entry differs, no conflict.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    table = characters(_QUICK_ENTRIES if quick and limit is None else limit)
    # Its story is that of an eventual `default`, whatever the variables of the environment say.
    nodes = start_cluster(_NODES, options=["--default-consistency", "eventual"])
    try:
        account = _Story(settings, nodes, table).tell()
    finally:
        stop_all(nodes)
    _print_account(settings, account)
    if not account.equal:
        raise Failure(account.difference or "", INTERNAL)
    if account.conflicts:
        msg = f"{account.conflicts} conflicts, although every key was written through one node only"
        raise Failure(msg, INTERNAL)


class _Story:
    """The cluster while the story runs. The killed node is replaced in `nodes`, which the caller ends."""

    def __init__(self, settings: Settings, nodes: List[NodeProcess], table: Table) -> None:
        self._settings = settings
        self._nodes = nodes
        self._table = table

    def tell(self) -> Account:
        """Run everything; Failure when anything is not as it must be."""
        self._wait_until_connected()
        load, killed_after = self._load()
        lag_p50, lag_p99 = self._lag()
        catch_up = self._restart_victim()
        lost = self._repair(load)
        difference = first_difference(self._addresses())
        return Account(
            len(self._table),
            len(self._table) / load.seconds,
            lag_p50,
            lag_p99,
            killed_after,
            len(lost),
            catch_up,
            conflicts(self._addresses()),
            difference,
        )

    def _addresses(self) -> List[str]:
        return [node.address for node in self._nodes]

    def _survivors(self) -> List[NodeProcess]:
        return [node for index, node in enumerate(self._nodes) if index != _VICTIM]

    def _say(self, text: str) -> None:
        if not self._settings.quiet:
            click.echo(text, err=True)

    def _wait_until_connected(self) -> None:
        wait_until(self._is_connected, _CATCH_UP_SECONDS, "the nodes found each other")
        self._say(f"three nodes: {', '.join(self._addresses())}")

    def _is_connected(self) -> bool:
        for node in self._nodes:
            with node.client() as client:
                if sum(member.connected for member in client.members()) < _NODES:
                    return False
        return True

    def _load(self) -> Tuple[Load, int]:
        """Load everything, killing a node half way; how many entries were acknowledged when it died."""
        victim = self._nodes[_VICTIM]
        with progress(self._settings, "load", len(self._table), in_logs=True) as advance:
            load = Load(self._table, advance)
            load.start(self._addresses())
            load.wait_for(len(self._table) // 2, _LOAD_SECONDS)
            victim.kill()
            killed_after = load.acknowledged
            load.finish(victim.address, self._survivors()[0].address, _LOAD_SECONDS)
        self._say(f"killed {victim.address} after {killed_after:,} entries; the others went on")
        return load, killed_after

    def _lag(self) -> Tuple[float, float]:
        """The longer of the survivors' median and 99th percentile, in seconds."""
        lags = []
        for node in self._survivors():
            with node.client() as client:
                lags.append(client.status().lag)
        return max(lag.p50 for lag in lags), max(lag.p99 for lag in lags)

    def _restart_victim(self) -> float:
        """Start it again on its port, a new incarnation with an empty memory; the seconds until it has everything."""
        peers = [node.address for node in self._survivors()]
        self._nodes[_VICTIM] = NodeProcess.start(self._nodes[_VICTIM].port, peers)
        seconds = self._wait_until_equal()
        self._say(f"started {self._nodes[_VICTIM].address} again; it caught up in {human_seconds(seconds)}")
        return seconds

    def _repair(self, load: Load) -> Set[str]:
        """Write again what was lost with the killed node: acknowledged by it alone, and not yet passed on.

        A node that keeps its data in memory takes such writes with it. Nothing else may be missing.
        """
        missing = missing_keys(self._nodes[0].address, self._table)
        kept_by_others = missing - load.acknowledged_by(self._nodes[_VICTIM].address)
        if kept_by_others:
            msg = f"{len(kept_by_others)} entries are gone, though a node that lives on had acknowledged them"
            raise Failure(msg, INTERNAL)
        with self._nodes[0].client() as client:
            for batch in batches({key: self._table[key] for key in sorted(missing)}):
                client.put_many(batch)
        self._wait_until_equal()
        still_missing = missing_keys(self._nodes[0].address, self._table)
        if still_missing:
            msg = f"{len(still_missing)} entries are missing at the end"
            raise Failure(msg, INTERNAL)
        return missing

    def _wait_until_equal(self) -> float:
        return wait_until(lambda: digests_agree(self._addresses()), _CATCH_UP_SECONDS, "the three nodes became equal")


def _print_account(settings: Settings, account: Account) -> None:
    if settings.format in {"json", "jsonl"}:
        print_record(settings, {**account._asdict(), "equal": account.equal}, "")
        return
    rows = [
        ["entries", f"{account.entries:,}"],
        ["writes/s", f"{account.writes_per_second:,.0f}"],
        [
            "replication lag p50 / p99",
            f"{human_seconds(account.lag_p50_seconds)} / {human_seconds(account.lag_p99_seconds)}",
        ],
        ["node killed after", f"{account.killed_after:,} entries"],
        ["lost with it, written again", f"{account.lost_with_node:,}"],
        ["time to catch up", human_seconds(account.catch_up_seconds)],
        ["conflicts", f"{account.conflicts:,}"],
        ["equal", "yes" if account.equal else "NO"],
    ]
    columns = [Column("kvstore " + kvstore.__version__, text_of("name")), Column("demo", text_of("value"), right=True)]
    for line in table_lines(columns, rows, color=settings.color and sys.stdout.isatty()):
        click.echo(line)

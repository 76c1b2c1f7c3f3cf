"""Real nodes are killed, stopped and cut off under clients, and whatever the clients saw has to be linearizable.

`KVSTORE_STRONG_SECONDS=600` makes it long (`make strong-chaos`); `KVSTORE_STRONG_SEED` repeats the schedule of a run,
not its timing. Networks are cut where that is possible (Linux, root, namespaces); elsewhere nodes are killed and
stopped only, and it says so. What is not done: power cuts, clocks that jump, transactions and leases in the history.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

import kvstore

from . import strong_history
from .durable import DurableCluster
from .harness import Cluster, eventually
from .network import Network, missing
from .strong import DurableNetworkedCluster, Terms, client_of, from_node, group_of, wait_one_group
from .strong_chaos import LeaderFaults, Pace, recorded
from .strong_history import collect, run_workers

SECONDS = float(os.environ.get("KVSTORE_STRONG_SECONDS", "12"))
SEED = int(os.environ.get("KVSTORE_STRONG_SEED") or random.SystemRandom().randrange(2**32))

NODES = 3
CLIENTS = 10

# Each round has a history of its own, over new keys, so that the search for an order stays short: at most 1,000
# calls a key (4 keys, 10 clients with 360 calls each, at random).
ROUND_SECONDS = 12.0
KEYS = 4
CALLS = 360
CALLS_PER_KEY = 1_000
PACE_SECONDS = 0.04

# That may follow a run which has shown too little.
ROUNDS_MORE = 3

# Longer than it takes to elect a leader: a call rides over most faults.
CALL_SECONDS = 3.0

# Within so much after the last fault every node takes writes again.
PROGRESS_SECONDS = 10.0

_CHECKER = Path(__file__).parents[3] / "target" / "debug" / "examples" / "check"


@pytest.fixture
def battlefield(tmp_path: Path) -> Iterator[Cluster]:
    """Three durable nodes that have formed a group, on a network that can be cut if there is one."""
    lacking = missing()
    with ExitStack() as stack:
        if lacking:
            print(f"no network is cut: {lacking} is missing")  # noqa: T201 - shown on failure, and with -s
            made: Cluster = DurableCluster(tmp_path)
        else:
            made = DurableNetworkedCluster(stack.enter_context(Network(NODES)), tmp_path)
        stack.callback(made.stop)
        made.start(NODES)
        wait_one_group(made)
        yield made


class Battle:
    """Rounds of recorded calls under faults, each judged in the calm after it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.faults = LeaderFaults(cluster, SEED)
        self.outcomes: Counter[str] = Counter()
        self.reports: List[str] = []
        self.back_after: List[float] = []
        self._directory = directory
        with client_of(cluster, range(NODES), "default") as client:
            client.create_keyspace("battle", consistency="strong")

    def run(self, seconds: float, terms: Terms) -> None:
        """Fight, calm down, judge; again until the time is over, and once more if it has shown too little."""
        left = seconds
        number = 0
        while left > 0 or (self.lack(seconds, terms) and left > -ROUNDS_MORE * ROUND_SECONDS):
            self._round(number, min(left, ROUND_SECONDS) if left > 0 else ROUND_SECONDS)
            left -= ROUND_SECONDS
            number += 1

    def lack(self, seconds: float, terms: Terms) -> str:
        """What there was too little of to show anything, on a busy machine or by chance; "": it is a run."""
        faults = self.faults.counts
        of_leader = sum(count for kind, count in faults.items() if kind.endswith("of the leader"))
        wanted = {
            "faults": (sum(faults.values()), max(3, seconds / 6)),
            "faults of the leader": (of_leader, 1),
            "calls": (self.outcomes["ok"], 15 * seconds),
            "elections": (len(terms.leaders), 2),
        }
        return ", ".join(what for what, (found, least) in wanted.items() if found < least)

    def _round(self, number: int, seconds: float) -> None:
        path = self._directory / f"calls-{number}"
        pace = Pace(PACE_SECONDS)
        keys = [f"round-{number}/{key}" for key in range(KEYS)]
        mistakes: List[BaseException] = []

        def work() -> None:
            try:
                with ExitStack() as stack:
                    stores = [recorded(stack.enter_context(client)) for client in self._clients()]
                    run_workers(path, stores, keys=keys, calls=CALLS, seed=SEED + number, goes_on=pace)
            except BaseException as mistake:  # noqa: BLE001 - raised below
                mistakes.append(mistake)

        workers = threading.Thread(target=work)
        workers.start()
        try:
            self.faults.run(seconds)
            self.faults.heal()
            self._wait_for_progress(number)
        finally:
            self.faults.heal()
            pace.stop()
            workers.join()
        if mistakes:
            raise mistakes[0]
        self._judge(number, collect([path]))

    def _clients(self) -> List[kvstore.Client[Any]]:
        """Two for each node, which know no other, and some that go on at the next one."""
        alone = [[node] for node in range(NODES)] * 2
        roaming = [from_node(self.cluster, number % NODES) for number in range(CLIENTS - len(alone))]
        return [client_of(self.cluster, nodes, "battle", timeout=CALL_SECONDS) for nodes in alone + roaming]

    def _wait_for_progress(self, number: int) -> None:
        """Every node takes writes."""
        for node in range(NODES):
            with client_of(self.cluster, [node], "battle", timeout=CALL_SECONDS) as client:
                left = self.faults.last_end + PROGRESS_SECONDS - time.monotonic()
                try:
                    eventually(lambda: _puts(client, f"progress/{number}"), f"node {node} takes writes", max(left, 0.1))
                except AssertionError as error:
                    raise AssertionError("\n".join([str(error), *self._evidence()])) from error
        self.back_after.append(time.monotonic() - self.faults.last_end)

    def _evidence(self) -> List[str]:
        """What happened last, and what the nodes say."""
        states = [f"node {index}: {node.node}: {group_of(node)}" for index, node in enumerate(self.cluster.nodes)]
        return [*self.faults.timeline[-20:], *states, *(node.last_words() for node in self.cluster.nodes)]

    def _judge(self, number: int, history: str) -> None:
        lines: List[Dict[str, Any]] = [json.loads(line) for line in history.splitlines()]
        self.outcomes.update(line["outcome"] for line in lines)
        per_key = Counter(line["key"] for line in lines)
        assert max(per_key.values()) <= CALLS_PER_KEY, per_key
        verdict = strong_history.check(_CHECKER, history)
        if verdict.exit_code != 0:
            kept = Path(os.environ.get("KVSTORE_STRONG_KEEP", self._directory)) / f"history-{SEED}-{number}.jsonl"
            kept.write_text(history, encoding="utf-8")
            pytest.fail(f"{kept}: {verdict.report}")
        self.reports.append(verdict.report)

    def summary(self) -> str:
        """What happened, in figures."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.counts.items()))
        calls = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        back = f"{max(self.back_after):.1f} s" if self.back_after else "never"
        rounds = len(self.reports)
        return f"{rounds} rounds; calls: {calls}; faults: {faults}; every node took writes again within {back}"


def _puts(client: kvstore.Client[Any], key: str) -> bool:
    try:
        client.put(key, 1)
    except (kvstore.UnavailableError, kvstore.DeadlineError):
        return False
    return True


@pytest.mark.timeout(4 * (SECONDS + ROUNDS_MORE * ROUND_SECONDS) + 240)
def test_what_clients_see_is_linearizable_whatever_happens_to_nodes(battlefield: Cluster, tmp_path: Path) -> None:
    if not _CHECKER.exists():
        pytest.skip("the checker is not built: cargo build --example check")
    print(f"REPRODUCE: KVSTORE_STRONG_SEED={SEED} KVSTORE_STRONG_SECONDS={SECONDS:g}")  # noqa: T201 - shown on failure
    battle = Battle(battlefield, tmp_path)
    terms = Terms(battlefield)
    terms.start()
    try:
        battle.run(SECONDS, terms)
    finally:
        print(battle.summary())  # noqa: T201 - shown on failure, and with -s
        terms.stop()
    assert not battle.lack(SECONDS, terms), "no run"

"""Nodes of a strong group are gone: what is left goes on or tells the truth, and who is back knows what has passed."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple

import pytest

import kvstore

from .harness import eventually
from .strong import FORM_SECONDS, client_of, group_of, wait_leader, wait_one_group

if TYPE_CHECKING:
    from .durable import DurableCluster

pytestmark = pytest.mark.timeout(180)

NODES = 3
CALL_SECONDS = 0.5
ROUNDS = 1
# A leader that hears from no majority speaks for 1.8 s, and then tries again every 12 s if nobody asks it to.
SPEAKS_SECONDS = 2.0
SOON_SECONDS = 8.0
LEASE_SECONDS = 600.0
AWAY_SECONDS = 4.0

# What a call may end with while there is no quorum.
_CODES = {"NO_LEADER", "DEADLINE_EXCEEDED"}


def expect_no_quorum(call: Callable[[], Any]) -> bool:
    """The call fails, as it must; whether it may have been applied."""
    with pytest.raises((kvstore.UnavailableError, kvstore.DeadlineError)) as caught:
        call()
    assert caught.value.code in _CODES, (caught.value.code, str(caught.value))
    return caught.value.maybe_applied


def strong_calls(db: kvstore.Store[Any], name: str) -> Dict[str, Tuple[Callable[[], Any], bool]]:
    """Calls that need a quorum, by the key that they would make; and whether they write."""
    return {
        f"put/{name}": (lambda: db.put(f"put/{name}", 1), True),
        f"incr/{name}": (lambda: db.incr(f"incr/{name}"), True),
        f"add/{name}": (lambda: db.add(f"add/{name}", 1), True),
        f"many/{name}": (lambda: db.put_many({f"many/{name}": 1}), True),
        f"get/{name}": (lambda: db.get(f"get/{name}"), False),
        f"count/{name}": (lambda: db.count(f"count/{name}"), False),
    }


@pytest.mark.parametrize("survivor", ["leader", "follower"])
def test_eventual_keyspaces_go_on_without_a_quorum_and_strong_ones_tell_the_truth(
    durable: DurableCluster, survivor: str
) -> None:
    durable.start(NODES)
    wait_one_group(durable)
    leader = wait_leader(durable)
    left = leader if survivor == "leader" else (leader + 1) % NODES
    gone = [index for index in range(NODES) if index != left]
    with client_of(durable, [left], "default") as eventual:
        eventual.create_keyspace("jobs", consistency="strong")
        with client_of(durable, [left], "jobs") as db:
            # The group knows this client from now on: what it writes is not held up by making its acquaintance.
            db.put("before", 1)
            eventually(lambda: db.get("before", read="local") == 1, f"node {left} has it")
            for index in gone:
                durable.kill(index)
            known = call_without_quorum(eventual, db, "known")
            # What the leader has in its log may be applied later: it must not be told as refused.
            assert any(known.values()) or survivor == "follower"
            with client_of(durable, [left], "jobs") as stranger:
                new = call_without_quorum(eventual, stranger, "new")
            # The group has never heard of this client, so nothing of it can be under way.
            assert not any(new.values())
            # A leader that hears from nobody says so, and a follower names none.
            eventually(lambda: knows_no_quorum(durable, left), f"node {left} knows that it has no quorum")
    for index in gone:
        durable.restart(index)
    wait_one_group(durable)
    check_outcomes(durable, {**known, **new})


def call_without_quorum(eventual: kvstore.Store[Any], db: kvstore.Store[Any], name: str) -> Dict[str, bool]:
    """Call what needs nobody else, and what does; of each write whether it may have been applied."""
    outcomes: Dict[str, bool] = {}
    # Only what has to fail is in a hurry.
    quick = db.with_options(timeout=CALL_SECONDS)
    for number in range(ROUNDS):
        for key, (call, writes) in strong_calls(quick, f"{name}/{number}").items():
            maybe_applied = expect_no_quorum(call)
            assert writes or not maybe_applied, f"{key}: a read changes nothing"
            if writes:
                outcomes[key] = maybe_applied
            # In between, as if nothing had happened.
            eventual.put(key, number)
            assert eventual.get(key) == number
    hurried = eventual.with_options(timeout=CALL_SECONDS)
    expect_no_quorum(lambda: hurried.create_keyspace("new", consistency="strong"))
    expect_no_quorum(lambda: quick.lock("l").acquire(timeout=CALL_SECONDS))
    assert db.get("before", read="local") == 1
    assert eventual.count(f"put/{name}/") == ROUNDS
    return outcomes


def knows_no_quorum(durable: DurableCluster, index: int) -> bool:
    """By its own word."""
    group = group_of(durable.nodes[index])
    # None: it was too slow to say.
    return group is not None and (group.leader is None or (group.unheard or 0) > CALL_SECONDS)


def check_outcomes(durable: DurableCluster, outcomes: Dict[str, bool]) -> None:
    """With the quorum back: what was refused for certain is nowhere, whatever comes of the rest."""
    with client_of(durable, range(NODES), "jobs") as db:
        # Behind everything that was under way.
        db.put("barrier", 1)
        applied: List[str] = [key for key in outcomes if db.exists(key)]
        assert db.get("before") == 1
    untrue = [key for key in applied if not outcomes[key]]
    assert not untrue, f"refused, and applied all the same: {untrue}"
    unknown = sum(outcomes.values())
    print(f"{len(outcomes)} writes without a quorum: {unknown} unknown, {len(applied)} applied later")  # noqa: T201


def test_a_leader_serves_again_soon_after_its_only_follower_was_stopped_for_a_while(durable: DurableCluster) -> None:
    durable.start(NODES)
    wait_one_group(durable)
    leader = wait_leader(durable)
    follower, gone = (leader + 1) % NODES, (leader + 2) % NODES
    with client_of(durable, [leader], "default") as eventual:
        eventual.create_keyspace("jobs", consistency="strong")
    with client_of(durable, [leader], "jobs") as db:
        db.put("before", 1)
        durable.kill(gone)
        durable.nodes[follower].signal(signal.SIGSTOP)
        # In the log of the leader alone: the follower cannot be elected any more.
        assert expect_no_quorum(lambda: db.put("under way", 1, timeout=CALL_SECONDS))
        eventually(lambda: fell_silent(durable, leader), "the leader waits for a majority")
        durable.nodes[follower].signal(signal.SIGCONT)
        back = time.monotonic()
        db.put("after", 1, timeout=FORM_SECONDS)
        assert time.monotonic() - back < SOON_SECONDS
        assert db.get("under way") == 1


def fell_silent(durable: DurableCluster, index: int) -> bool:
    """For longer than it goes on speaking: src/replication/strong/group/silence.rs."""
    group = group_of(durable.nodes[index])
    return group is not None and (group.unheard or 0) > SPEAKS_SECONDS


def test_a_node_that_was_away_knows_what_is_left_of_a_lease(durable: DurableCluster) -> None:
    durable.start(NODES)
    wait_one_group(durable)
    leader = wait_leader(durable)
    away = (leader + 1) % NODES
    with client_of(durable, [leader], "default") as eventual:
        eventual.create_keyspace("jobs", consistency="strong")
    with client_of(durable, [leader], "jobs") as db:
        lease = db.lease(LEASE_SECONDS, keep_alive=False)
        durable.kill(away)
        # Nothing is written meanwhile from which the node could learn that time has passed.
        eventually(lambda: lease.info().remaining < LEASE_SECONDS - AWAY_SECONDS, "time passes")
        durable.restart(away)
        with client_of(durable, [away], "jobs") as other:
            assert other.find_lease(lease.id).info().remaining < LEASE_SECONDS - AWAY_SECONDS

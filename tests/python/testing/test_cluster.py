"""`LocalCluster`: its arguments, its life, its clients."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict

import pytest
from integration.harness import eventually, is_running

import kvstore
from kvstore.testing import LocalCluster

if TYPE_CHECKING:
    import pathlib

Make = Callable[..., LocalCluster]

SIGNATURES = {
    "__init__": "(nodes=3, *, isolation='inproc', seed=None, **settings)",
    "start": "(timeout=10.0)",
    "stop": "()",
    "node": "(index)",
    "client": "(node=None, **options)",
    "async_client": "(node=None, **options)",
    "wait_healthy": "(timeout=10.0)",
    "kill": "(node)",
    "restart": "(node)",
    "pause": "(node)",
    "resume": "(node)",
    "partition": "(*groups)",
    "heal": "()",
    "slow": "(node, *, delay=0.0, jitter=0.0, drop=0.0)",
    "advance_clock": "(seconds)",
}


@pytest.mark.parametrize(("name", "expected"), SIGNATURES.items())
def test_a_cluster_has_its_arguments_and_its_texts(name: str, expected: str) -> None:
    method = getattr(LocalCluster, name)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    assert str(inspect.Signature([each.replace(annotation=each.empty) for each in parameters])) == expected
    assert name == "__init__" or inspect.getdoc(method)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"nodes": 0}, "nodes"),
        ({"nodes": True}, "nodes"),
        ({"nodes": 17}, "nodes"),
        ({"isolation": "thread"}, "isolation"),
        ({"durabilty": "sync"}, "durability"),
        ({"advertise": "h:1"}, "advertise"),
        ({"cluster": ""}, "cluster"),
        ({"data_dir": ""}, "data_dir"),
    ],
)
def test_a_wrong_argument_is_named(arguments: Dict[str, Any], named: str) -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match=named), LocalCluster(**arguments):
        pass


def test_what_does_not_run_says_so() -> None:
    cluster = LocalCluster(1)
    with pytest.raises(kvstore.ClosedError, match="call start"):
        cluster.client()
    cluster.stop()
    with pytest.raises(kvstore.ClosedError, match="make a new one"):
        cluster.start()
    with pytest.raises(kvstore.ClosedError, match="make a new one"):
        _ = cluster.addresses


def test_nodes_are_one_cluster_from_the_start(make: Make, isolation: str) -> None:
    cluster = make(isolation=isolation, cluster="mine")
    assert len(set(cluster.addresses)) == 3
    cluster.wait_healthy(timeout=60)
    clients = [cluster.client(index, timeout=60) for index in range(3)]
    statuses = [client.status() for client in clients]
    assert [status.address for status in statuses] == cluster.addresses
    assert {status.cluster for status in statuses} == {"mine"}
    groups = [status.group for status in statuses]
    assert all(group is not None and sum(member.votes for member in group.members) == 3 for group in groups)

    def agree() -> bool:
        # On a busy machine another may lead in the next moment.
        leader = clients[cluster.leader].status().id
        return all(client.status().leader == leader for client in clients)

    eventually(agree, "all see the leader that the cluster tells")
    clients[0]["k"] = 1
    eventually(lambda: clients[2].get("k") == 1, "the write is everywhere")
    assert cluster.start() is cluster


def test_one_node_is_enough(make: Make) -> None:
    cluster = make(1)
    cluster.wait_healthy(timeout=60)
    assert cluster.leader == 0
    cluster.node(0)["k"] = 1
    assert cluster.client().get("k") == 1


def test_nodes_elsewhere_are_not_here(make: Make) -> None:
    cluster = make(1, isolation="process")
    with pytest.raises(kvstore.UnsupportedError, match="client"):
        cluster.node(0)
    with pytest.raises(kvstore.InvalidArgumentError, match="from 0 to 0"):
        cluster.node(1)


def test_a_seed_repeats_with_whom_clients_begin(make: Make) -> None:
    # Which address comes first tells, whatever the ports are.
    def firsts(seed: Any) -> Any:
        cluster = make(3, seed=seed)
        return [cluster.addresses.index(repr(cluster.client()).split("'")[1].split(",")[0]) for _ in range(20)]

    first = firsts(5)
    assert set(first) == {0, 1, 2}
    assert first == firsts(5)
    assert first != firsts(6)


def test_a_stop_closes_clients(make: Make) -> None:
    cluster = make(2)
    client, other = cluster.client(), cluster.async_client(0)
    client["k"] = 1

    # Now the other one is in use, too.
    assert asyncio.run(other.ping()) > 0
    cluster.stop()
    cluster.stop()
    with pytest.raises(kvstore.ClosedError):
        client.get("k")
    del client, other
    # A client that is still open would warn now, which is an error here.
    gc.collect()


def test_the_port_of_a_killed_node_is_kept_for_it(make: Make, isolation: str) -> None:
    cluster = make(1, isolation=isolation)
    address = cluster.addresses[0]
    port = int(address.partition(":")[2])
    cluster.kill(0)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    cluster.restart(0)
    assert cluster.client(0).status().address == address


def test_no_process_and_no_thread_is_left(make: Make) -> None:
    cluster = make(2, isolation="process")
    pids = [member._process.pid for member in cluster._members]  # type: ignore[attr-defined]
    cluster.pause(1)
    cluster.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    eventually(lambda: all(thread.name != "kvstore-testing" for thread in threading.enumerate()), "its threads ended")


def test_ctrl_c_while_an_interpreter_is_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "kvstore-testing":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LocalCluster(1, isolation="process").start()
    monkeypatch.undo()
    # A pipe that is still open would warn now, which is an error here.
    gc.collect()


def test_nodes_do_not_outlive_whoever_started_them() -> None:
    code = """
import os
from kvstore.testing import LocalCluster
cluster = LocalCluster(1, isolation="process").start()
print(cluster._members[0]._process.pid, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    pid = int(done.stdout)
    # A process that nobody waits for stays as a zombie where there is no init.
    eventually(lambda: not is_running(pid), "the node ended with its starter")


def test_a_node_that_cannot_start_tells_why_and_stops_the_others(tmp_path: pathlib.Path, isolation: str) -> None:
    (tmp_path / "node-1").write_text("no directory")
    cluster = LocalCluster(2, isolation=isolation, data_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(kvstore.UnavailableError) as failure:
        cluster.start()
    assert failure.value.code == "DISK_FAILED"
    with pytest.raises(kvstore.ClosedError):
        cluster.client()
    # The directory of the first is free again.
    with LocalCluster(1, data_dir=tmp_path).start(timeout=60):
        pass

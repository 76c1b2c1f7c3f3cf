"""What a node with a directory keeps: over restarts, kills, damage, and under load.

`KVSTORE_KILL_CYCLES=200` makes the run of kills long.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import pytest

import kvstore

from .churn import CALL_SECONDS, Gate, Writer
from .durable import DurableCluster, contents, first_difference, flip_bit, log_files
from .harness import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from pathlib import Path

KILL_CYCLES = int(os.environ.get("KVSTORE_KILL_CYCLES", "10"))
WRITERS = 8


# ------------------------------------------------------------------------------------------------------- restarts
@pytest.mark.parametrize("durability", ["sync", "interval", "memory"])
def test_a_restart_in_order_keeps_everything(durable: DurableCluster, durability: str) -> None:
    durable.options = ["--durability", durability]
    node = durable.add()
    with node.client() as client:
        client.put_many({f"k/{number:04}": number for number in range(3000)})
        client.put("brief", "gone soon", ttl=3600)
        client.put("changed", "before")
        client.put("changed", "after")
        client.put("deleted", "x")
        client.delete("deleted")
        before = contents(client)
    durable.stop_node(0)
    again = durable.restart(0)
    assert again.node == node.node
    with again.client() as client:
        assert first_difference(before, contents(client)) is None
        assert client.get("deleted", "nothing") == "nothing"
        assert client.put("changed", "later") > before["changed"][1]
        storage = client.status().storage
    assert (storage.durability, storage.state, storage.problem, storage.damage) == (durability, "ok", "", None)


def test_a_killed_node_comes_back_as_who_it_was_with_every_acknowledged_write(durable: DurableCluster) -> None:
    node = durable.add()
    with node.client() as client:
        for number in range(200):
            client.put(f"k/{number}", number)
        before = contents(client)
    durable.kill(0)
    again = durable.restart(0)
    assert again.node == node.node
    with again.client() as client:
        assert first_difference(before, contents(client)) is None


def test_a_ttl_runs_on_while_the_node_is_away(durable: DurableCluster) -> None:
    with durable.add().client() as client:
        client.put("brief", 1, ttl=0.5)
        client.put("long", 1, ttl=3600)
        expires = client.entry("long").expires
    durable.kill(0)
    with durable.restart(0).client() as client:
        assert client.entry("long").expires == expires
        eventually(lambda: client.get("brief") is None, "the brief key has expired")


def test_a_delete_is_remembered_over_a_restart_for_a_member_that_is_away(durable: DurableCluster) -> None:
    durable.start(2)
    with durable.client(0) as client:
        client.put("k", "old")
    durable.wait_value(1, "k", "old")
    durable.kill(1)
    with durable.client(0) as client:
        client.delete("k")
    durable.kill(0)
    durable.restart(0)
    durable.restart(1)
    durable.wait_equal()
    for index in range(2):
        with durable.client(index) as client:
            assert client.get("k") is None


def test_a_node_that_does_not_wait_for_its_disk_comes_back_under_a_new_id_after_a_kill(
    durable: DurableCluster,
) -> None:
    durable.options = ["--durability", "interval"]
    node = durable.add()
    with node.client() as client:
        client.put("k", "v")
    durable.kill(0)
    again = durable.restart(0)
    assert again.node != node.node
    with again.client() as client:
        client.put("k2", "v2")
        assert client.get("k2") == "v2"


# ---------------------------------------------------------------------------------------------------- one process
def test_a_node_knows_its_id_once_its_directory_is_open(tmp_path: Path) -> None:
    node = kvstore.Node(data_dir=tmp_path / "d")
    assert node.id == ""
    with node:
        node["k"] = 1
        first = node.id
        assert len(first) == 16
        status = node.status()
        assert (status.storage.durability, status.storage.state) == ("sync", "ok")  # type: ignore[union-attr]
    with kvstore.Node(data_dir=tmp_path / "d") as again:
        assert (again.id, again["k"]) == (first, 1)


def test_a_directory_belongs_to_one_node_of_one_cluster(tmp_path: Path) -> None:
    with kvstore.Node(data_dir=tmp_path, cluster="ours") as node:
        node["k"] = 1
        with pytest.raises(kvstore.UnavailableError, match=str(tmp_path)) as caught:
            kvstore.Node(data_dir=tmp_path, cluster="ours").start()
        assert caught.value.code == "DATA_DIR_IN_USE"
        assert node["k"] == 1
    with pytest.raises(kvstore.UnavailableError, match="ours") as caught:
        kvstore.Node(data_dir=tmp_path, cluster="theirs").start()
    assert caught.value.code == "WRONG_CLUSTER"
    with kvstore.Node(data_dir=tmp_path, cluster="ours") as node:
        assert node["k"] == 1


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear")
    with pytest.raises(kvstore.InvalidArgumentError, match="letter"):
        kvstore.Node(data_dir=tmp_path).start()
    assert letter.read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_tasks_share_syncs_and_the_loop_goes_on(tmp_path: Path) -> None:
    async def write() -> int:
        turns = 0

        async def count(over: asyncio.Event) -> None:
            nonlocal turns
            while not over.is_set():
                turns += 1
                await asyncio.sleep(0)

        async with kvstore.Node(data_dir=tmp_path) as node:
            client = node.async_client()
            before = node.status().storage.syncs  # type: ignore[union-attr]
            over = asyncio.Event()
            counter = asyncio.ensure_future(count(over))
            await asyncio.gather(*(client.put(f"k/{number}", number) for number in range(500)))
            over.set()
            await counter
            assert turns > 0
            assert await client.count("k/") == 500
            return node.status().storage.syncs - before  # type: ignore[union-attr]

    assert 0 < asyncio.run(write()) < 250


@pytest.mark.parametrize("durability", ["sync", "interval", "memory"])
def test_tasks_that_are_faster_than_the_disk_wait_for_their_turn(tmp_path: Path, durability: Any) -> None:
    async def write() -> None:
        async with kvstore.Node(data_dir=tmp_path, durability=durability) as node:
            client = node.async_client(timeout=None)
            # More than the log holds for the disk, and each key several times.
            values = [number.to_bytes(2, "big") * 250_000 for number in range(120)]
            calls = [asyncio.ensure_future(client.put(f"k/{at % 7}", value)) for at, value in enumerate(values)]
            await asyncio.sleep(0)
            # One that is given up in the middle holds nobody up.
            calls[100].cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(version) for version in done[:100] + done[101:]} == {int}
            for key in range(7):
                versions = [version for version in done[key::7] if isinstance(version, int)]
                assert versions == sorted(versions)
                assert await client.get(f"k/{key}") == values[key::7][-1]

    asyncio.run(write())


def test_clients_that_are_faster_than_the_disk_wait_instead_of_failing(durable: DurableCluster) -> None:
    durable.options = ["--durability", "memory"]
    node = durable.add()
    value = b"x" * 450_000
    failures: List[BaseException] = []

    def write(worker: int) -> None:
        try:
            with node.client(timeout=DEADLINE_SECONDS) as client:
                for batch in range(6):
                    # Of all writers together more than the log holds for the disk.
                    client.put_many({f"{worker}/{batch}/{number}": value for number in range(8)})
        except BaseException as error:  # noqa: BLE001  # it is the other thread that judges
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with node.client() as client:
        assert client.count() == WRITERS * 6 * 8


def test_memory_has_a_bound_and_deletes_pass_it(tmp_path: Path) -> None:
    with kvstore.Node(data_dir=tmp_path, max_memory="16MiB", durability="memory") as node:
        assert node.status().max_memory == 16 << 20
        batches = ({f"k/{number}": b"x" * (1 << 19)} for number in range(40))
        with pytest.raises(kvstore.LimitError, match="max_memory") as caught:
            any(map(node.put_many, batches))
        assert caught.value.code == "MEMORY_LIMIT"
        status = node.status()
        assert status.memory <= 16 << 20
        assert node.get("k/0") == b"x" * (1 << 19)
        assert node.delete("k/0")
        node.put("small", 1)


# ---------------------------------------------------------------------------------------------------------- kills
class Kills:
    """Writers at one node that is killed again and again; each acknowledged write has to be there afterwards."""

    def __init__(self, cluster: DurableCluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.gate = Gate(WRITERS)
        self.writers = [Writer(number, seed, 50, cluster, self.gate) for number in range(WRITERS)]
        self._pace = threading.Event()

    def run(self, cycles: int) -> None:
        """Kill so often while they write, and look each time."""
        for writer in self.writers:
            writer.start()
        for cycle in range(cycles):
            # How long the writers work before the kill is part of the random schedule.
            self._pace.wait(self.random.uniform(0.05, 0.5))
            node = self.cluster.nodes[0].node
            self.cluster.kill(0)
            assert self.cluster.restart(0).node == node, f"cycle {cycle}: it is another node"
            self.check(cycle)

    def check(self, cycle: int) -> None:
        """Everything that was acknowledged is there, and nothing that was not written."""
        self.gate.close(CALL_SECONDS + 10)
        for writer in self.writers:
            if writer.error is not None:
                raise writer.error
        with self.cluster.client(0) as client:
            shown = {entry.key: entry.value for entry in client.scan()}
        wrong: List[str] = []
        for writer in self.writers:
            for key in writer.keys:
                problem = writer.model.settle(key, shown.pop(key, None), set())
                wrong += [problem] if problem else []
        assert not wrong, (cycle, wrong[:5])
        assert not shown, (cycle, "keys that nobody wrote")
        self.gate.open()

    def end(self) -> None:
        """Send the writers home."""
        self.gate.end()
        for writer in self.writers:
            if writer.is_alive():
                writer.join(CALL_SECONDS)


@pytest.mark.timeout(60 + 10 * KILL_CYCLES)
def test_no_acknowledged_write_is_lost_by_kills(durable: DurableCluster) -> None:
    durable.add()
    kills = Kills(durable, random.SystemRandom().randrange(2**32))
    try:
        kills.run(KILL_CYCLES)
    finally:
        kills.end()
    acknowledged = sum(writer.acknowledged for writer in kills.writers)
    print(f"{KILL_CYCLES} kills, {acknowledged:,} acknowledged writes checked, 0 lost")  # noqa: T201 - shown with -s
    assert acknowledged > 10 * KILL_CYCLES


# --------------------------------------------------------------------------------------------------------- damage
def _fill(durable: DurableCluster, index: int) -> Dict[str, Any]:
    with durable.client(index) as client:
        for batch in range(40):
            client.put_many({f"k/{batch}/{number}": os.urandom(100) for number in range(50)})
        return contents(client)


def _damage(directory: Path) -> Path:
    """One bit in the middle of what the log holds, which is zeros towards its end."""
    (path,) = log_files(directory)
    written = len(path.read_bytes().rstrip(b"\0"))
    flip_bit(path, written // 2)
    return path


def test_a_damaged_log_stops_a_node_that_is_alone_and_names_the_place(durable: DurableCluster) -> None:
    durable.add()
    _fill(durable, 0)
    durable.stop_node(0)
    path = _damage(durable.directory(0))
    kept = path.read_bytes()
    with pytest.raises(kvstore.CorruptError, match=path.name) as caught:
        kvstore.Node(data_dir=durable.directory(0)).start()
    assert any(word.strip(":,;").isdigit() for word in str(caught.value).split()), "the place is a number"
    assert path.read_bytes() == kept, "nothing was cut"
    report = kvstore.examine_data_dir(durable.directory(0))
    assert not report.healthy
    assert str(path) in report.problems[0]


def test_a_node_with_damage_gets_a_full_copy_from_its_peers_and_says_so(durable: DurableCluster) -> None:
    durable.start(2)
    before = _fill(durable, 0)
    durable.wait_equal()
    former = durable.nodes[1].node
    durable.stop_node(1)
    _damage(durable.directory(1))
    durable.restart(1)
    durable.wait_ready(1)
    durable.wait_equal()
    assert durable.nodes[1].node != former
    with durable.client(1) as client:
        assert first_difference(before, contents(client)) is None
        status = client.status()
    assert "damaged" in (status.storage.damage or "")  # type: ignore[union-attr]
    assert any("damaged" in problem for problem in status.problems)
    assert kvstore.examine_data_dir(durable.directory(1)).set_aside


# ------------------------------------------------------------------------------------------------ rolling restart
class Readers(threading.Thread):
    """Reads a key again and again at the nodes that are up; none may fail."""

    def __init__(self, durable: DurableCluster) -> None:
        super().__init__(daemon=True)
        self.reads = 0
        self.error: Optional[BaseException] = None
        self.away: Optional[int] = None
        self._over = threading.Event()
        self._clients = [durable.client(index) for index in range(len(durable.nodes))]

    def run(self) -> None:
        """Until it is over."""
        try:
            while not self._over.is_set():
                for index, client in enumerate(self._clients):
                    if index != self.away:
                        self._read(index, client)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error
        finally:
            for client in self._clients:
                client.close()

    def _read(self, index: int, client: Any) -> None:
        try:
            assert client.get("fixed", read="local") == "value"
            self.reads += 1
        except kvstore.KVError:
            # It was taken away while it was asked.
            if index != self.away:
                raise

    def end(self) -> None:
        """Raise what went wrong."""
        self._over.set()
        self.join(DEADLINE_SECONDS)
        if self.error is not None:
            raise self.error


@pytest.mark.timeout(180)
def test_a_rolling_restart_under_load_loses_nothing_and_moves_only_what_was_missed(durable: DurableCluster) -> None:
    durable.start(3)
    with durable.client(0) as client:
        client.put("fixed", "value")
        for batch in range(20):
            client.put_many({f"old/{batch}/{number}": b"x" * 1000 for number in range(250)})
    durable.wait_equal()
    readers = Readers(durable)
    readers.start()
    ids = [node.node for node in durable.nodes]
    missed = 0
    for index in range(3):
        readers.away = index
        durable.nodes[index].signal(signal.SIGTERM)
        with durable.client((index + 1) % 3) as client:
            for number in range(200):
                client.put(f"new/{index}/{number}", b"y" * 100)
                missed += 100 + len(f"new/{index}/{number}")
        assert durable.nodes[index].wait(DEADLINE_SECONDS) == 0
        durable.stop_node(index)
        durable.restart(index)
        durable.wait_ready(index)
        durable.wait_connected()
        durable.wait_equal()
        with durable.client(index) as client:
            status = client.status()
            assert client.count("new/") == 200 * (index + 1)
        moved = status.state_bytes + status.change_bytes
        assert moved <= 3 * missed, f"node {index} got {moved} bytes, it had missed {missed} at most"
        readers.away = None
    readers.end()
    assert readers.reads > 100
    assert [node.node for node in durable.nodes] == ids
    for index in range(3):
        with durable.client(index) as client:
            assert client.count("new/") == 600
            assert client.count("old/") == 5000
            eventually(lambda: [member.state for member in client.members()] == ["up"] * 3, "all are up")

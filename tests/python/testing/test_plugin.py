"""The pytest plugin, as a newcomer's project meets it: files in a directory, and pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict

import pytest

from kvstore.testing import LocalCluster

if TYPE_CHECKING:
    import pathlib

Make = Callable[..., LocalCluster]
Run = Callable[..., "Outcome"]

# What a newcomer has to write. The plugin itself is found by its entry point.
CONFTEST = """
import pytest

@pytest.fixture
def cluster(kvstore_cluster):
    return kvstore_cluster(nodes=3)
"""


class Outcome:
    """How a run of pytest ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.text = done.stdout + done.stderr
        self.code = done.returncode

    def assert_counts(self, **counts: int) -> None:
        """So many tests `passed`, `failed`, were `skipped`, and none ended otherwise."""
        lines = [line for line in self.text.splitlines() if " in " in line and line.startswith("=")]
        words = lines[-1].strip("= ").partition(" in ")[0].replace(",", "").split() if lines else []
        found: Dict[str, int] = {name: int(count) for count, name in zip(words[::2], words[1::2])}
        assert found == counts, self.text


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Writes a project and runs pytest in it, with warnings as errors."""

    def run_project(test: str, *options: str, conftest: str = CONFTEST) -> Outcome:
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "test_mine.py").write_text(test)
        # What this suite is run with is no setting of that project's.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KVSTORE_"))}
        command = [sys.executable, "-m", "pytest", "--strict-markers", "-p", "no:cacheprovider", *options]
        # Options of pytest-asyncio that nobody has set are a warning in some of its versions.
        command += ["-o", "asyncio_default_fixture_loop_scope=function"]
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=60, check=False)
        return Outcome(done)

    return run_project


def test_a_newcomer_has_a_cluster_for_each_test(run: Run) -> None:
    outcome = run("""
import kvstore

def test_survives_leader_loss(cluster):
    db = cluster.client(timeout=20).create_keyspace("mine", consistency="strong")
    db.put("k", 1)
    cluster.kill(cluster.leader)
    assert db.get("k") == 1

def test_is_another_cluster(cluster):
    assert [info.name for info in cluster.client().keyspaces()] == ["default"]
    assert len(cluster.addresses) == 3

def test_options_win(kvstore_cluster):
    assert len(kvstore_cluster(1, cluster="mine").addresses) == 1
    assert kvstore_cluster(nodes=2).client().status().cluster == "default"
""")
    outcome.assert_counts(passed=3)


def test_a_node_and_its_clients(run: Run) -> None:
    outcome = run(
        """
import asyncio

def test_node(kvstore_node, kvstore_client, kvstore_async_client):
    kvstore_node["k"] = 1
    assert kvstore_client["k"] == 1
    assert asyncio.run(kvstore_async_client.get("k")) == 1
    assert kvstore_node.status().storage is None

def test_another_node(kvstore_client):
    assert kvstore_client.get("k") is None
""",
        "-s",
    )
    outcome.assert_counts(passed=2)
    assert "node started" not in outcome.text, "nobody has asked for a log"


def test_the_marker_says_what_is_made(run: Run) -> None:
    run("""
import pytest

pytestmark = pytest.mark.kvstore(nodes=2, cluster="marked")

@pytest.mark.kvstore(data_dir=True)
def test_all_marks_count(kvstore_cluster):
    cluster = kvstore_cluster()
    assert len(cluster.addresses) == 2
    status = cluster.client().status()
    assert (status.cluster, status.storage.durability) == ("marked", "sync")

@pytest.mark.kvstore(nodes=1)
def test_the_nearest_wins(kvstore_client):
    assert len(kvstore_client.members()) == 1
    assert kvstore_client.status().cluster == "marked"

def test_a_client_of_a_cluster(kvstore_client):
    assert len(kvstore_client.members()) == 2
""").assert_counts(passed=3)


def test_the_clients_of_a_marked_cluster_are_let_in(run: Run) -> None:
    run("""
import asyncio, pytest

@pytest.mark.kvstore(nodes=2, token="of-the-mark")
def test_both(kvstore_client, kvstore_async_client):
    assert kvstore_client.get("k") is None
    assert asyncio.run(kvstore_async_client.get("k")) is None
""").assert_counts(passed=1)


def test_a_shared_cluster_has_a_keyspace_for_each_test(run: Run) -> None:
    run("""
import pytest, kvstore
seen = []

@pytest.mark.parametrize("number", range(3))
def test_shared(kvstore_shared_cluster, number):
    db = kvstore_shared_cluster.client()
    assert db.add("k", number)
    assert db.info().consistency == "strong"
    assert [info.name for info in db.keyspaces()] == ["default", kvstore_shared_cluster.keyspace]
    seen.append((kvstore_shared_cluster.keyspace, db.status().cluster))

def test_names_differ(kvstore_shared_cluster):
    assert len(set(seen)) == 3
""").assert_counts(passed=4)


def test_the_report_of_a_failed_test_tells_of_its_nodes(run: Run) -> None:
    outcome = run("""
def test_cluster(cluster):
    cluster.kill(2)
    assert cluster.client()["missing"] == 1

def test_node(kvstore_node):
    assert kvstore_node["missing"] == 1

def test_good(kvstore_node):
    pass
""")
    outcome.assert_counts(failed=2, passed=1)
    for wanted in ("LocalCluster of 3 nodes", ", seed ", "node 0: ", "node 2 does not run", "node started node="):
        assert wanted in outcome.text, outcome.text
    assert "<kvstore.Node " in outcome.text
    assert outcome.text.count("last lines of its log: ") == 2


def test_the_report_has_the_log_of_other_processes(run: Run) -> None:
    outcome = run("""
def test_process(kvstore_cluster):
    cluster = kvstore_cluster(2, isolation="process")
    assert not cluster.addresses
""")
    outcome.assert_counts(failed=1)
    assert outcome.text.count("node started node=") == 2, outcome.text


def test_the_log_is_shown_when_asked_for(run: Run) -> None:
    test = "def test_it(kvstore_node): pass"
    assert "node started" in run(test, "-s", "--kvstore-log").text


def test_a_cluster_that_is_there_is_used_and_not_controlled(run: Run, make: Make) -> None:
    there = make(2, cluster="there")
    outcome = run(
        """
import asyncio

def test_client(kvstore_client, kvstore_async_client):
    assert kvstore_client.status().cluster == "there"
    assert asyncio.run(kvstore_async_client.status()).cluster == "there"

def test_shared(kvstore_shared_cluster):
    assert kvstore_shared_cluster.client().status().cluster == "there"

def test_node(kvstore_node): pass
def test_cluster(cluster): pass
""",
        "--kvstore-url",
        "kv://" + ",".join(there.addresses) + "/default?timeout=20",
        "-rs",
    )
    outcome.assert_counts(passed=2, skipped=2)
    assert "kvstore_node makes nodes of its own, and --kvstore-url says to use a cluster that is there" in outcome.text
    # The keyspace of the shared cluster is gone.
    assert [info.name for info in there.client().keyspaces()] == ["default"]


def test_a_cluster_that_is_there_may_want_a_token(run: Run, make: Make) -> None:
    there = make(1, token="se/same@7")
    outcome = run(
        """
import asyncio, kvstore

def test_client(kvstore_client, kvstore_async_client):
    assert kvstore_client.get("k") is None
    assert asyncio.run(kvstore_async_client.get("k")) is None

def test_shared(kvstore_shared_cluster):
    for client in (kvstore_shared_cluster.client(), kvstore_shared_cluster.client(timeout=None)):
        client["k"] = 1
    assert asyncio.run(kvstore_shared_cluster.async_client().get("k")) == 1
    assert "same" not in repr(kvstore_shared_cluster)
""",
        "--kvstore-url",
        f"kv://:se%2Fsame%407@{there.addresses[0]}/default?timeout=20&retry=5&hedge=none&discover=false",
    )
    outcome.assert_counts(passed=2)
    assert [info.name for info in there.client().keyspaces()] == ["default"]


def test_a_wrong_setting_or_mark_is_named(run: Run) -> None:
    outcome = run("""
import pytest

def test_setting(kvstore_cluster):
    kvstore_cluster(durabilty="sync")

@pytest.mark.kvstore(3)
def test_mark(kvstore_cluster):
    kvstore_cluster()
""")
    outcome.assert_counts(failed=2)
    assert "did you mean 'durability'?" in outcome.text
    assert "the marker kvstore takes names" in outcome.text


def test_a_run_without_our_fixtures_does_not_load_kvstore(run: Run) -> None:
    conftest = """
import sys

def pytest_sessionfinish(session):
    assert session.config.pluginmanager.get_plugin("kvstore").__name__ == "pytest_kvstore.plugin"
    assert "kvstore" not in sys.modules, "kvstore was loaded"
"""
    outcome = run("def test_nothing(): pass", conftest=conftest)
    outcome.assert_counts(passed=1)
    assert outcome.code == 0, outcome.text


def test_the_plugin_imports_nothing_but_pytest() -> None:
    code = """
import sys, typing, uuid, pytest
before = set(sys.modules)
import pytest_kvstore.plugin
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['pytest_kvstore', 'pytest_kvstore.plugin']"


def test_the_shared_view_helps_in_a_report(make: Make) -> None:
    from kvstore.testing.shared import SharedCluster  # noqa: PLC0415

    there = make(1)
    shared: Any = SharedCluster(there.addresses, "mine")
    client, other = shared.client(), shared.async_client()
    client["k"] = 1
    assert "/mine>" in repr(shared)
    shared._end()
    with pytest.raises(Exception, match="closed"):
        client.get("k")
    assert [info.name for info in there.client().keyspaces()] == ["default"]
    del other

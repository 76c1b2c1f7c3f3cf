"""Strong keyspaces on the command line: conditions, transactions, leases, and commands that run under a lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, List

import pytest

import kvstore

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run

DEADLINE_SECONDS = 60.0


def eventually(condition: Callable[[], Any]) -> Any:
    deadline, pause = time.monotonic() + DEADLINE_SECONDS, threading.Event()
    while True:
        outcome = condition()
        if outcome:
            return outcome
        assert time.monotonic() < deadline, "not in time"
        pause.wait(0.02)


@pytest.fixture
def jobs(node: kvstore.Node) -> Iterator[Any]:
    yield node.create_keyspace("jobs", consistency="strong")
    node.drop_keyspace("jobs")


def kv(node: kvstore.Node, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A command in a process of its own, against the keyspace `jobs`."""
    command = [sys.executable, "-m", "kvstore", "-s", node.address, "-k", "jobs", *arguments]
    return subprocess.Popen(command, **options)


def test_keyspaces_come_and_go(run: Run) -> None:
    assert run("keyspace", "create", "made").stdout == "created made\n"
    assert "KEYSPACE_EXISTS" not in run("keyspace", "create", "made", code=4).stdout
    run("keyspace", "create", "made", "--exist-ok")
    run("-k", "made", "put", "k", "v")
    listed = json.loads(run("keyspace", "ls", "-o", "json").stdout)["keyspaces"]
    assert {"name": "made", "consistency": "strong", "keys": 1, "bytes": 2, "conflicts": 0} in listed
    assert run("keyspace", "list", "-o", "plain").stdout.splitlines() == [
        "default\teventual\t0\t0",
        "made\tstrong\t1\t2",
    ]
    assert "--yes" in run("keyspace", "drop", "made", code=2).stderr
    run("keyspace", "drop", "made", "--yes")
    assert "made" in run("keyspace", "drop", "made", "--yes", code=2).stderr
    run("get", "k", "-k", "made", code=2)


def test_what_no_keyspace_can_keep_is_a_usage_error(run: Run) -> None:
    for number in (-1, 2**64, 2**70):
        command = ["keyspace", "create", "kept", "--consistency", "eventual", "--keep-conflicts", str(number)]
        assert "--keep-conflicts" in run(*command, code=2).stderr


def test_conditions_are_kept(jobs: Any, run: Run) -> None:
    version = run("-k", "jobs", "put", "k", "1", "--if-absent").stdout.strip()
    assert "already" in run("-k", "jobs", "put", "k", "2", "--if-absent", code=4).stderr
    assert version in run("-k", "jobs", "put", "k", "2", "--if-version", "9999999", code=4).stderr
    run("-k", "jobs", "put", "k", "2", "--if-version", version)
    run("-k", "jobs", "delete", "k", "--if-version", version, code=4)
    assert jobs["k"] == "2"
    assert run("-k", "jobs", "add", "k", "3", code=1).stdout == "false\n"
    assert run("-k", "jobs", "add", "l", "3").stdout == "true\n"
    run("put", "k", "1", "--if-absent", code=6)
    run("get", "k", "--read", "linearizable", code=6)
    assert run("-k", "jobs", "get", "k", "--read", "linearizable").stdout == "2\n"


def test_what_leaves_a_strong_keyspace_comes_back(jobs: Any, run: Run, tmp_path: Path) -> None:
    jobs.put_many({f"k{number:04}": {"n": number} for number in range(2500)})
    file = str(tmp_path / "jobs.jsonl")
    run("-k", "jobs", "export", file)
    jobs.delete_prefix("")
    run("-k", "jobs", "import", file)
    assert [entry.value["n"] for entry in jobs.scan()] == list(range(2500))
    assert run("-k", "jobs", "count").stdout == "2500\n"
    assert run("-k", "jobs", "conflicts", "ls", "-o", "plain").stdout == ""
    assert "default" in run("-k", "jobs", "bench", "get", "-n", "10", code=6).stderr


def test_a_watch_tells_the_revision(jobs: Any, run: Run) -> None:
    version = jobs.put("k", 1)
    (line,) = run("-k", "jobs", "watch", "--initial", "--limit", "1", "-o", "jsonl").stdout.splitlines()
    told = json.loads(line)
    assert (told["event"], told["key"], told["revision"], told["value"]) == ("put", "k", str(version), 1)


def test_leadership_is_shown_and_moved(node: kvstore.Node, jobs: Any, run: Run) -> None:
    assert run("leader", "show").stdout == f"{node.address}\t{node.id}\n"
    assert json.loads(run("leader", "move", node.id, "-o", "json").stdout) == {"schema": 1, "node": node.id}
    run("leader", "move", "00000000000000ff", code=2)


def test_a_counter_counts(jobs: Any, run: Run) -> None:
    assert run("-k", "jobs", "incr", "n").stdout == "1\n"
    assert run("-k", "jobs", "incr", "n", "--", "-5").stdout == "-4\n"
    assert run("-k", "jobs", "incr", "m", "--initial", "9007199254740993", "-o", "json").stdout == (
        '{"schema":1,"key":"m","value":"9007199254740994"}\n'
    )
    run("incr", "n", code=6)
    jobs["text"] = "x"
    run("-k", "jobs", "incr", "text", code=2)


def test_a_key_that_is_no_text_is_base64_in_json(jobs: Any, run: Run) -> None:
    key = b"\xff".decode("utf-8", "surrogateescape")
    for command in (["put", key, "1", "--as", "int"], ["add", key, "v"], ["incr", key], ["exists", key], ["get", key]):
        done = json.loads(run("-k", "jobs", "-o", "json", *command, code=command[0] == "add").stdout)
        assert done["key_base64"] == "/w=="
        assert "key" not in done
    assert jobs[b"\xff"] == 2


def test_a_lease_takes_its_keys_along(jobs: Any, run: Run) -> None:
    lease = run("lease", "grant", "30s").stdout.strip()
    run("-k", "jobs", "put", "k", "v", "--lease", lease)
    shown = json.loads(run("lease", "show", lease, "-o", "json").stdout)
    assert (shown["lease"], shown["ttl"], shown["places"]) == (lease, 30.0, 1)
    assert run("lease", "show", lease).stdout.endswith("of 30.0 s left, 1 keys and locks\n")
    (listed,) = (json.loads(line) for line in run("lease", "list", "-o", "jsonl").stdout.splitlines())
    assert {**listed, "remaining": 0} == {**shown, "remaining": 0}
    titles, line = run("lease", "list", "-o", "table").stdout.splitlines()
    assert titles.split() == ["LEASE", "LEFT", "TTL", "KEYS", "AND", "LOCKS"]
    assert (line.split()[0], line.split()[-1]) == (lease, "1")
    run("lease", "keep", lease, "--once")
    run("lease", "keep-alive", lease, "--once")
    run("lease", "keep", lease, "--for", "200ms")
    run("lease", "revoke", lease)
    assert not jobs.exists("k")
    assert run("lease", "list", "-o", "jsonl").stdout == ""
    for command in ("show", "keep", "revoke"):
        assert lease in run("lease", command, lease, code=4).stderr


def test_a_transaction_does_what_its_file_says(jobs: Any, run: Run, tmp_path: Path) -> None:
    jobs.put_many({"a": 1, "text": "x", "gone": 0})
    version = str(jobs.entry("a").version)
    document = {
        "compare": [
            {"key": "a", "version": version},
            {"key": "text", "value": "x"},
            {"key": "text", "present": True},
            {"key": "new", "absent": True},
        ],
        "then": [
            {"put": "new", "value": [1, None], "ttl": "10m"},
            {"incr": "a", "by": 41},
            {"get": "a"},
            {"delete": "gone"},
            {"delete": "gone"},
            {"get": "gone"},
        ],
        "else": [{"get": "text"}, {"put": "failed", "value": True}],
    }
    file = tmp_path / "txn.json"
    file.write_text(json.dumps(document))
    done = json.loads(run("-k", "jobs", "-o", "json", "txn", str(file)).stdout)
    assert done == {
        "schema": 1,
        "holds": True,
        "results": [
            {"put": "new"},
            {"incr": "a", "value": 42},
            {"get": "a", "type": "int", "value": 42},
            {"delete": "gone", "existed": True},
            {"delete": "gone", "existed": False},
            {"get": "gone", "missing": True},
        ],
    }
    assert (jobs["a"], jobs["new"], jobs.get("gone")) == (42, [1, None], None)
    assert jobs.entry("a").version == jobs.entry("new").version
    assert jobs.entry("new").ttl > 500
    lines = run("-k", "jobs", "txn", "-", stdin=json.dumps(document), code=1).stdout.splitlines()
    assert lines == ["false", '{"get":"text","type":"str","value":"x"}', '{"put":"failed"}']
    assert jobs["failed"] is True


def test_a_transaction_that_counts_leaves_ttl_and_lease(jobs: Any, run: Run) -> None:
    with jobs.lease(600) as lease:
        jobs.incr("timed", ttl=600)
        jobs.put("leased", 1, lease=lease)
        document = {
            "compare": [{"key": "timed", "value": 1}],
            "then": [
                *({"incr": key} for key in ("timed", "leased", "new")),
                {"put": "made", "value": 5, "ttl": "10m"},
                {"incr": "made", "by": -6},
                {"get": "made"},
            ],
        }
        done = json.loads(run("-k", "jobs", "-o", "json", "txn", "-", stdin=json.dumps(document)).stdout)
        assert [each.get("value") for each in done["results"]] == [2, 2, 1, None, -1, -1]
        assert done["results"][-1] == {"get": "made", "type": "int", "value": -1}
        assert (jobs["timed"], jobs["leased"], jobs["new"], jobs["made"]) == (2, 2, 1, -1)
        assert jobs.entry("timed").ttl > 500
        assert jobs.entry("made").ttl > 500
        assert jobs.entry("new").ttl is None
    assert not jobs.exists("leased")


def test_a_transaction_may_only_look(jobs: Any, run: Run) -> None:
    jobs["a"] = 1
    for document, code, text in (
        ('{"compare": [{"key": "a", "value": 1}]}', 0, "true\n"),
        ('{"compare": [{"key": "a", "absent": true}]}', 1, "false\n"),
        ('{"then": [{"get": "b"}]}', 0, 'true\n{"get":"b","missing":true}\n'),
        ("{}", 0, "true\n"),
    ):
        assert run("-k", "jobs", "txn", "-", stdin=document, code=code).stdout == text
    run("txn", "-", stdin="{}", code=6)


def test_a_transaction_begins_anew_when_others_were_faster(
    jobs: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs["n"] = 1
    entry = kvstore.Client.entry

    def beaten(client: kvstore.Client[Any], key: bytes, **options: Any) -> Any:
        found = entry(client, key, **options)
        if jobs["n"] == 1:
            jobs["n"] = 2
        return found

    monkeypatch.setattr(kvstore.Client, "entry", beaten)
    document = {"compare": [{"key": "n", "value": 1}], "then": [{"incr": "n"}], "else": [{"get": "n"}]}
    lines = run("-k", "jobs", "txn", "-", stdin=json.dumps(document), code=1).stdout.splitlines()
    assert lines == ["false", '{"get":"n","type":"int","value":2}']


def test_a_transaction_that_cannot_count_does_nothing(jobs: Any, run: Run) -> None:
    jobs.put_many({"text": "x", "most": 2**63 - 1})
    for key, by, text in (("text", 1, "no integer"), ("most", 1, "64 bits"), ("new", 2**63, "64 bits")):
        document = {"then": [{"put": "k", "value": 1}, {"incr": key, "by": by}]}
        assert text in run("-k", "jobs", "txn", "-", stdin=json.dumps(document), code=2).stderr
    assert jobs.count() == 2


@pytest.mark.parametrize(
    "document",
    [
        "no json",
        "[]",
        '{"when": []}',
        '{"compare": [{"key": "k"}]}',
        '{"compare": [{"key": "k", "absent": true, "version": "1"}]}',
        '{"compare": [{"version": "1"}]}',
        '{"then": [{"put": "k", "delete": "k"}]}',
        '{"then": [{"put": "k", "value": 1, "ttl": "soon"}]}',
        '{"then": [{"put": "k", "value": 1, "lease": 1}]}',
        '{"else": [{"incr": "k", "by": "much"}]}',
        '{"else": [{"incr": "k", "by": 1e999}]}',
        '{"then": [{"put": "k", "value": 1, "ttl": 1e20}]}',
    ],
)
def test_a_file_that_is_no_transaction_is_a_usage_error(jobs: Any, run: Run, document: str) -> None:
    run("-k", "jobs", "txn", "-", stdin=document, code=2)
    assert jobs.count() == 0


def test_a_command_runs_under_a_lock_with_its_token(node: kvstore.Node, jobs: Any) -> None:
    show = [sys.executable, "-c", "import os; print(os.environ['KVSTORE_FENCING_TOKEN'])"]
    tokens = []
    for _ in range(2):
        with kv(node, "lock", "l", "--", *show, stdout=subprocess.PIPE) as process:
            tokens.append(int(process.communicate(timeout=DEADLINE_SECONDS)[0]))
        assert process.returncode == 0
    assert 0 < tokens[0] < tokens[1]
    with jobs.lock("l", timeout=DEADLINE_SECONDS) as lock:
        assert lock.fencing_token > tokens[1]


@pytest.mark.parametrize("verb", ["lock", "elect"])
def test_the_exit_code_is_that_of_the_command(node: kvstore.Node, jobs: Any, verb: str) -> None:
    fail = [sys.executable, "-c", "raise SystemExit(17)"]
    die = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    for command, code in ((fail, 17), (die, 137), (["/no/such/program"], 127)):
        with kv(node, verb, "l", "--", *command, stderr=subprocess.DEVNULL) as process:
            assert process.wait(DEADLINE_SECONDS) == code
    with jobs.lock("l", timeout=0):
        pass


def test_a_lock_that_is_held_is_waited_for_as_long_as_wanted(node: kvstore.Node, jobs: Any, run: Run) -> None:
    with jobs.lock("l"):
        assert "another holds" in run("-k", "jobs", "lock", "l", "--no-wait", "--", "true", code=4).stderr
        assert "another holds" in run("-k", "jobs", "lock", "l", "--wait", "100ms", "--", "true", code=124).stderr
        assert "another leads" in run("-k", "jobs", "elect", "l", "--no-wait", "--", "true", code=4).stderr
    run("lock", "l", "--", "true", code=6)


SAY_WHO_LEADS = """
import os, sys, kvstore
with kvstore.Client(os.environ["NODE"]) as db:
    print(db.keyspace("jobs").election("boss").leader().value.decode(), *sys.argv[1:])
"""
LEADS = [sys.executable, "-c", SAY_WHO_LEADS]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["here", "--", *LEADS], "here"),
        (["--ttl", "6s", "here", "--", *LEADS], "here"),
        (["", "--", *LEADS, "x"], " x"),
        (["--", *LEADS, "--", "x", "--"], " -- x --"),
        (["here", "--", *LEADS, "--value", "x", "--", "y"], "here --value x -- y"),
        (["--value", "here", "--", *LEADS, "x"], "here x"),
        (["--value", "--", "--", *LEADS, "x"], "-- x"),
        (["--value", "here", "echo", "x"], "x"),
        (["echo", "x", "y"], "x y"),
    ],
)
def test_the_value_of_a_leader_stands_before_the_command(
    node: kvstore.Node, jobs: Any, arguments: List[str], printed: str
) -> None:
    options = {"stdout": subprocess.PIPE, "env": {**os.environ, "NODE": node.address}}
    with kv(node, "elect", "boss", *arguments, **options) as process:
        assert process.communicate(timeout=DEADLINE_SECONDS)[0].decode() == f"{printed}\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["boss", "here", "--value", "there", "--", "true"], "VALUE (here) and --value (there) are the same"),
        (["boss", "here", "--value", "", "--", "true"], "VALUE (here) and --value () are the same"),
        (["boss", "here", "there", "--", "true"], "only NAME and VALUE may stand before --, not boss here there"),
        (["boss", "--"], "Missing argument '-- CMD...'"),
        (["boss", "here", "--"], "Missing argument '-- CMD...'"),
        (["--", "boss"], "Missing argument '-- CMD...'"),
        (["boss"], "Missing argument '[VALUE] -- CMD...'"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_told_apart_before_a_command_is_a_usage_error(
    jobs: Any, run: Run, arguments: List[str], error: str
) -> None:
    assert error in run("-k", "jobs", "elect", *arguments, code=2).stderr


def test_help_shows_where_a_value_stands(run: Run) -> None:
    assert "elect [OPTIONS] NAME [VALUE] -- CMD...\n" in run("elect", "--help").stdout
    assert "lock [OPTIONS] NAME -- CMD...\n" in run("lock", "--help").stdout


def running(node: kvstore.Node, jobs: Any, tmp_path: Path, script: str) -> subprocess.Popen[bytes]:
    """`kvstore elect` with a script that has begun."""
    begun = tmp_path / "begun"
    script = f"import pathlib, signal, sys; pathlib.Path({str(begun)!r}).touch()\n{script}"
    command = [sys.executable, "-c", script]
    process = kv(node, "elect", "boss", "--ttl", "6s", "--value", "here", "--", *command, stderr=subprocess.PIPE)
    eventually(begun.exists)
    return process


def lease_of_the_lock(jobs: Any) -> Any:
    """Nothing hangs on another."""
    (found,) = (info.id for info in jobs.leases() if info.places)
    return jobs.find_lease(found)


def test_a_command_is_ended_when_its_leadership_is_lost(node: kvstore.Node, jobs: Any, tmp_path: Path) -> None:
    with running(node, jobs, tmp_path, "signal.pause()") as process:
        assert jobs.election("boss").leader().value == b"here"
        lease_of_the_lock(jobs).revoke()
        assert process.wait(DEADLINE_SECONDS) == 4
        assert process.stderr is not None
        assert b"lost" in process.stderr.read()


def test_the_command_decides_what_a_signal_means(node: kvstore.Node, jobs: Any, tmp_path: Path) -> None:
    script = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nwhile True: signal.pause()"
    with running(node, jobs, tmp_path, f"{script}") as process:
        # The script has begun, but its handler may not be there yet: then SIGTERM ends it, which is as good.
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) in (5, 128 + signal.SIGTERM)
    assert jobs.election("boss").leader() is None

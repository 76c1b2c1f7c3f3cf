"""scan, keys, count, status, members, bench, version, and the program as a whole."""

from __future__ import annotations

import functools
import json

import pytest
from integration.harness import eventually

import kvstore
from kvstore.cli.app import program
from kvstore.cli.params import parse_duration

from .conftest import Run, runner


def test_scan_prints_entries_in_key_order(db: kvstore.Node, run: Run) -> None:
    db.put_many({f"user:{number}": number for number in (3, 1, 2)})
    db.put("other", "tab\there")
    assert run("scan", "user:").stdout == "user:1\t1\nuser:2\t2\nuser:3\t3\n"
    assert run("scan", "user:", "--reverse", "--limit", "1").stdout == "user:3\t3\n"
    assert run("scan", "--start", "user:2", "--end", "user:3").stdout == "user:2\t2\n"
    assert run("scan", "other").stdout == "other\ttab\\there\n"
    assert run("keys", "user:").stdout == "user:1\nuser:2\nuser:3\n"
    assert run("count", "user:").stdout == "3\n"
    assert json.loads(run("count", "-o", "json").stdout) == {"schema": 1, "count": 4}


def test_scan_prints_json_as_one_document_or_by_lines(db: kvstore.Node, run: Run) -> None:
    assert json.loads(run("scan", "-o", "json").stdout) == {"schema": 1, "entries": []}
    db.put_many({f"k{number}": number for number in range(3)})
    document = json.loads(run("scan", "-o", "json").stdout)
    assert [entry["key"] for entry in document["entries"]] == ["k0", "k1", "k2"]
    lines = [json.loads(line) for line in run("scan", "-o", "jsonl").stdout.splitlines()]
    assert [line["value"] for line in lines] == [0, 1, 2]
    assert {line["schema"] for line in lines} == {1}


def test_a_table_has_titles_and_aligned_columns(db: kvstore.Node, run: Run) -> None:
    db.put_many({"a": "short", "longer": "x"})
    assert run("scan", "-o", "table").stdout == "KEY     VALUE\na       short\nlonger  x\n"


def test_status_and_members_describe_the_node(db: kvstore.Node, run: Run) -> None:
    db.put("k", "v")
    (node,) = json.loads(run("status", "--digests", "-o", "json").stdout)["nodes"]
    assert (node["node"], node["address"], node["keys"], node["ready"]) == (db.id, db.address, 1, True)
    assert len(node["digests"]) == 16
    assert all(len(digest["digest"]) == 16 for digest in node["digests"])
    (member,) = json.loads(run("members", "-o", "json").stdout)["members"]
    assert (member["node"], member["address"], member["connected"]) == (db.id, db.address, True)


def test_status_shows_people_the_whole_and_its_keyspaces(db: kvstore.Node, run: Run) -> None:
    db.put("k", "v")
    shown = functools.partial(run, "status", "-o", "table")
    whole = f"CLUSTER {db.config.cluster}  1/1 healthy  leader {db.address}"
    eventually(lambda: shown().stdout.startswith(whole), "the node leads itself")
    lines = [line.split() for line in shown().stdout.splitlines()]
    assert lines[1][:3] == ["NODE", "ADDRESS", "STATE"]
    assert lines[3] == ["KEYSPACE", "CONSISTENCY", "KEYS", "SIZE", "CONFLICTS"]
    assert ["default", "eventual", "1"] in [line[:3] for line in lines[4:]]


def test_watch_prints_a_line_an_event_and_goes_on_after_a_position(db: kvstore.Node, run: Run) -> None:
    db.put_many({"user:1": "ada", "user:2": 2, "other": 3})
    lines = run("watch", "--prefix", "user:", "--initial", "--limit", "2").stdout.splitlines()
    assert sorted(lines) == ["put\tuser:1\tada", "put\tuser:2\t2"]
    (line,) = run("watch", "other", "--initial", "--limit", "1", "-o", "jsonl").stdout.splitlines()
    event = json.loads(line)
    assert (event["event"], event["key"], event["value"], event["initial"]) == ("put", "other", 3, True)
    db.delete("other")
    assert run("watch", "other", "--since", event["position"], "--limit", "1").stdout == "delete\tother\t\n"
    assert "base64" in run("watch", "--since", "!", code=2).stderr
    assert "since" in run("watch", "--since", event["position"], code=2).stderr


def test_bench_measures_and_reports_every_kind_of_work(run: Run) -> None:
    result = json.loads(
        run("bench", "mixed", "-n", "2k", "-c", "4", "--read", "50", "--dist", "zipf", "-o", "json").stdout
    )
    assert {work["work"] for work in result["work"]} == {"get", "put"}
    assert sum(work["operations"] for work in result["work"]) >= 2000
    assert all(work["errors"] == 0 and work["p99_ms"] > 0 for work in result["work"])


def test_nobody_there_is_exit_3_and_one_line_that_names_the_server() -> None:
    result = runner().invoke(program, ["-s", "127.0.0.1:1", "--timeout", "300ms", "get", "k"])
    assert result.exit_code == 3
    assert result.stderr.startswith("kvstore: ")
    assert "127.0.0.1:1" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_flag_wins_over_the_environment_and_that_over_the_default(db: kvstore.Node, run: Run) -> None:
    db.put("k", "v")
    assert run("get", "k", KVSTORE_SERVER="127.0.0.1:1").stdout == "v\n"
    by_environment = runner().invoke(
        program, ["get", "k"], env={"KVSTORE_SERVER": db.address, "KVSTORE_OUTPUT": "json"}
    )
    assert json.loads(by_environment.stdout)["value"] == "v"
    by_url = runner().invoke(program, ["get", "k"], env={"KVSTORE_URL": f"kv://{db.address}"})
    assert by_url.stdout == "v\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["get"],
        ["put", "k"],
        ["-o", "xml", "get", "k"],
        ["serve", "99999"],
        ["--timeout", "0", "get", "k"],
        ["up", "--port", "65535"],
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(arguments: list[str]) -> None:
    result = runner().invoke(program, arguments)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_the_limits_of_the_store_are_usage_errors_too(run: Run) -> None:
    assert "1048576" in run("put", "k", "-", stdin=b"x" * (1024 * 1024 + 1), code=2).stderr
    assert "key" in run("get", "", code=2).stderr


def test_version_and_help() -> None:
    assert runner().invoke(program, ["version"]).stdout.startswith(f"kvstore {kvstore.__version__} (")
    assert json.loads(runner().invoke(program, ["version", "-o", "json"]).stdout)["version"] == kvstore.__version__
    text = runner().invoke(program, ["--help"]).stdout
    for command in program.commands:
        assert command in text
        assert runner().invoke(program, [command, "-h"]).exit_code == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("", None),
        ("m", None),
        ("1x", None),
        ("1m2", None),
    ],
)
def test_durations_read_as_people_write_them(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds

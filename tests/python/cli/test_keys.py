"""get, put, delete, exists, touch: what they print, in which form, and their exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, List

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    import kvstore

    from .conftest import Run


def test_what_is_put_is_got(db: kvstore.Node, run: Run) -> None:
    version = run("put", "motto", "any node, any time").stdout.strip()
    assert version == str(db.entry("motto").version)
    assert run("get", "motto").stdout == "any node, any time\n"
    assert db["motto"] == "any node, any time"


def test_a_missing_key_is_one_line_and_exit_1(run: Run) -> None:
    for command in (["get", "nobody"], ["delete", "nobody"], ["touch", "nobody"]):
        result = run(*command, code=1)
        assert result.stderr == "kvstore: no such key: nobody\n"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["text"], "text"),
        (["17"], "17"),
        (["17", "--as", "int"], 17),
        (["-17", "--as", "int"], -17),
        (['{"a":[1,null]}', "--as", "json"], {"a": [1, None]}),
        (["true", "--as", "json"], True),
        (["text", "--as", "bytes"], b"text"),
        (["@@handle"], "@handle"),
        (["ünï"], "ünï"),
    ],
)
def test_a_value_is_what_as_says(db: kvstore.Node, run: Run, arguments: List[str], value: object) -> None:
    run("put", *arguments[1:], "--", "k", arguments[0])
    assert (type(db["k"]), db["k"]) == (type(value), value)


def test_a_value_comes_from_stdin_or_a_file_byte_for_byte(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    data = bytes(range(256))
    run("put", "stdin", "-", stdin=data)
    file = tmp_path / "value"
    file.write_bytes(data)
    run("put", "file", f"@{file}")
    assert db["stdin"] == db["file"] == data
    assert run("-o", "raw", "get", "file").stdout_bytes == data


def test_a_value_that_is_not_what_as_says_is_a_usage_error(run: Run) -> None:
    assert "int" in run("put", "k", "x", "--as", "int", code=2).stderr
    assert "json" in run("put", "k", "{", "--as", "json", code=2).stderr
    assert "cannot read /no/such/file" in run("put", "k", "@/no/such/file", code=2).stderr


def test_a_ttl_is_set_and_touched_and_taken_away(db: kvstore.Node, run: Run) -> None:
    run("put", "k", "v", "--ttl", "10m")
    assert 590 < db.entry("k").ttl <= 600
    run("touch", "k", "--ttl", "1h30m")
    assert 5390 < db.entry("k").ttl <= 5400
    run("touch", "k")
    assert db.entry("k").ttl is None
    assert "duration" in run("put", "k", "v", "--ttl", "soon", code=2).stderr


def test_json_is_a_contract(db: kvstore.Node, run: Run) -> None:
    db.put("user:1", {"name": "Ada", "age": 36}, ttl=3600)
    record = json.loads(run("get", "user:1", "-o", "json").stdout)
    assert 3590 < record.pop("ttl") <= 3600
    assert record.pop("expires").endswith("+00:00")
    version = str(db.entry("user:1").version)
    assert record == {
        "schema": 1,
        "key": "user:1",
        "type": "json",
        "value": {"name": "Ada", "age": 36},
        "version": version,
    }


def test_json_never_loses_a_digit_or_a_byte(db: kvstore.Node, run: Run) -> None:
    db.put("big", 2**62 + 1)
    db.put("bytes", b"\xff\x00")
    db.put("nan", float("nan"))
    db.put(b"\xff", 1)
    assert json.loads(run("get", "big", "-o", "json").stdout)["value"] == str(2**62 + 1)
    assert json.loads(run("get", "bytes", "-o", "json").stdout)["value"] == "/wA="
    assert json.loads(run("get", "nan", "-o", "json").stdout)["value"] == "nan"
    keys = [json.loads(line) for line in run("keys", "-o", "jsonl").stdout.splitlines()]
    assert {"schema": 1, "key_base64": "/w=="} in keys


def test_several_keys_at_once(db: kvstore.Node, run: Run) -> None:
    db.put_many({"a": 1, "b": 2})
    assert run("get", "a", "b").stdout == "1\n2\n"
    assert [entry["value"] for entry in json.loads(run("-o", "json", "get", "a", "b").stdout)["entries"]] == [1, 2]
    result = run("get", "a", "nobody", "b", code=1)
    assert result.stdout == "1\n2\n"
    assert run("delete", "a", "b").stdout == "2\n"
    assert db.count() == 0


def test_exists_answers_by_its_exit_code(db: kvstore.Node, run: Run) -> None:
    db.put("k", None)
    assert run("exists", "k").stdout == "true\n"
    assert run("exists", "nobody", code=1).stdout == "false\n"
    assert run("-q", "exists", "k").stdout == ""


def test_quiet_says_nothing(run: Run) -> None:
    assert run("-q", "put", "k", "v").stdout == ""
    assert run("delete", "k", "--quiet").stdout == ""


def test_what_could_drive_a_terminal_is_escaped_in_a_table(db: kvstore.Node, run: Run) -> None:
    db.put("k", "red \x1b[31m\nalert")
    assert run("-o", "table", "get", "k").stdout == "red \\x1b[31m\\nalert\n"

"""export and import: every entry comes back exactly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, Tuple

import pytest

import kvstore

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run

Content = Dict[bytes, Tuple[Any, ...]]

VALUES = [
    None, True, False, 0, -1, 2**53, 2**53 + 1, -(2**63), 2**80, 0.1, -0.0, float("inf"), float("nan"), "", "ünï",
    "a\r\nb", 'quo"te,comma', "nul\0", "7", "true", b"", b"text", bytes(range(256)), [], {"a": [1, {"b": None}]},
    ["😀"],
]  # fmt: skip
KEYS = [b"plain", "ünï".encode(), b"\xff\xfe", b"nul\x00key", b"new\nline", b'quo"te,', b" spaces ", b"=formula"]


class Foreign:
    """A codec with flags of its own, as a program may have."""

    def encode(self, value: bytes) -> Tuple[bytes, int]:
        """As it is."""
        return value, 300

    def decode(self, payload: bytes, _flags: int) -> bytes:
        """As it is."""
        return payload


def content(node: kvstore.Node) -> Content:
    """Everything a reader can see but versions: exact keys, payloads, flags, expiries."""
    with kvstore.Client(node.address, codec=kvstore.BYTES) as client:
        return {entry.key_bytes: (entry.value, entry.flags, entry.expires) for entry in client.scan()}


def fill(node: kvstore.Node) -> None:
    """Values and keys of every kind, some with an expiry, some with foreign flags, some that lie about themselves."""
    for number, value in enumerate(VALUES):
        node.put(f"value/{number:02}", value)
        node.put(f"ttl/{number:02}", value, ttl=5000 + number)
    for key in KEYS:
        node.put(b"key/" + key, "v")
    with kvstore.Client(node.address, codec=Foreign()) as client:
        client.put("foreign", b"\x00payload")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_imported_again_is_the_same(db: kvstore.Node, run: Run, tmp_path: Path, form: str) -> None:
    fill(db)
    before = content(db)
    file = tmp_path / f"all.{form}"
    assert f"{len(before)} entries written" in run("export", str(file)).stdout
    db.delete_many(list(db.keys()))
    assert content(db) == {}
    assert f"{len(before)} entries imported" in run("import", str(file)).stdout
    assert_same(content(db), before)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_through_pipes_too(db: kvstore.Node, run: Run, form: str) -> None:
    db.put_many({"a": "x", "b": 2})
    text = run("export", "-", "--format", form, "--prefix", "a").stdout
    db.delete("a")
    run("import", "-", "--format", form, stdin=text)
    assert db["a"] == "x"


def assert_same(after: Content, before: Content) -> None:
    """Equal, except that an expiry may be a few milliseconds off: it is stored as a time to live."""
    assert after.keys() == before.keys()
    for key, (payload, flags, expires) in before.items():
        assert after[key][:2] == (payload, flags), key
        assert (after[key][2] is None) == (expires is None)
        if expires is not None:
            assert abs((after[key][2] - expires).total_seconds()) < 2


def test_what_scan_prints_can_be_imported(db: kvstore.Node, run: Run) -> None:
    fill(db)
    before = content(db)
    text = run("scan", "-o", "jsonl").stdout
    db.delete_many(list(db.keys()))
    run("import", "-", stdin=text)
    assert_same(content(db), before)


def test_lines_written_by_hand_are_understood(db: kvstore.Node, run: Run) -> None:
    lines = [{"key": "list", "value": [1, 2]}, {"key": "text", "value": "x", "ttl": 60}]
    run("import", "-", stdin="\n".join(map(json.dumps, lines)) + "\n\n")
    assert db["list"] == [1, 2]
    assert 55 < db.entry("text").ttl <= 60
    run("import", "-", "--format", "csv", stdin="key,value\na,1\nb,\n")
    assert (db["a"], db["b"]) == ("1", "")


def test_entries_that_have_expired_since_are_left_out_and_counted(db: kvstore.Node, run: Run) -> None:
    line = json.dumps({"key": "old", "value": 1, "expires": "2001-01-01T00:00:00.000+00:00"})
    assert "0 entries imported, 1 expired" in run("import", "-", stdin=line).stdout
    assert db.get("old") is None


def test_the_last_line_of_a_key_wins(db: kvstore.Node, run: Run) -> None:
    lines = [{"key": "k", "value": 1, "ttl": 60}, {"key": "k", "value": 2}, {"key": "k", "value": 3}]
    run("import", "-", stdin="\n".join(map(json.dumps, lines)))
    assert db["k"] == 3
    assert db.entry("k").expires is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "line 2"),
        ("[1]", "not a JSON object"),
        ('{"value": 1}', "'key' is missing"),
        ('{"key": "", "value": 1}', "key"),
        ('{"key": "a", "value": 1, "type": "colour"}', "colour"),
        ('{"key": "a", "value": "x", "type": "int"}', "invalid literal"),
        ('{"key": "a", "value": "?", "type": "bytes"}', "base64"),
        ('{"key": "a", "value": 1, "schema": 2}', "schema 2"),
        ('{"key": "a", "value": 1, "expires": "soon"}', "soon"),
        ('{"key": "a", "value": 1, "ttl": 1e20}', "ttl: 1e+20"),
        ('{"key": "a", "value": 1, "ttl": -1e300}', "ttl: -1e+300"),
        ('{"key": "a", "value": 1, "ttl": NaN}', "ttl: nan"),
        ('{"key": "a", "value": 1, "ttl": "soon"}', "ttl: 'soon'"),
        ('{"key": "a", "value": "eA==", "type": "raw", "flags": 1e999}', "flags: inf"),
        ('{"key": "a", "value": 1e999, "type": "int"}', "value: inf"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(db: kvstore.Node, run: Run, line: str, why: str) -> None:
    result = run("import", "-", stdin='{"key": "good", "value": 1}\n' + line, code=2)
    assert "line 2" in result.stderr
    assert why in result.stderr
    assert db.get("a") is None


def test_a_failed_export_leaves_no_file(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    db.put("k", "v")
    assert "cannot write" in run("export", str(tmp_path / "no" / "such.jsonl"), code=2).stderr
    assert "cannot read" in run("import", str(tmp_path / "missing.jsonl"), code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_many_entries_are_transferred_in_batches(db: kvstore.Node, run: Run, tmp_path: Path) -> None:
    db.put_many({f"many/{number:04}": number for number in range(3000)})
    for number in range(5):
        db.put(f"large/{number}", bytes([number]) * 1_000_000)
    before = content(db)
    file = str(tmp_path / "many.csv")
    run("export", file)
    db.delete_many(list(db.keys()))
    run("import", file)
    assert content(db) == before

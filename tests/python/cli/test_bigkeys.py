"""bigkeys: the largest values, and what prefixes take together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import kvstore

    from .conftest import Run


def test_the_largest_come_first_and_prefixes_are_folded(db: kvstore.Node, run: Run) -> None:
    db.put_many({"user:1": b"x" * 9, "user:2": b"x" * 5, "motto": b"x" * 7})
    shown = run("bigkeys", "--top", "2")
    assert shown.stdout.splitlines() == [
        "value\t9\t1\tuser:1",
        "value\t7\t1\tmotto",
        "fold\t26\t2\tuser:",
        "fold\t12\t1\t(no prefix)",
    ]
    assert shown.stderr == "3 of 3 keys counted, 38 B of keys and values\n"
    below = [json.loads(line) for line in run("bigkeys", "user:", "-o", "jsonl", "-q").stdout.splitlines()]
    assert below[0] == {"schema": 1, "kind": "value", "key": "user:1", "keys": 1, "bytes": 9}
    assert below[-1] == {"schema": 1, "kind": "fold", "key": "user:", "keys": 2, "bytes": 26}


def test_what_does_not_print_is_escaped(db: kvstore.Node, run: Run) -> None:
    db.put(b"\x1b[2J\xff", b"x")
    assert "\x1b" not in run("bigkeys").stdout
    (value, _) = json.loads(run("bigkeys", "-o", "json").stdout)["bigkeys"]
    assert value["key_base64"] == "G1sySv8="


def test_a_share_of_a_strong_keyspace(db: kvstore.Node, run: Run) -> None:
    jobs = db.create_keyspace("jobs", consistency="strong", exist_ok=True)
    jobs.put_many({f"k{number}": b"x" for number in range(500)})
    whole, share = run("-k", "jobs", "bigkeys"), run("-k", "jobs", "bigkeys", "--sample", "10%")
    assert whole.stderr.startswith("500 of 500 keys")
    assert 10 < int(share.stderr.split()[0]) < 100
    for bad in ("0%", "101%", "many", "0.0000001"):
        assert "share" in run("bigkeys", "--sample", bad, code=2).stderr
    assert "none" in run("-k", "none", "bigkeys", code=2).stderr

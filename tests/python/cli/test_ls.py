"""ls: keys folded at separators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kvstore.cli.ls import Name, fold

if TYPE_CHECKING:
    import kvstore

    from .conftest import Run


@pytest.mark.parametrize(
    ("key", "prefix", "wanted"),
    [
        (b"plain", b"", Name(b"plain", is_fold=False)),
        (b"user:1", b"", Name(b"user:", is_fold=True)),
        (b"a/b:c", b"", Name(b"a/", is_fold=True)),
        (b"a/b:c", b"a/", Name(b"a/b:", is_fold=True)),
        (b"user:1", b"user:", Name(b"user:1", is_fold=False)),
        (b"user:", b"user:", Name(b"user:", is_fold=False)),
        (b"user:1", b"us", Name(b"user:", is_fold=True)),
    ],
)
def test_a_key_folds_at_the_first_separator_after_the_prefix(key: bytes, prefix: bytes, wanted: Name) -> None:
    assert fold(key, prefix) == wanted


def test_ls_shows_a_level(db: kvstore.Node, run: Run) -> None:
    db.put_many({"motto": 1, "user:1": 1, "user:2": 1, "a/b/c": 1, "a/b/d": 1, "a/x": 1, "tab\t": 1})
    assert run("ls").stdout.splitlines() == ["a/", "motto", "tab\\t", "user:"]
    assert run("ls", "a/").stdout.splitlines() == ["a/b/", "a/x"]
    assert run("ls", "user").stdout.splitlines() == ["user:"]
    assert run("ls", "nobody").stdout == ""
    assert run("ls", "--limit", "2").stdout.splitlines() == ["a/", "motto"]
    assert run("ls", "user:", "-o", "table").stdout.splitlines() == ["NAME", "user:1", "user:2"]
    names = json.loads(run("ls", "-o", "json").stdout)["names"]
    assert names[:2] == [{"key": "a/", "fold": True}, {"key": "motto", "fold": False}]


def test_folds_of_many_keys_are_passed(db: kvstore.Node, run: Run) -> None:
    db.put_many({f"{first}:{number:04}": 1 for first in "abc" for number in range(450)})
    db.put_many({f"k{number:04}": 1 for number in range(250)})
    db.put("z", 1)
    plain = [f"k{number:04}" for number in range(250)]
    assert run("ls").stdout.splitlines() == ["a:", "b:", "c:", *plain, "z"]
    assert run("ls", "--reverse").stdout.splitlines() == ["z", *reversed(plain), "c:", "b:", "a:"]
    assert run("ls", "--reverse", "--limit", "1", "b").stdout == "b:\n"


def test_keys_that_are_no_text_fold_too(db: kvstore.Node, run: Run) -> None:
    db.put_many({b"\xff/1": 1, b"\xff/2": 1, b"\xff": 1})
    assert run("ls").stdout.splitlines() == ["\\udcff", "\\udcff/"]
    assert {"key_base64": "/y8=", "fold": True} in json.loads(run("ls", "-o", "json").stdout)["names"]

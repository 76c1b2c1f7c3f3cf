"""config and context: which place a setting comes from, and what is said of files that are damaged."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple

import pytest

from kvstore.cli.app import program

from .conftest import runner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    import kvstore


Kv = Callable[..., "Result"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own to work in, and one for the user's files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def kv(home: Path) -> Kv:
    """Runs a command with nothing but what the test has said."""

    def invoke(*arguments: str, code: int = 0, **env: str) -> Result:
        result = runner().invoke(program, list(arguments), env=env)
        shown: Any = (arguments, result.exit_code, result.stdout, result.stderr)
        assert result.exit_code == code, shown
        return result

    return invoke


def settings_of(result: Result) -> Dict[str, Tuple[Any, str]]:
    """What `config show -o json` printed, by place and name."""
    found = json.loads(result.stdout)["settings"]
    return {f"{each['of']}.{each['setting']}": (each["value"], each["origin"]) for each in found}


def test_each_setting_comes_from_the_nearest_place_that_says_it(home: Path, kv: Kv) -> None:
    (home / "here" / "kvstore.toml").write_text(
        'port = 7009\n[client]\nserver = "f:1"\nkeyspace = "f"\nread = "local"\ntimeout = "1m"\noutput = "json"\n'
    )
    kv("context", "add", "prod", "c:1", "-k", "c", "--read", "session")
    found = settings_of(kv("config", "show", "-s", "s:1", KVSTORE_KEYSPACE="e", KVSTORE_CLUSTER="demo"))
    assert found["client.server"] == ("s:1", "flag")
    assert found["client.keyspace"] == ("e", "KVSTORE_KEYSPACE")
    assert found["client.read"] == ("session", "context prod")
    assert found["client.timeout"] == (60.0, "kvstore.toml")
    assert found["client.output"] == ("json", "kvstore.toml")
    assert found["client.quiet"] == (False, "default")
    assert found["node.port"] == (7009, "kvstore.toml")
    assert found["node.cluster"] == ("demo", "KVSTORE_CLUSTER")
    assert found["node.host"] == ("127.0.0.1", "default")


def test_origins_are_printed_when_asked_for(kv: Kv) -> None:
    by_url = kv("config", "show", "--origin", KVSTORE_URL="kv://u:1", NO_COLOR="1").stdout.splitlines()
    assert "client\tserver\tkv://u:1\tKVSTORE_URL" in by_url
    assert "client\tcolor\tfalse\tNO_COLOR" in by_url
    assert "client\tserver\t127.0.0.1:7001" in kv("config", "show").stdout.splitlines()
    assert kv("-o", "table", "config", "show", "--origin").stdout.split()[:4] == ["OF", "SETTING", "VALUE", "ORIGIN"]


def test_commands_use_the_context_and_the_file(home: Path, kv: Kv, db: kvstore.Node) -> None:
    db.put("k", "v")
    (home / "here" / "kvstore.toml").write_text(f'[client]\nserver = "{db.address}"\n')
    assert kv("get", "k").stdout == "v\n"
    kv("context", "add", "nowhere", "127.0.0.1:1", "--timeout", "300ms")
    assert "127.0.0.1:1" in kv("get", "k", code=3).stderr
    kv("context", "add", "node", db.address)
    kv("get", "k", code=3)
    assert kv("get", "k", KVSTORE_CONTEXT="node").stdout == "v\n"
    kv("context", "use", "node")
    assert kv("get", "k").stdout == "v\n"
    assert kv("get", "k", "--timeout", "200ms", code=3, KVSTORE_SERVER="127.0.0.1:1").stdout == ""


def test_contexts_are_listed_and_removed(home: Path, kv: Kv) -> None:
    assert kv("context", "ls").stdout == ""
    assert kv("context", "add", "a", "h:1", "-k", "jobs", "--timeout", "2s").stdout == "added a\n"
    kv("context", "add", "b", "h:2,h:3")
    assert kv("context", "ls").stdout == "*\ta\th:1\tjobs\t\t2.0\n\tb\th:2,h:3\t\t\t\n"
    kv("context", "use", "b")
    (first, second) = json.loads(kv("context", "ls", "-o", "json").stdout)["contexts"]
    assert (first["name"], first["current"], first["timeout"]) == ("a", False, 2.0)
    assert (second["name"], second["current"], second["server"]) == ("b", True, "h:2,h:3")
    file = home / "user" / "kvstore" / "contexts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kv("context", "rm", "b")
    assert settings_of(kv("config", "show", "-o", "json"))["client.server"] == ("127.0.0.1:7001", "default")
    kv("context", "use", "a")
    kv("context", "use", "--none")
    assert settings_of(kv("config", "show", "-o", "json"))["client.keyspace"] == ("default", "default")
    assert [each.name for each in file.parent.iterdir()] == ["contexts.json"]


def test_what_is_no_context_is_refused(kv: Kv) -> None:
    assert "nobody" in kv("context", "use", "nobody", code=1).stderr
    assert "nobody" in kv("context", "rm", "nobody", code=1).stderr
    assert "nobody" in kv("get", "k", code=2, KVSTORE_CONTEXT="nobody").stderr
    assert "target" in kv("context", "add", "bad", "http://h:1", code=2).stderr
    kv("context", "use", code=2)
    kv("context", "use", "a", "--none", code=2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[client", "kvstore.toml"),
        ("client = 1", "table"),
        ('[client]\nservr = "h:1"', "servr"),
        ('[client]\ntimeout = "soon"', "timeout"),
        ("[client]\nquiet = 1", "quiet"),
        ('[client]\nread = "fresh"', "read"),
    ],
)
def test_a_damaged_file_is_named_and_checked(home: Path, kv: Kv, text: str, why: str) -> None:
    (home / "here" / "kvstore.toml").write_text(text)
    assert why in kv("get", "k", code=2).stderr
    checked = kv("config", "check", code=2)
    assert why in checked.stdout
    assert "contexts\tok" in checked.stdout.splitlines()
    kv("version")


def test_damaged_contexts_are_named_and_kept(home: Path, kv: Kv) -> None:
    file = home / "user" / "kvstore" / "contexts.json"
    file.parent.mkdir(parents=True)
    for text in ("nonsense", "[]", '{"current": null, "contexts": {"a": {"colour": 1}}}'):
        file.write_text(text)
        assert "contexts.json" in kv("context", "add", "b", "h:1", code=2).stderr
        assert "contexts.json" in kv("config", "check", code=2).stdout
        assert file.read_text() == text


def test_check_and_path_say_what_there_is(home: Path, kv: Kv) -> None:
    assert kv("config", "check").stdout == "contexts\tok\nclient\tok\nnode\tok\n"
    assert "KVSTORE_THREADS" in kv("config", "check", code=2, KVSTORE_THREADS="x").stdout
    (home / "here" / "kvstore.toml").write_text("threads = 2\n")
    paths = {each["what"]: each for each in json.loads(kv("config", "path", "-o", "json").stdout)["paths"]}
    assert paths["settings"] == {"what": "settings", "path": str(home / "here" / "kvstore.toml"), "exists": True}
    assert paths["contexts"]["path"] == str(home / "user" / "kvstore" / "contexts.json")
    assert paths["contexts"]["exists"] is False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import kvstore
from kvstore import InvalidArgumentError, NodeConfig
from kvstore._options import parse_target

if TYPE_CHECKING:
    import pathlib


@pytest.mark.parametrize(
    ("peers", "parsed"),
    [
        (None, ()),
        ("", ()),
        ("h1:1,h2:2", ("h1:1", "h2:2")),
        (" h1:1 , h2:2, ", ("h1:1", "h2:2")),
        (["h1:1", "h1:1", "h2:2"], ("h1:1", "h2:2")),
        ([7002, "7003"], ("127.0.0.1:7002", "127.0.0.1:7003")),
        ([("h", 1), ["::1", 2]], ("h:1", "[::1]:2")),
        ({"a": "h1:1", 2: "h2:2"}, ("h1:1", "h2:2")),
        (iter(["h:1"]), ("h:1",)),
    ],
)
def test_peers_come_in_many_forms(peers: Any, parsed: Any) -> None:
    assert NodeConfig(7001, peers).peers == parsed


def test_a_bare_port_lies_on_the_nodes_own_host() -> None:
    assert NodeConfig(7001, [7002], host="localhost").peers == ("localhost:7002",)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("peers", {"peers": [("h",)]}),
        ("peers", {"peers": [None]}),
        ("port", {"port": -1}),
        ("port", {"port": 65536}),
        ("port", {"port": "7001"}),
        ("host", {"host": 1}),
        ("threads", {"threads": 257}),
        ("threads", {"threads": True}),
        ("insecure", {"insecure": "false"}),
        ("insecure", {"insecure": 1}),
        ("insecure", {"insecure": None}),
        ("http", {"http": "no"}),
        ("http", {"http": 0}),
        ("data_dir", {"data_dir": ""}),
        ("data_dir", {"data_dir": 7}),
        ("durability", {"durability": "always", "data_dir": "d"}),
        ("durability", {"durability": "sync"}),
        ("max_memory", {"max_memory": "much"}),
        ("max_memory", {"max_memory": 0}),
        ("max_memory", {"max_memory": True}),
        ("max_memory", {"max_memory": "5i"}),
        ("default_consistency", {"default_consistency": "linear"}),
        ("default_consistency", {"default_consistency": None}),
        ("history_changes", {"history_changes": 9_999}),
        ("history_changes", {"history_changes": 1e5}),
        ("history_bytes", {"history_bytes": "1MiB"}),
        ("history_bytes", {"history_bytes": None}),
        ("history_age", {"history_age": 0.5}),
        ("history_age", {"history_age": "10m"}),
    ],
)
def test_a_bad_setting_is_named(name: str, arguments: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}: "):
        NodeConfig(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("host", {"host": "0.0.0.0"}),
        ("host", {"host": "no host"}),
        ("cluster", {"cluster": "a b"}),
        ("max_drift", {"max_drift": 0}),
        ("max_drift", {"max_drift": "1s"}),
        ("max_memory", {"max_memory": 1000}),
        ("max_memory", {"max_memory": 1 << 64}),
        ("address", {"peers": "nonsense"}),
        ("address", {"advertise": "nonsense"}),
    ],
)
def test_a_node_refuses_what_cannot_work(name: str, arguments: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}"):
        kvstore.Node(**arguments)


@pytest.mark.parametrize(
    ("size", "parsed"),
    [
        (None, None),
        (2_000_000_000, 2_000_000_000),
        ("20000000", 20_000_000),
        ("2GB", 2_000_000_000),
        ("512MiB", 512 << 20),
        ("1.5 gb", 1_500_000_000),
        ("64m", 64_000_000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_come_in_many_forms(size: Any, parsed: Any) -> None:
    assert NodeConfig(max_memory=size).max_memory == parsed


def test_a_directory_brings_its_durability_and_stays_where_it_was_meant(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (NodeConfig().data_dir, NodeConfig().durability) == (None, "memory")
    monkeypatch.chdir(tmp_path)
    config = NodeConfig(data_dir="data")
    monkeypatch.chdir("/")
    assert (config.data_dir, config.durability) == (str(tmp_path / "data"), "sync")
    assert config.replace(durability="interval").durability == "interval"
    assert NodeConfig(data_dir=tmp_path).data_dir == str(tmp_path)


def test_storage_settings_come_from_the_environment(tmp_path: pathlib.Path) -> None:
    env = {"KVSTORE_DATA_DIR": str(tmp_path), "KVSTORE_DURABILITY": "interval", "KVSTORE_MAX_MEMORY": "64MiB"}
    config = NodeConfig.load(env=env)
    assert (config.data_dir, config.durability, config.max_memory) == (str(tmp_path), "interval", 64 << 20)


def test_settings_of_the_history_come_from_the_environment() -> None:
    env = {"KVSTORE_HISTORY_CHANGES": "20000", "KVSTORE_HISTORY_BYTES": "1GiB", "KVSTORE_HISTORY_AGE": "3600"}
    config = NodeConfig.load(env=env)
    assert (config.history_changes, config.history_bytes, config.history_age) == (20_000, 1 << 30, 3600.0)
    assert kvstore.Node(history_age=5).config.history_age == 5.0


def test_what_default_is_comes_from_everywhere(tmp_path: pathlib.Path) -> None:
    assert NodeConfig().default_consistency == "eventual"
    assert NodeConfig(default_consistency="strong").replace(cluster="c").default_consistency == "strong"
    file = tmp_path / "kvstore.toml"
    file.write_text('default_consistency = "strong"\n')
    assert NodeConfig.load(file, {}).default_consistency == "strong"
    assert NodeConfig.load(file, {"KVSTORE_DEFAULT_CONSISTENCY": "eventual"}).default_consistency == "eventual"
    with pytest.raises(InvalidArgumentError, match="default_consistency"):
        NodeConfig.load(file, {"KVSTORE_DEFAULT_CONSISTENCY": "weak"})
    assert kvstore.Node(default_consistency="strong").config.default_consistency == "strong"


def test_a_misspelt_option_gets_a_close_match() -> None:
    with pytest.raises(InvalidArgumentError, match=r"clustr: .* did you mean 'cluster'"):
        kvstore.Node(clustr="x")  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentError, match=r"timout: .* did you mean 'timeout'"):
        kvstore.Client("h:1", timout=1)  # type: ignore[call-overload]


def test_keyword_beats_environment_beats_file_beats_default(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "kvstore.toml"
    file.write_text('port = 1\ncluster = "file"\nthreads = 3\npeers = ["h:1", 7002]\n')
    config = NodeConfig.load(file, {"KVSTORE_CLUSTER": "env", "KVSTORE_INSECURE": "yes", "KVSTORE_URL": "h:1"})
    assert (config.port, config.cluster, config.threads, config.insecure) == (1, "env", 3, True)
    assert config.peers == ("h:1", "127.0.0.1:7002")
    assert config.replace(cluster="keyword").cluster == "keyword"
    assert NodeConfig.load(file, {}).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "env", "names"),
    [
        ("port = ", {}, "kvstore.toml"),
        ("prot = 1", {}, "prot"),
        ('insecure = "false"', {}, "insecure"),
        ("http = 1", {}, "http"),
        ("", {"KVSTORE_PORT": "x"}, "KVSTORE_PORT"),
        ("", {"KVSTORE_INSECURE": "perhaps"}, "KVSTORE_INSECURE"),
        ("", {"KVSTORE_MAX_DRIFT": "much"}, "KVSTORE_MAX_DRIFT"),
    ],
)
def test_a_bad_file_or_variable_is_named(tmp_path: pathlib.Path, text: str, env: Any, names: str) -> None:
    file = tmp_path / "kvstore.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgumentError, match=names):
        NodeConfig.load(file, env)


def test_a_missing_file_is_an_error_only_when_it_was_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert NodeConfig.load(env={}) == NodeConfig()
    with pytest.raises(OSError, match="nowhere"):
        NodeConfig.load(tmp_path / "nowhere", {})


def test_a_config_stands_alone() -> None:
    assert kvstore.Node(config=NodeConfig(7001)).config == NodeConfig(7001)
    with pytest.raises(InvalidArgumentError, match=r"^config: "):
        kvstore.Node(7001, config=NodeConfig(7001))


def test_targets_come_in_many_forms() -> None:
    assert parse_target("h:1").addresses == ["h:1"]
    assert parse_target("h:1, g:2").addresses == ["h:1", "g:2"]
    assert parse_target(["h:1", "g:2"]).addresses == ["h:1", "g:2"]
    parsed = parse_target("kv://h:1,g:2/jobs?timeout=2&read=local&retry=3&name=nightly+report")
    options = {"timeout": 2.0, "read": "local", "retry": kvstore.Retry(attempts=3), "name": "nightly report"}
    assert parsed == (["h:1", "g:2"], "jobs", options)
    assert parse_target("kv://h:1/a%2Fb?timeout=none&retry=none") == (
        ["h:1"],
        "a/b",
        {"timeout": None, "retry": None},
    )


@pytest.mark.parametrize("target", ["", "http://h:1", [], [7001], "kv://", "nonsense", "h:0", "kv://:token@h:1"])
def test_a_bad_target_is_refused_before_any_call(target: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        kvstore.Client(target)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("timeout=soon", "target: timeout: 'soon'"),
        ("timeout=", "target: timeout: ''"),
        ("timeout=-1", "target: timeout: '-1'"),
        ("read=newest", "target: read: 'newest'"),
        ("retry=often", "target: retry: 'often'"),
        ("timout=1", "timout: no such option of a client; did you mean 'timeout'"),
    ],
)
def test_a_bad_option_of_a_url_is_named(query: str, names: str) -> None:
    with pytest.raises(InvalidArgumentError, match=names):
        kvstore.Client(f"kv://h:1?{query}")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"read": "newest"}, "read"),
        ({"keyspace": "k" * 65}, "keyspace"),
    ],
)
def test_bad_options_of_a_client_are_named(options: Any, names: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{names}: "):
        kvstore.Client("h:1", **options)


def test_a_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVSTORE_URL", "h:1,g:2")
    monkeypatch.setenv("KVSTORE_TIMEOUT", "none")
    assert repr(kvstore.Client.from_env()) == "Client('h:1,g:2')"
    assert repr(kvstore.AsyncClient.from_env("OTHER_")) == "AsyncClient('127.0.0.1:7001')"


def test_all_that_the_environment_says_counts(node: kvstore.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.create_keyspace("jobs", consistency="strong")["k"] = 1
    monkeypatch.setenv("OTHER_URL", f"kv://{node.address}?timeout=soon")
    with pytest.raises(InvalidArgumentError, match=r"^OTHER_URL: target: timeout: "):
        kvstore.Client.from_env("OTHER_")
    monkeypatch.setenv("OTHER_URL", f"kv://{node.address}?timeout=0")
    monkeypatch.setenv("OTHER_TIMEOUT", "none")
    monkeypatch.setenv("OTHER_READ", "local")
    monkeypatch.setenv("OTHER_KEYSPACE", "jobs")
    with kvstore.Client.from_env("OTHER_") as client:
        assert client["k"] == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("URL", "nonsense"),
        ("URL", "kv://h:1?reed=local"),
        ("KEYSPACE", "k" * 65),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "-1"),
        ("READ", "newest"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"KVSTORE_{variable}", value)
    for cls in (kvstore.Client, kvstore.AsyncClient):
        with pytest.raises(InvalidArgumentError, match=f"^KVSTORE_{variable}: "):
            cls.from_env()

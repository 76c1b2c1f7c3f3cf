"""What TLS and tokens look like as settings and options: their forms, what is refused, that a secret is not shown."""

from __future__ import annotations

import pathlib
import pickle
from typing import Any, Dict

import pytest

import kvstore
from kvstore import TLS, AsyncClient, Client, InvalidArgumentError, Node, NodeConfig

TOKEN = "sesame-4711-never-shown"
HERE = pathlib.Path().absolute()
WHOLE = TLS(ca="ca.pem", cert="n.pem", key=pathlib.Path("n.key"), server_name="db.example.org")
ABSOLUTE = TLS(*(str(HERE / each) for each in ("ca.pem", "n.pem", "n.key")), server_name="db.example.org")


# --------------------------------------------------------------------------------------------------------- nodes
def test_tls_of_a_node_has_many_forms(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "kvstore.toml"
    file.write_text(
        'token = "from-the-file"\n[tls]\nca = "ca.pem"\ncert = "n.pem"\nkey = "n.key"\nserver_name = "db.example.org"\n'
    )
    text = "ca=ca.pem, cert=n.pem,key=n.key,server_name=db.example.org"
    assert NodeConfig(tls=WHOLE).tls == ABSOLUTE
    assert NodeConfig.load(file, {}).tls == ABSOLUTE
    assert NodeConfig.load(file, {}).token == "from-the-file"
    assert NodeConfig.load(file, {"KVSTORE_TOKEN": TOKEN}).token == TOKEN
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert NodeConfig.load(empty, {"KVSTORE_TLS": text}).tls == ABSOLUTE
    assert NodeConfig(tls=WHOLE, token=TOKEN).replace(cluster="x").tls == ABSOLUTE


@pytest.mark.parametrize(
    ("tls", "match"),
    [
        (True, "tls: True is no TLS"),
        (("ca.pem", "n.pem", "n.key", None), "is no TLS"),
        (TLS(), "tls: ca is missing"),
        (TLS(ca="ca.pem"), "tls: cert is missing"),
        (TLS(ca="ca.pem", cert="n.pem"), "tls: key is missing"),
        (WHOLE._replace(ca=7), "tls: ca: 7 names no file"),
        (WHOLE._replace(ca=""), "tls: ca: '' names no file"),
        (WHOLE._replace(server_name=7), "tls: server_name: 7 is no str"),
        ({"ca": "ca.pem", "kye": "n.key"}, "kye: no such part of tls; did you mean 'key'"),
        ("ca=ca.pem,cert", "tls: .* is not true, false, or such as"),
        ("true", "tls: True is no TLS"),
    ],
    ids=repr,
)
def test_what_a_node_cannot_use_is_named(tls: Any, match: str) -> None:
    with pytest.raises(InvalidArgumentError, match=match):
        NodeConfig(tls=tls)


def test_a_reachable_host_needs_both() -> None:
    for settings in ({}, {"tls": WHOLE}, {"token": TOKEN}):
        with pytest.raises(InvalidArgumentError, match=r"^host: .*needs tls and token"):
            Node(host="0.0.0.0", **settings)  # type: ignore[arg-type]
        assert Node(host="0.0.0.0", insecure=True, **settings).config.insecure  # type: ignore[arg-type]
    assert not Node(host="0.0.0.0", tls=WHOLE, token=TOKEN).running


@pytest.mark.parametrize("token", ["", "two words", "t\n", "für", "x" * 1025, 7, b"bytes", lambda: "t"])
def test_what_is_no_token_is_named_and_not_repeated(token: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^token: ") as caught:
        Node(token=token)
    assert not any(each in str(caught.value) for each in ("two words", "für", "xxx"))
    if not callable(token):
        with pytest.raises(InvalidArgumentError, match=r"^token: "):
            Client(token=token)


# ------------------------------------------------------------------------------------------------------- clients
@pytest.mark.parametrize(
    ("tls", "match"),
    [
        (None, "tls: None is neither a bool nor a TLS"),
        (7, "tls: 7 is neither"),
        (TLS(), "tls: ca is missing"),
        (TLS(ca="ca.pem", cert="c.pem"), "tls: key is missing"),
        (TLS(ca="ca.pem", key="c.key"), "tls: cert is missing"),
    ],
    ids=repr,
)
def test_what_a_client_cannot_use_is_named(tls: Any, match: str) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(InvalidArgumentError, match=match):
            make("h:1", tls=tls)


@pytest.mark.parametrize("target", ["10.0.0.1:1", "db.example.org:1", "127.0.0.1:1,10.0.0.1:1", "[2001:db8::1]:1"])
def test_a_token_goes_in_the_clear_to_this_machine_only(target: str) -> None:
    for token in (TOKEN, lambda: TOKEN):
        for make in (Client, AsyncClient):
            with pytest.raises(InvalidArgumentError, match="another machine") as caught:
                make(target, token=token)
            assert TOKEN not in str(caught.value)
            make(target, token=token, tls=True)
            make(target, token=token, tls=TLS(ca="ca.pem"))
            # The word that says that it is meant so.
            make(target, token=token, tls=False)
    Client(f"kv://:{TOKEN}@{target}?tls=false")
    with pytest.raises(InvalidArgumentError, match="another machine"):
        Client(f"kv://:{TOKEN}@{target}")


@pytest.mark.parametrize("target", ["127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1"])
def test_this_machine_may_be_told_the_token(target: str) -> None:
    Client(target, token=TOKEN)


def options_of(client: Client[Any]) -> Dict[str, Any]:
    return client._made_with[3]


def test_a_url_has_a_token_and_tls() -> None:
    quoted = Client("kv://:a%2Fb%40c%3F@127.0.0.1:1,127.0.0.1:2/jobs?tls=true")
    assert options_of(quoted) == {"token": "a/b@c?", "tls": True}
    files = Client("kv://127.0.0.1:1?tls=ca=ca.pem,server_name=x")
    assert options_of(files)["tls"] == TLS(ca=str(HERE / "ca.pem"), server_name="x")
    assert options_of(Client(f"kv://:{TOKEN}@127.0.0.1:1", token="nearer"))["token"] == "nearer"


@pytest.mark.parametrize(
    "url",
    [
        f"kv://{TOKEN}@h:1",
        f"kv://user:{TOKEN}@h:1",
        "kv://:@h:1",
        "kv://@h:1",
        f"kv://:{TOKEN}/more@h:1",
        f"kv://h:1?token={TOKEN}",
        f"kvs://:{TOKEN}@h:1",
        f"http://:{TOKEN}@h:1",
        # What stands behind the first @ is no host as long as there is another.
        f"KV://:x@{TOKEN}@h:1",
        f"KV://:x/{TOKEN}@h:1",
        f"kv:/:{TOKEN}@h:1",
        f":{TOKEN}@h:1",
        f"h:1,:{TOKEN}@h:1",
        [f"kv://:{TOKEN}@h:1"],
        [f":{TOKEN}@h:1"],
        ["h:1", f"kv://:x@{TOKEN}@h:1", 7],
        f"kv://:{TOKEN}@h:1".encode(),
    ],
)
def test_what_is_no_token_in_a_url_is_refused_and_not_repeated(url: Any) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(InvalidArgumentError, match=r"^target: |^token: no such option") as caught:
            make(url)
        assert TOKEN not in str(caught.value)


def test_a_url_among_the_peers_is_refused_and_not_repeated() -> None:
    for peers in (f"kv://:{TOKEN}@h:1", [f":{TOKEN}@h:1"], {1: f"kv://:{TOKEN}@h:1"}):
        with pytest.raises(InvalidArgumentError, match=r"^peers: ") as caught:
            NodeConfig(peers=peers)
        assert TOKEN not in str(caught.value)


def test_from_env_takes_a_token_and_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVSTORE_TOKEN", TOKEN)
    assert options_of(Client.from_env())["token"] == TOKEN
    monkeypatch.setenv("KVSTORE_TOKEN", "")
    with pytest.raises(InvalidArgumentError, match=r"^KVSTORE_TOKEN: "):
        Client.from_env()


# ------------------------------------------------------------------------------------------------------- secrecy
def test_a_secret_is_in_no_text() -> None:
    config = NodeConfig(token=TOKEN, tls=WHOLE)
    node, client = Node(config=config), Client("127.0.0.1:1", token=TOKEN)
    shown = [repr(each) for each in (config, node, client, AsyncClient("127.0.0.1:1", token=TOKEN), node.config)]
    shown.append(repr(Client(f"kv://:{TOKEN}@127.0.0.1:1")))
    assert TOKEN not in "".join(shown)
    assert config != config.replace(token="other")
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_names_are_public() -> None:
    assert kvstore.TLS._fields == ("ca", "cert", "key", "server_name")
    assert {"tls", "token"} <= set(kvstore.ClientOptions.__annotations__)
    assert {"tls", "token"} <= set(kvstore.NodeSettings.__annotations__)

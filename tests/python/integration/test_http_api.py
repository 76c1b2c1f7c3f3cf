"""`/api/v1`: what it tells of eventual and strong keyspaces, whatever their keys are, and its live stream."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
from typing import Any, Dict, Iterator, List, Tuple
from urllib.parse import quote, urlencode

import pytest

from kvstore import Client, Node
from kvstore.testing import LocalCluster

from .harness import DEADLINE_SECONDS, Cluster, eventually
from .web import HOST, ask, call

pytestmark = pytest.mark.timeout(120)

# What breaks HTML, JSON, queries, lines, UTF-8 or a path where somebody has forgotten to escape.
HOSTILE = [
    b"<script>alert(1)</script>",
    b"\"'&<>",
    b"a\r\n\r\nevent: x\n",
    b"\xff\xfe\x00",
    b"../../etc/passwd",
    b"%2e%00+ &=?#",
    "\u2028\u202e\U0001f600".encode(),
    b"x" * 8192,
]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node(http=True).start(wait="ready") as found:
        patient = found.with_options(timeout=DEADLINE_SECONDS)
        patient.create_keyspace("strong", consistency="strong")
        patient.create_keyspace("other", consistency="eventual")
        yield found


def tell(port: int, subject: str, status: int = 200, **query: Any) -> Dict[str, Any]:
    """What is told; an answer of another status is a failure."""
    reply = ask(port, f"/api/v1/{subject}?{urlencode(query)}")
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    told: Dict[str, Any] = json.loads(reply.body)
    assert told["schema"] == 1
    return told


def walk(port: int, **query: Any) -> Tuple[List[str], List[str]]:
    """All folders and keys, page by page."""
    folders: List[str] = []
    keys: List[str] = []
    after = ""
    while True:
        reply = ask(port, f"/api/v1/keys?{urlencode(query)}" + (f"&after={after}" if after else ""))
        assert reply.status == 200, reply
        told = json.loads(reply.body)
        folders += [each["folder"] for each in told["folders"]]
        keys += [each["key"] for each in told["keys"]]
        assert len(told["folders"]) + len(told["keys"]) <= query["limit"]
        if told["next"] is None:
            return folders, keys
        assert told["next"] != after
        after = told["next"]


# ------------------------------------------------------------------------------------------------ nodes and members
def test_the_status_is_that_of_the_call(node: Node) -> None:
    told, status = tell(node.port, "status"), node.status()
    assert (told["node"], told["address"], told["version"]) == (status.id, status.address, status.version)
    assert told["ready"] is True
    assert told["serving"] is True
    assert told["group"]["role"] == "leader"
    assert isinstance(told["group"]["revision"], str)
    assert [member["state"] for member in tell(node.port, "members")["members"]] == ["up"]


def test_each_node_of_a_cluster_tells_of_all(cluster: Cluster) -> None:
    cluster.start(3, ["--http"])
    for started in cluster.nodes:

        def leader(port: int = started.port) -> Any:
            members = tell(port, "members")["members"]
            is_whole = len([each for each in members if each["state"] == "up"]) == 3
            return tell(port, "status")["group"]["leader"] if is_whole else None

        assert eventually(leader, "it knows three members and who leads") in {each.node for each in cluster.nodes}


def test_keyspaces_have_their_consistency_and_size(node: Node) -> None:
    node.keyspace("strong").put("k", "v")
    node.keyspace("other").put("k", "four")
    found = {each["name"]: each for each in tell(node.port, "keyspaces")["keyspaces"]}
    assert (found["strong"]["consistency"], found["strong"]["keys"]) == ("strong", 1)
    assert found["strong"]["bytes"] >= len("k") + len("v")
    assert (found["other"]["consistency"], found["other"]["keys"]) == ("eventual", 1)
    assert found["other"]["bytes"] >= len("k") + len("four")
    assert found["default"]["consistency"] == "eventual"


# ------------------------------------------------------------------------------------------------- keys and values
@pytest.mark.parametrize("keyspace", ["other", "strong"])
def test_pages_cover_every_key_once_in_order(node: Node, keyspace: str) -> None:
    names = [f"p/{number:03}" for number in range(57)]
    node.keyspace(keyspace).put_many({name: name for name in names})
    for limit in (1, 10, 56, 57, 58, 1000):
        assert walk(node.port, keyspace=keyspace, prefix="p/", limit=limit) == ([], names), limit


@pytest.mark.parametrize("keyspace", ["other", "strong"])
def test_folding_shows_each_folder_once(node: Node, keyspace: str) -> None:
    view = node.keyspace(keyspace)
    view.put_many({f"f:user:{number:02}:name": 1 for number in range(40)})
    view.put_many({f"f:user/{number:02}": 1 for number in range(40)})
    view.put_many({"f:": 1, "f:user": 1, "f:a": 1, "f:z:": 1, "f:z": 1})
    for limit in (1, 2, 3, 1000):
        folders, keys = walk(node.port, keyspace=keyspace, prefix="f:", fold=1, limit=limit)
        assert folders == ["f:user/", "f:user:", "f:z:"], limit
        assert keys == ["f:", "f:a", "f:user", "f:z"], limit
    folders, keys = walk(node.port, keyspace=keyspace, prefix="f:user:", fold=1, limit=7)
    assert folders == [f"f:user:{number:02}:" for number in range(40)]
    assert keys == []


@pytest.mark.parametrize("keyspace", ["default", "strong"])
def test_hostile_keys_come_back_byte_by_byte(node: Node, keyspace: str) -> None:
    view = node.keyspace(keyspace)
    for number, key in enumerate(HOSTILE):
        view.put(key, number)
    found = {each["id"]: each for each in tell(node.port, "keys", keyspace=keyspace, limit=1000)["keys"]}
    for number, key in enumerate(HOSTILE):
        name = quote(key, safe="")
        assert found[name]["key"] == key.decode(errors="replace")
        told = tell(node.port, "key", keyspace=keyspace, key=key)
        assert (told["value"], told["id"]) == (str(number), name)
        entry = view.entry(key)
        assert entry is not None
        assert told["version"] == str(entry.version)
        assert ask(node.port, f"/api/v1/key?keyspace={keyspace}&key={name}").status == 200
        view.delete(key)
        assert tell(node.port, "key", keyspace=keyspace, key=key) == {"schema": 1, "missing": True}


def test_values_are_told_as_what_they_are(node: Node) -> None:
    for value, kind, encoding, shown in [
        ("text \u20ac", "str", "text", "text \u20ac"),
        (b"\x00\xff", "bytes", "base64", base64.b64encode(b"\x00\xff").decode()),
        (2**63 - 1, "int", "text", str(2**63 - 1)),
        (0.1, "float", "text", "0.1"),
        (True, "bool", "text", "true"),
        (None, "json", "json", "null"),
        (2**70, "json", "json", str(2**70)),
    ]:
        node.put("v", value)
        told = tell(node.port, "key", key="v")
        assert (told["type"], told["encoding"], told["value"], told["truncated"]) == (kind, encoding, shown, False)
    node.put("v", {"a": [1, None, "</script>"]})
    assert json.loads(tell(node.port, "key", key="v")["value"]) == {"a": [1, None, "</script>"]}
    node.put("v", "\u20ac" * 300_000, ttl=3600)
    told = tell(node.port, "key", key="v")
    assert (told["truncated"], told["bytes"]) == (True, 900_000)
    assert len(told["value"].encode()) <= 64 * 1024
    assert told["expires_ms"] > told["modified_ms"]
    node.keyspace("strong").put("v", 1, ttl=3600)
    assert 0 < tell(node.port, "key", keyspace="strong", key="v")["ttl_ms"] <= 3_600_000


def test_lost_writes_are_told_by_the_node_that_took_them(node: Node) -> None:
    assert tell(node.port, "conflicts")["conflicts"] == []
    assert tell(node.port, "conflicts", 400, keyspace="strong")["error"]["code"] == "KEYSPACE_IS_STRONG"
    with LocalCluster(2, http=True).start(timeout=DEADLINE_SECONDS) as cluster:
        cluster.partition([0], [1])
        for number in range(2):
            cluster.node(number).put("c/<both>", number)
        cluster.heal()
        ports = [cluster.node(number).port for number in range(2)]
        found = eventually(
            lambda: [each for port in ports for each in tell(port, "conflicts")["conflicts"]], "it is lost"
        )
        assert [each["key"] for each in found] == ["c/<both>"]
        # Stamps of one millisecond may be equal; the greater node wins then.
        assert int(found[0]["lost_version"]) <= int(found[0]["won_version"])
        assert not [each for port in ports for each in tell(port, "conflicts", prefix="x")["conflicts"]]


@pytest.mark.parametrize(
    ("subject", "query", "status", "code"),
    [
        ("keys", {"limit": 0}, 400, "INVALID_ARGUMENT"),
        ("keys", {"limit": 1001}, 400, "INVALID_ARGUMENT"),
        ("keys", {"limit": "x"}, 400, "INVALID_ARGUMENT"),
        ("keys", {"prefx": "a"}, 400, "INVALID_ARGUMENT"),
        ("keys", {"fold": "perhaps"}, 400, "INVALID_ARGUMENT"),
        ("keys", {"prefix": "x" * 8193}, 400, "KEY_TOO_LONG"),
        ("keys", {"keyspace": "nobody"}, 404, "UNKNOWN_KEYSPACE"),
        ("keys", {"keyspace": b"\xff"}, 400, "INVALID_ARGUMENT"),
        ("key", {}, 400, "KEY_EMPTY"),
        ("key", {"key": "x" * 8193}, 400, "KEY_TOO_LONG"),
        ("status", {"x": 1}, 400, "INVALID_ARGUMENT"),
        ("live", {"keyspace": "nobody", "prefix": ""}, 404, "UNKNOWN_KEYSPACE"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(
    node: Node, subject: str, query: Dict[str, Any], status: int, code: str
) -> None:
    assert tell(node.port, subject, status, **query)["error"]["code"] == code


def test_nothing_is_told_without_the_token_and_nothing_changes_with_it() -> None:
    with Node(http=True, token="sesame") as found:
        for subject in ("status", "members", "keyspaces", "keys", "key?key=a", "conflicts", "live"):
            assert ask(found.port, f"/api/v1/{subject}").status == 401, subject
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                headers = {"Authorization": "Bearer sesame"}
                assert ask(found.port, f"/api/v1/{subject}", method=method, headers=headers).status == 405
        assert ask(found.port, "/api/v1/nothing").status == 404


# ----------------------------------------------------------------------------------------------------- live stream
class Live:
    """A live stream that is read as it comes."""

    def __init__(self, port: int, query: str = "") -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE_SECONDS)
        self._connection.request("GET", f"/api/v1/live{query}")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        assert self._response.getheader("content-type") == "text/event-stream"

    def next(self) -> Tuple[str, Any]:
        """The name of the next message, and what it tells."""
        lines = [self._response.readline().decode().rstrip("\n") for _ in range(3)]
        assert lines[0].startswith("event: "), lines
        assert lines[1].startswith("data: "), lines
        assert lines[2] == ""
        return lines[0][7:], json.loads(lines[1][6:])

    def until(self, wanted: str) -> Any:
        while True:
            name, told = self.next()
            if name == wanted:
                return told

    def rest(self) -> bytes:
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            return self._response.read()
        return b""

    def close(self) -> None:
        # The response holds the socket, too.
        self._response.close()
        self._connection.close()


@pytest.mark.parametrize("keyspace", ["other", "strong"])
def test_a_live_stream_tells_how_the_node_is_and_what_happens(node: Node, keyspace: str) -> None:
    view = node.keyspace(keyspace)
    with contextlib.closing(Live(node.port, f"?keyspace={keyspace}&prefix=live%2F")) as live:
        for _ in range(2):
            assert live.until("status")["node"] == node.id
        view.put("elsewhere", 1)
        view.put("live/<b>\n", "four")
        view.delete("live/<b>\n")
        events: List[Any] = []
        while len(events) < 2:
            events += live.until("changes")
            if [each["event"] for each in events] == ["delete"]:
                # An eventual keyspace may skip what was overwritten.
                break
        assert {each["key"] for each in events} == {"live/<b>\n"}
        assert events[-1]["event"] == "delete"
        assert all(isinstance(each["version"], str) for each in events)


def test_a_live_stream_ends_with_its_node() -> None:
    with Node(http=True).start(wait="ready") as found:
        live = Live(found.port)
        live.until("status")
        ended = threading.Thread(target=live.rest)
        ended.start()
        found.stop()
        ended.join(DEADLINE_SECONDS)
        assert not ended.is_alive()
        live.close()


def test_live_streams_are_few_and_their_places_come_back() -> None:
    with Node(http=True).start(wait="ready") as found:
        with contextlib.ExitStack() as stack:
            for _ in range(16):
                stack.enter_context(contextlib.closing(Live(found.port))).until("status")
            assert ask(found.port, "/api/v1/live").status == 503
            assert tell(found.port, "status")["ready"]
            with Client(found.address, timeout=DEADLINE_SECONDS) as db:
                db.put("k", 1)

        def has_place() -> bool:
            with call(found.port) as connection:
                connection.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return connection.recv(12) == b"HTTP/1.1 200"

        eventually(has_place, "a place is free again")


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system does not tell how a connection is")
def test_a_reader_that_does_not_read_is_cut(node: Node) -> None:
    view = node.keyspace("other")
    with call(node.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /api/v1/live?keyspace=other&prefix=flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(16).startswith(b"HTTP/1.1 200")
        stop = threading.Event()

        def flood() -> None:
            while not stop.wait(0.05):
                view.put_many({f"flood/{number}/{'x' * 1000}": 1 for number in range(200)})

        writer = threading.Thread(target=flood)
        writer.start()
        try:
            # Looks at nothing but whether the node has ended the connection.
            eventually(lambda: _is_reset(connection), "the reader is cut", 90)
        finally:
            stop.set()
            writer.join(DEADLINE_SECONDS)
    assert tell(node.port, "status")["ready"]


def _is_reset(connection: socket.socket) -> bool:
    """Whether the other side has closed: writing to it then fails, or its state says so."""
    try:
        connection.sendall(b"\r\n")
    except (ConnectionError, socket.timeout):
        return True
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state not in (1, 2, 3)

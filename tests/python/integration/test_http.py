"""Plain HTTP on the port of a node: who is answered what, who is refused, and that clients do not notice."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterator, List

import pytest

from kvstore import Client, Node, NodeConfig

from .certificates import Authority
from .harness import DEADLINE_SECONDS, Cluster, eventually
from .web import HOST, ask, call, raw, rest, taken

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

TOKEN = "sesame-4711-never-shown"
PATIENCE: Dict[str, Any] = {"timeout": DEADLINE_SECONDS}
SERIES = re.compile(r'^(kvstore_[a-z_]+)(\{[a-z]+="[^"\\]*"\})? (-?[0-9.]+(?:e-?[0-9]+)?)$')


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """One that answers plain HTTP."""
    with Node(http=True).start(wait="ready") as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pem"))


def parsed(text: str) -> Dict[str, float]:
    """The series of a text for Prometheus; each line has to be one, or to say what a family is."""
    kinds: Dict[str, str] = {}
    found: Dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family, kind = line[len("# TYPE ") :].split(" ")
            assert family not in kinds, f"{family} is torn apart"
            kinds[family] = kind
            continue
        match = SERIES.match(line)
        assert match, line
        assert match.group(1) == list(kinds)[-1], f"{line} is not below its family"
        found[match.group(1) + (match.group(2) or "")] = float(match.group(3))
    assert set(kinds.values()) == {"counter", "gauge"}
    return found


# ---------------------------------------------------------------------------------------------- what is answered
def test_metrics_are_those_of_the_call(node: Node) -> None:
    node.put("m/1", "x")
    reply = ask(node.port, "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = parsed(reply.body)
    assert set(found) == set(node.metrics())
    assert found["kvstore_keys"] == node.count()


def test_health_is_for_everybody_and_the_rest_is_not_found(node: Node) -> None:
    assert ask(node.port, "/healthz")[:2] == (200, "ok\n")
    assert ask(node.port, "/readyz")[:2] == (200, "ready\n")
    for path in ("/nothing", "/metrics/", "/healthz/x", "//metrics", "/%6detrics", "/kvstore.v1.KV/Get"):
        assert ask(node.port, path).status == 404, path
    assert ask(node.port, "/healthz?deep=1").status == 200


def test_head_has_the_headers_and_no_body(node: Node) -> None:
    for path, status in (("/healthz", 200), ("/nothing", 404)):
        whole, head = ask(node.port, path), ask(node.port, path, method="HEAD")
        assert (head.status, head.body) == (status, "")
        assert head.headers["content-length"] == str(len(whole.body))
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        reply = ask(node.port, "/metrics", method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD"), method


def test_a_page_of_another_site_is_told_nothing(node: Node) -> None:
    for host in ("evil.example", f"evil.example:{node.port}", "localhost.evil.example", "127.0.0.1.evil.example"):
        reply = ask(node.port, "/metrics", headers={"Host": host})
        assert reply.status == 421, host
        assert "kvstore_" not in reply.body
    for host in ("localhost", f"LOCALHOST:{node.port}", "127.0.0.1", "[::1]:1"):
        assert ask(node.port, "/metrics", headers={"Host": host}).status == 200, host
    headers = ask(node.port, "/metrics", headers={"Origin": "http://evil.example"}).headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_an_advertised_name_is_one_of_the_node() -> None:
    with Node(http=True, advertise="kv-1.example.org:7001") as found:
        assert ask(found.port, "/healthz", headers={"Host": "kv-1.example.org"}).status == 200
        assert ask(found.port, "/healthz", headers={"Host": "kv-2.example.org"}).status == 421


def test_a_connection_serves_one_request_after_the_other(node: Node) -> None:
    connection = http.client.HTTPConnection(HOST, node.port, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        ours: List[Any] = []
        for _ in range(50):
            connection.request("GET", "/metrics")
            assert taken(connection.getresponse()).status == 200
            ours.append(connection.sock.getsockname())
        assert len(set(ours)) == 1


def test_http2_is_answered_the_same(node: Node) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], stdout=subprocess.PIPE, check=True).stdout.decode():
        pytest.skip("there is no curl that speaks HTTP/2")
    found = {}
    for path in ("healthz", "nothing"):
        command = [curl, "-sS", "--noproxy", "*", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}"]
        command.append(f"http://{HOST}:{node.port}/{path}")
        found[path] = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_SECONDS).stdout
    assert found["healthz"] == b"ok\n2 200"
    assert found["nothing"].endswith(b"2 404")


def test_the_dashboard_is_whole_and_strict() -> None:
    with Node(http=True, token=TOKEN) as found:
        page = ask(found.port, "/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        parts = re.findall(r'(?:src|href)="(/ui/[^"]*)"', page.body)
        assert len(parts) == 2
        replies = [page, *(ask(found.port, part) for part in parts)]
        assert {reply.headers["content-type"].partition(";")[0] for reply in replies} == {
            "text/html",
            "text/css",
            "text/javascript",
        }
        for reply in replies:
            assert reply.status == 200
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert TOKEN not in reply.body
        # Whoever asks for what is in the node needs the token all the same.
        assert ask(found.port, "/api/v1/status").status == 401


# ----------------------------------------------------------------------------------------------- who is refused
def test_a_body_is_refused_and_ends_the_connection(node: Node) -> None:
    for lines in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 99999999999\r\n"):
        answer = raw(node.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n5\r\nevil")
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert answer.count(b"HTTP/1.1") == 1, "what was a body is no request"


def test_a_huge_head_is_refused(node: Node) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    assert raw(node.port, start + b"X: " + b"a" * 200_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert raw(node.port, start + b"X: a\r\n" * 500 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert raw(node.port, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n")[9:12] in (b"414", b"431")
    assert ask(node.port, "/healthz").status == 200


def test_a_request_without_a_host_or_sense_is_refused(node: Node) -> None:
    for data in (
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(505),
        b"*1\r\n$4\r\nPING\r\n\r\n",
    ):
        assert raw(node.port, data).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), data
    # No browser speaks the older version.
    assert b" 200 " in raw(node.port, b"GET /healthz HTTP/1.0\r\n\r\n").partition(b"\r\n")[0]


def test_without_the_setting_there_is_no_http() -> None:
    with Node() as found:
        assert not found.config.http
        answer = raw(found.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not answer.startswith(b"HTTP/1")
        with Client(found.address, **PATIENCE) as db:
            db.put("k", 1)


def test_the_token_is_asked_for_and_never_told() -> None:
    with Node(http=True, token=TOKEN).start(wait="ready") as found:
        for path in ("/healthz", "/readyz", "/nothing"):
            assert ask(found.port, path).status in (200, 404), path
        for header in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}"):
            reply = ask(found.port, "/metrics", headers={"Authorization": header})
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in reply.body + str(reply.headers)
        assert ask(found.port, f"/metrics?token={TOKEN}").status == 401
        assert ask(found.port, "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_over_tls_a_browser_needs_no_certificate_and_the_token(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    context.set_alpn_protocols(["http/1.1"])
    with Node(http=True, tls=authority.issue("web"), token=TOKEN) as found:
        assert ask(found.port, "/healthz", tls=context).status == 200
        assert ask(found.port, "/metrics", tls=context).status == 401
        reply = ask(found.port, "/metrics", tls=context, headers={"Authorization": f"Bearer {TOKEN}"})
        assert reply.status == 200
        assert not raw(found.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP")
        both = ssl.create_default_context(cafile=authority.ca)
        both.set_alpn_protocols(["h2", "http/1.1"])
        with call(found.port) as plain, both.wrap_socket(plain, server_hostname=HOST) as wrapped:
            assert wrapped.selected_alpn_protocol() == "h2"
        with Client(found.address, tls=authority.trust, token=TOKEN, **PATIENCE) as db:
            db.put("k", 1)
            assert db.get("k") == 1


def test_nodes_with_tls_reach_each_other_beside_plain_http(authority: Authority) -> None:
    with Node(http=True, tls=authority.issue("one"), token=TOKEN) as one:
        one.put("k", "v")
        with Node(0, [one.address], http=True, tls=authority.issue("two"), token=TOKEN) as two:
            context = ssl.create_default_context(cafile=authority.ca)
            eventually(lambda: ask(two.port, "/readyz", tls=context).status == 200, "it has caught up", 60)
            assert two.get("k") == "v"


# -------------------------------------------------------------------------------------------------- readiness
def test_a_node_is_ready_once_it_has_caught_up_with_a_peer(cluster: Cluster) -> None:
    peer = cluster.add()
    cluster.pause(0)
    with Node(0, [peer.address], http=True) as found:
        assert ask(found.port, "/healthz").status == 200
        waiting = ask(found.port, "/readyz")
        assert (waiting.status, "caught up" in waiting.body) == (503, True)
        assert parsed(ask(found.port, "/metrics").body)["kvstore_ready"] == 0
        cluster.resume(0)
        eventually(lambda: ask(found.port, "/readyz").status == 200, "it is ready", 60)
        assert parsed(ask(found.port, "/metrics").body)["kvstore_ready"] == 1


def test_a_node_that_was_stopped_with_open_connections_leaves_none() -> None:
    with Node(http=True).start(wait="ready") as found:
        connections = [call(found.port) for _ in range(20)]
        for connection in connections[:10]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        for connection in connections[10:15]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
    for connection in connections:
        with connection:
            rest(connection)


def test_each_node_of_a_cluster_says_how_many_there_are(cluster: Cluster) -> None:
    cluster.start(3, ["--http"])

    def seen(port: int) -> float:
        return parsed(ask(port, "/metrics").body)['kvstore_members{state="up"}']

    for started in cluster.nodes:
        eventually(lambda port=started.port: seen(port) == 3, "it knows all three")
        eventually(lambda port=started.port: ask(port, "/readyz").status == 200, "it is ready")


# ------------------------------------------------------------------------------------------- clients go on
def test_clients_do_not_notice_a_hundred_connections_that_hang(node: Node) -> None:
    stop = threading.Event()
    problems: List[BaseException] = []
    done = [0]

    def work() -> None:
        try:
            with Client(node.address, **PATIENCE) as db:
                while not stop.is_set():
                    db.put("busy", done[0])
                    assert db.get("busy") == done[0]
                    done[0] += 1
        except BaseException as error:  # noqa: BLE001 - told by the other thread
            problems.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with contextlib.ExitStack() as stack:
            for number in range(100):
                connection = stack.enter_context(call(node.port))
                if number % 3:
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"[: 10 * (number % 3)])
            before = done[0]
            eventually(lambda: problems or done[0] > before + 100, "the client goes on")
    finally:
        stop.set()
        worker.join(DEADLINE_SECONDS)
    assert not problems
    assert not worker.is_alive()


def test_a_head_that_never_ends_loses_its_connection(node: Node) -> None:
    with call(node.port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        # After fifteen seconds; the test waits longer than that for a machine that is busy.
        connection.settimeout(90)
        assert rest(connection) == b""
    assert ask(node.port, "/healthz").status == 200


def test_the_setting_comes_from_file_and_variable(tmp_path: Path) -> None:
    file = tmp_path / "kvstore.toml"
    file.write_text("http = true\n")
    assert NodeConfig.load(file, {}).http
    assert not NodeConfig.load(file, {"KVSTORE_HTTP": "off"}).http
    assert not NodeConfig().http

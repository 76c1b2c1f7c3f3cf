"""Who is let in by TLS and by token, and who is not: clients and nodes, each kind of call.

Certificates are made by trustme when the tests run. What is not done here: a handshake that is too slow, which takes
ten seconds; the Rust tests do it without waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import grpc
import pytest

import kvstore
from kvstore import (
    TLS,
    AsyncClient,
    Client,
    ClosedError,
    DeniedError,
    InvalidArgumentError,
    KVError,
    Node,
    UnavailableError,
)
from kvstore.testing import LocalCluster

from .certificates import Authority
from .harness import DEADLINE_SECONDS, eventually

pytestmark = pytest.mark.timeout(120)

TOKEN = "sesame-4711-never-shown"

# Long enough for a machine that is busy with other tests; what is refused is refused at once.
PATIENCE: Dict[str, Any] = {"timeout": DEADLINE_SECONDS}
# For calls that come to nothing: one try is enough to be told why.
ONCE: Dict[str, Any] = {"timeout": DEADLINE_SECONDS, "retry": None}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The cluster's."""
    return Authority(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """That of somebody else."""
    return Authority(tmp_path_factory.mktemp("foreign"), "foreign")


@pytest.fixture(scope="module")
def trio(authority: Authority) -> Iterator[List[Node]]:
    """Three nodes with TLS and a token, each with a certificate of its own."""
    nodes: List[Node] = []
    with contextlib.ExitStack() as stack:
        for index in range(3):
            peers = [node.address for node in nodes]
            nodes.append(stack.enter_context(Node(0, peers, tls=authority.issue(f"n{index}"), token=TOKEN)))
        for node in nodes:
            node.start(wait="ready", timeout=DEADLINE_SECONDS)
        eventually(lambda: all(len(voters(node)) == 3 for node in nodes), "all three vote", 60)
        yield nodes


def voters(node: Node) -> List[str]:
    group = node.status().group
    return [] if group is None else [member.id for member in group.members if member.votes]


@pytest.fixture
def db(trio: List[Node], authority: Authority) -> Iterator[Client[Any]]:
    with Client([node.address for node in trio], tls=authority.trust, token=TOKEN, **PATIENCE) as client:
        yield client


# ------------------------------------------------------------------------------------------------- who is let in
def test_nodes_replicate_and_serve_clients(trio: List[Node], authority: Authority, db: Client[Any]) -> None:
    db.put("a", {"x": 1})
    db.put_many({f"m/{i}": i for i in range(300)})
    for node in trio:
        with Client(node.address, tls=authority.trust, token=TOKEN, **PATIENCE) as client:
            eventually(lambda client=client: client.count("m/") == 300 and client.get("a") == {"x": 1}, "all is there")
    assert db.status().ready
    for asked in (db, *trio):
        leader = asked.cluster.leader()
        assert leader is not None
        assert leader.id in {node.id for node in trio}
    eventually(lambda: {member.state for member in db.members()} == {"up"}, "all are up")
    assert [entry.value for entry in db.scan("m/1", limit=2)] == [1, 10]
    assert db.metrics()
    assert list(db.conflicts()) == []


def test_a_strong_keyspace_works(db: Client[Any]) -> None:
    jobs = db.create_keyspace("jobs", consistency="strong", exist_ok=True)
    assert jobs.incr("n") == 1
    with pytest.raises(kvstore.KeyExistsError):
        jobs.put("n", 0, if_absent=True)
    with jobs.lock("l", ttl=30, timeout=DEADLINE_SECONDS) as lock:
        lock.scope().put("under", lock.fencing_token)
    with jobs.watch(prefix="w/") as watch:
        jobs.put("w/1", 1)
        event = watch.next(timeout=DEADLINE_SECONDS)
        assert event is not None
        assert event.key == "w/1"


def test_a_watch_is_told(db: Client[Any]) -> None:
    with db.watch(prefix="watched/") as watch:
        db.put("watched/1", 1)
        event = watch.next(timeout=DEADLINE_SECONDS)
        assert event is not None
        assert (event.key, event.type) == ("watched/1", "put")


def test_an_asynchronous_client_is_let_in(trio: List[Node], authority: Authority) -> None:
    async def main() -> Any:
        async with AsyncClient(trio[0].address, tls=authority.trust, token=lambda: TOKEN, **PATIENCE) as client:
            await client.put("async", 1)
            return await client.get("async")

    assert asyncio.run(main()) == 1


def test_a_client_in_this_process_needs_neither(trio: List[Node]) -> None:
    async def main() -> Any:
        client = trio[0].async_client(token="whatever")
        await client.put("local", 2)
        return await client.get("local")

    assert asyncio.run(main()) == 2


def test_a_client_may_present_a_certificate(trio: List[Node], authority: Authority) -> None:
    with Client(
        trio[0].address, tls=authority.issue("client", "client.example.org"), token=TOKEN, **PATIENCE
    ) as client:
        assert client.ping() >= 0


def test_a_killed_node_comes_back_under_tls(authority: Authority, tmp_path: Path) -> None:
    tls = authority.issue("process")
    made = LocalCluster(3, isolation="process", data_dir=tmp_path, tls=tls, token=TOKEN)
    with made.start(timeout=60) as cluster:
        cluster.wait_healthy(timeout=60)
        db = cluster.client(0, **PATIENCE)
        jobs = db.create_keyspace("jobs", consistency="strong")
        cluster.kill(2)
        db.put("k", 1)
        jobs.put("k", 2)
        cluster.restart(2)
        cluster.wait_healthy(timeout=60)
        assert cluster.client(2, **PATIENCE).get("k", read="local") == 1
        assert cluster.client(2, **PATIENCE).keyspace("jobs").get("k") == 2


def test_a_strangers_client_is_let_in_with_both(trio: List[Node], authority: Authority) -> None:
    """gRPC of another make, with the token in its metadata; for health it needs none."""
    credentials = grpc.ssl_channel_credentials(Path(authority.ca).read_bytes())
    with grpc.secure_channel(trio[0].address, credentials) as channel:
        members = channel.unary_unary("/kvstore.v1.Admin/Members")
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert members(b"", metadata=[("authorization", f"Bearer {TOKEN}")], **PATIENCE)
        for metadata in ([], [("authorization", "Bearer other")], [("authorization", TOKEN)]):
            with pytest.raises(grpc.RpcError) as caught:
                members(b"", metadata=metadata, **PATIENCE)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert ("kvstore-error-code", "TOKEN_REFUSED") in caught.value.trailing_metadata()
        assert health(b"", **PATIENCE) == b"\x08\x01"


# --------------------------------------------------------------------------------------------- who is not let in
def calls(client: Client[Any]) -> Dict[str, Callable[[], Any]]:
    """A call of each kind."""
    strong = client.keyspace("jobs")
    return {
        "get": lambda: client.get("k"),
        "put": lambda: client.put("k", 1),
        "many": lambda: client.put_many({"k": 1}),
        "scan": lambda: list(client.scan()),
        "watch": lambda: next(iter(client.watch())),
        "conflicts": lambda: list(client.conflicts()),
        "status": client.status,
        "members": client.members,
        "metrics": client.metrics,
        "ping": client.ping,
        "remove": lambda: client.cluster.remove("00000000000000ff"),
        "keyspaces": client.keyspaces,
        "create": lambda: client.create_keyspace("other", consistency="strong"),
        "strong get": lambda: strong.get("k"),
        "strong put": lambda: strong.put("k", 1),
        "strong watch": lambda: next(iter(strong.watch())),
        "lease": lambda: strong.lease(10).__enter__(),
    }


@pytest.mark.parametrize("token", [None, "sesame-4711-never-show", lambda: "other"], ids=["none", "wrong", "callable"])
def test_no_call_of_any_kind_is_made_without_the_token(trio: List[Node], authority: Authority, token: Any) -> None:
    targets = [node.address for node in trio]

    def keys() -> List[int]:
        return [node.status().keys for node in trio]

    # What other tests have written may be on its way.
    eventually(lambda: len(set(keys())) == 1, "all nodes have the same")
    before = keys()
    with Client(targets, tls=authority.trust, token=token, timeout=None) as client:
        for name, call in calls(client).items():
            with pytest.raises(DeniedError) as caught:
                call()
            assert (caught.value.code, caught.value.maybe_applied) == ("TOKEN_REFUSED", False), name
            assert "sesame" not in str(caught.value), name
    assert keys() == before


def test_no_asynchronous_call_is_made_without_the_token(trio: List[Node], authority: Authority) -> None:
    async def main() -> List[str]:
        codes = []
        async with AsyncClient(trio[0].address, tls=authority.trust, token="other", timeout=None) as client:
            for call in (client.get("k"), client.put("k", 1), client.status(), client.keyspaces()):
                with pytest.raises(DeniedError) as caught:
                    await call
                codes.append(caught.value.code)
            with pytest.raises(DeniedError) as caught:
                await client.watch().next()
            codes.append(caught.value.code)
        return codes

    assert set(asyncio.run(main())) == {"TOKEN_REFUSED"}


def test_a_client_refuses_a_node_that_it_cannot_believe(authority: Authority, stranger: Authority) -> None:
    named = TLS(ca=authority.ca, server_name="db.example.com")
    cases = [
        (authority.issue("good"), stranger.trust),
        (authority.issue("old", expired=True), authority.trust),
        (authority.issue("elsewhere", "db.example.org"), authority.trust),
        (authority.issue("named", "db.example.org"), named),
        # The authorities of the system do not know ours.
        (authority.issue("unknown"), True),
    ]
    for tls, trust in cases:
        with Node(tls=tls) as node, Client(node.address, tls=trust, timeout=None) as client:
            with pytest.raises(DeniedError, match="certificate") as caught:
                client.get("k")
            assert caught.value.code == "CERTIFICATE_REFUSED"
    right = TLS(ca=authority.ca, server_name="db.example.org")
    with Node(tls=authority.issue("right", "db.example.org")) as node, Client(node.address, tls=right) as client:
        assert client.get("k", timeout=DEADLINE_SECONDS) is None


def test_a_node_refuses_a_certificate_that_it_cannot_believe(
    trio: List[Node], authority: Authority, stranger: Authority
) -> None:
    for identity in (stranger.issue("client"), authority.issue("late", expired=True)):
        tls = identity._replace(ca=authority.ca)
        with Client(trio[0].address, tls=tls, token=TOKEN, timeout=None) as client:
            with pytest.raises(DeniedError) as caught:
                client.get("k")
            assert caught.value.code == "CERTIFICATE_REFUSED"


def test_in_the_clear_nothing_is_said_to_a_node_with_tls(trio: List[Node], db: Client[Any]) -> None:
    with Client(trio[0].address, token=TOKEN, **ONCE) as client, pytest.raises(UnavailableError):
        client.get("k")
    assert db.ping() >= 0


def test_with_tls_nothing_is_said_to_a_node_without(authority: Authority) -> None:
    with Node() as node:
        client: Client[Any] = Client(node.address, tls=authority.trust, **ONCE)
        with client, pytest.raises(UnavailableError, match="does not speak TLS"):
            client.get("k")
        with Client(node.address, **PATIENCE) as client:
            assert client.get("k") is None


def test_who_does_not_shake_hands_keeps_nobody_waiting(trio: List[Node], authority: Authority) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(50):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", trio[0].port)))
            if number % 2:
                silent.sendall(b"\x16\x03\x01\x02\x00")
        with Client(trio[0].address, tls=authority.trust, token=TOKEN, **PATIENCE) as client:
            assert client.get("nowhere", 7) == 7


@pytest.mark.parametrize("case", ["token", "no token", "authority", "clear"])
def test_a_node_that_cannot_prove_itself_stays_outside(
    trio: List[Node], authority: Authority, stranger: Authority, case: str
) -> None:
    """Its streams and the messages of its strong group are refused: it sees nothing, and nobody sees it."""
    settings: Dict[str, Any] = {"tls": authority.issue("outside"), "token": TOKEN}
    if case == "token":
        settings["token"] = "other"
    elif case == "no token":
        settings["token"] = None
    elif case == "authority":
        settings["tls"] = stranger.issue("outside")._replace(ca=authority.ca)
    else:
        settings["tls"] = None
    trio[0].put("inside", 1)
    with Node(0, [node.address for node in trio], **settings) as outside:
        with pytest.raises(kvstore.DeadlineError):
            outside.start(wait="ready", timeout=1)
        assert outside.get("inside") is None
        if case in ("token", "no token", "authority"):
            # Whoever looks is told what is wrong.
            word = "certificate" if case == "authority" else "token"

            def is_told() -> bool:
                # In one look: whoever was refused calls again.
                peers = outside.status().peers
                return bool(peers) and all(peer.state == "refused" and word in peer.problem for peer in peers)

            eventually(is_told, "it is told")
        assert not any(member.connected for member in outside.members()[1:])
        for node in trio:
            assert outside.address not in [member.address for member in node.members()]
            assert len(voters(node)) == 3


# --------------------------------------------------------------------------------------------- tokens that change
class Tokens:
    """A callable that knows which token holds, and counts."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.asked = 0
        self.threads: List[str] = []

    def __call__(self) -> str:
        self.asked += 1
        self.threads.append(threading.current_thread().name)
        return self.token


def test_a_callable_is_asked_again_after_its_token_was_refused(
    until: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    tokens = Tokens("first")
    # It comes back with what the client has written, so that the client's session goes on.
    node = Node(token="first", data_dir=tmp_path).start()
    client: Client[Any] = Client(node.address, token=tokens, **PATIENCE)
    try:
        client.put("k", 1)
        assert client.get("k") == 1
        watch = client.watch()
        watch.next(timeout=0)
        assert tokens.asked == 1
        port = node.port
        node.stop()
        tokens.token = "second"
        node = Node(port, token="second", data_dir=tmp_path).start()
        # A read first: a write that meets the end of the old connection is not sent again.
        assert client.get("k") == 1
        client.put("k", 2)
        assert client.get("k") == 2
        assert tokens.asked == 2
        # Not on a thread that answers for nodes or calls.
        assert set(tokens.threads) == {"kvstore-token"}
        # The watch goes on under the other token.
        event = watch.next(timeout=DEADLINE_SECONDS)
        assert event is not None
        assert event.entry is not None
        assert event.entry.value == 2
    finally:
        client.close()
        node.stop()
    until(lambda: all(thread.name != "kvstore-token" for thread in threading.enumerate()))


@pytest.mark.parametrize("answer", [ValueError("no luck"), None, 7, "two words", ""], ids=repr)
def test_a_callable_that_has_no_token_is_told_of(answer: Any) -> None:
    def ask() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Node(token=TOKEN) as node, Client(node.address, token=ask, timeout=None) as client:
        with pytest.raises(DeniedError, match="token") as caught:
            client.get("k")
        assert ("no luck" in str(caught.value)) == isinstance(answer, Exception)
        assert "two words" not in str(caught.value)


def test_closing_does_not_wait_for_a_callable_that_hangs() -> None:
    began, leave = threading.Event(), threading.Event()

    def ask() -> str:
        began.set()
        leave.wait(DEADLINE_SECONDS)
        return TOKEN

    with Node(token=TOKEN) as node:
        client: Client[Any] = Client(node.address, token=ask, timeout=None)
        failed: List[KVError] = []

        def call() -> None:
            with pytest.raises(ClosedError) as caught:
                client.get("k")
            failed.append(caught.value)

        caller = threading.Thread(target=call)
        caller.start()
        assert began.wait(DEADLINE_SECONDS)
        client.close()
        caller.join(DEADLINE_SECONDS)
        leave.set()
        assert len(failed) == 1


def test_a_pickled_client_has_the_text_and_leaves_out_the_callable(authority: Authority) -> None:
    with Node(tls=authority.issue("pickled"), token=TOKEN) as node:
        fixed = pickle.loads(pickle.dumps(Client(node.address, tls=authority.trust, token=TOKEN, **PATIENCE)))
        with fixed:
            assert fixed.get("k") is None
        asked = pickle.loads(pickle.dumps(Client(node.address, tls=authority.trust, token=lambda: TOKEN, timeout=None)))
        with asked, pytest.raises(DeniedError, match="a pickle, which leaves out"):
            asked.get("k")


def _in_child(client: Client[Any], answers: Any) -> None:
    answers.put(client.get("k"))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_its_own_callable() -> None:
    tokens = Tokens(TOKEN)
    fork = multiprocessing.get_context("fork")
    made = LocalCluster(1, isolation="process", token=TOKEN)
    with made.start(timeout=60) as cluster, cluster.client(0, token=tokens, **PATIENCE) as client:
        client.put("k", 5)
        answers = fork.Queue()
        child = fork.Process(target=_in_child, args=(client, answers))
        child.start()
        assert answers.get(timeout=DEADLINE_SECONDS) == 5
        child.join(DEADLINE_SECONDS)
        assert client.get("k") == 5


def test_a_program_ends_with_a_thread_that_answers_for_a_token() -> None:
    with Node(token=TOKEN) as node:
        code = f"""
import kvstore
client = kvstore.Client({node.address!r}, token=lambda: {TOKEN!r}, timeout={DEADLINE_SECONDS})
client.put("k", 1)
print(client.get("k"))
"""
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"1\n", b"")


# --------------------------------------------------------------------------------------- targets, files, exposure
def test_a_token_is_in_a_url_or_the_environment(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with Node(tls=authority.issue("url"), token="a/b@c%") as node:
        url = f"kv://:a%2Fb%40c%25@{node.address}/default?tls=ca={authority.ca}&timeout={DEADLINE_SECONDS}"
        with Client(url) as client:
            assert client.get("k") is None
        monkeypatch.setenv("KVSTORE_URL", f"kv://{node.address}?tls=ca={authority.ca}")
        monkeypatch.setenv("KVSTORE_TOKEN", "a/b@c%")
        with Client.from_env() as client:
            assert client.get("k", **PATIENCE) is None


def test_what_is_wrong_with_a_file_is_told_before_the_port_is_open(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue("file"), authority.issue("other")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    cases = {
        "tls: ca .*nowhere.pem: it cannot be read": good._replace(ca=str(tmp_path / "nowhere.pem")),
        "tls: ca .*empty.pem: it holds no PEM certificate": good._replace(ca=str(empty)),
        "tls: cert .*empty.pem": good._replace(cert=str(empty)),
        "tls: key .*it holds no PEM private key": good._replace(key=good.cert),
        "tls: key .*does not fit": good._replace(key=other.key),
    }
    for match, tls in cases.items():
        node = Node(tls=tls)
        with pytest.raises(InvalidArgumentError, match=match):
            node.start()
        assert not node.running
    with Client("127.0.0.1:1", tls=TLS(ca=str(empty))) as client, pytest.raises(InvalidArgumentError, match="tls: ca"):
        client.get("k")

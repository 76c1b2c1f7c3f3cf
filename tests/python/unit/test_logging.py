"""log="python": what nodes and clients report reaches `logging`, and nothing that a handler does reaches a node.

Each in a process of its own: where a process reports to is about the whole of it.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import kvstore

# Generous: it bounds how long a broken build hangs, not how long a good one takes.
pytestmark = pytest.mark.timeout(90)

BEGIN = """
import logging, os, sys, threading, time
import kvstore

class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
    def emit(self, record):
        self.records.append(record)
    def of(self, text):
        return [record for record in list(self.records) if text in record.getMessage()]

def eventually(condition):
    ends, pause = time.monotonic() + 60, threading.Event()
    while not condition():
        assert time.monotonic() < ends, "the condition did not come true"
        pause.wait(0.01)

logger = logging.getLogger("kvstore")
logger.propagate = False
kept = Kept()
"""


def run(code: str, **options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    program = BEGIN + textwrap.dedent(code)
    return subprocess.run([*command, "-c", program], capture_output=True, text=True, timeout=85, check=False)


def assert_clean(code: str, output: str = "") -> None:
    done = run(code)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", output)


def test_records_have_names_levels_and_who_they_are_about() -> None:
    assert_clean(
        """
        logger.addHandler(kept)
        logger.setLevel("INFO")
        before = time.time()
        first = kvstore.Node(log="python").start(wait="ready")
        second = kvstore.Node(0, [first.address], log="python").start(wait="ready")
        with kvstore.Client(second.address, name="nightly") as client:
            client.put("k", 1)
        eventually(lambda: len(kept.of("node started")) == 2)
        assert {(r.name, r.levelname, r.node, r.peer, r.term) for r in kept.of("node started")} == {
            ("kvstore.node", "INFO", node.id, None, None) for node in (first, second)}
        eventually(lambda: kept.of("leads the strong group"))
        leader = first.status().group.leader
        eventually(lambda: [r for r in kept.of("this node leads") if r.node == leader])
        record = [r for r in kept.of("this node leads") if r.node == leader][-1]
        assert (record.name, record.peer) == ("kvstore.raft", None)
        assert 1 <= record.term <= first.status().group.term
        eventually(lambda: kept.of("a client has come"))
        assert [r.node for r in kept.of("name=nightly")] == [second.id]
        ids = first.id, second.id
        second.stop()
        eventually(lambda: kept.of("node stopped"))
        eventually(lambda: [r for r in kept.of("state=left") if (r.name, r.node, r.peer) == ("kvstore.cluster", *ids)])
        for record in kept.records:
            # When it happened; the clock may have been set meanwhile.
            assert before - 60 < record.created < time.time() + 60
            assert record.pathname.endswith(".rs") and record.lineno > 0
            assert record.node != record.peer
        logging.Formatter("%(asctime)s %(name)s %(node)s %(message)s").format(kept.records[0])
        """
    )


def test_the_level_is_looked_at_again() -> None:
    assert_clean(
        """
        logger.addHandler(kept)
        logger.setLevel("ERROR")
        node = kvstore.Node(log="python").start(wait="ready")
        def is_told(text):
            with kvstore.Client(node.address, name="somebody") as client:
                client.ping()
            return bool(kept.of(text))
        # The first comer is taken note of or not before another has come and gone.
        is_told("")
        assert not is_told("a client has come")
        logging.getLogger("kvstore.rpc").setLevel("INFO")
        eventually(lambda: is_told("a client has come"))
        assert {record.name for record in kept.records} == {"kvstore.rpc"}
        logging.disable(logging.CRITICAL)
        known = []
        def is_silent():
            known[:] = known[-1:] + [len(kept.records)]
            is_told("")
            return known[0] == len(kept.records)
        eventually(is_silent)
        """
    )


def test_a_handler_that_raises_or_logs_or_asks_the_node_stops_nothing() -> None:
    done = run(
        """
        class Clumsy(logging.Handler):
            asked = 0
            def emit(self, record):
                if "name=bad" in record.getMessage():
                    raise ValueError("as asked")
                if record.name == "kvstore.rpc" and self.asked < 5:
                    self.asked += 1
                    logging.getLogger("kvstore.rpc").info("a client has come, says a handler")
                    with kvstore.Client(node.address, name="handler") as client:
                        client.put("from a handler", self.asked)
        node = kvstore.Node(log="python")
        logger.addHandler(Clumsy())
        logger.addHandler(kept)
        logger.setLevel("INFO")
        node.start(wait="ready")
        for name in ("good", "bad", "bad", "last"):
            with kvstore.Client(node.address, name=name) as client:
                client.ping()
        eventually(lambda: kept.of("name=last"))
        eventually(lambda: node.get("from a handler") == 5)
        # Those that it raised at are lost to the handlers after it, as `logging` has it.
        assert not kept.of("name=bad")
        print(len(kept.of("says a handler")) > 0)
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
    assert done.stderr.count("ValueError: as asked") == 2, done.stderr


def test_a_handler_that_blocks_costs_records_and_nothing_else() -> None:
    assert_clean(
        """
        class Blocked(Kept):
            may_go_on, inside = threading.Event(), threading.Event()
            def emit(self, record):
                self.inside.set()
                self.may_go_on.wait()
                super().emit(record)
        handler = Blocked()
        logger.addHandler(handler)
        logger.setLevel("DEBUG")
        node = kvstore.Node(log="python").start(wait="ready")
        handler.inside.wait()
        # One record for each attempt, far more than the queue takes.
        retry = kvstore.Retry(attempts=2600, first=1e-6, cap=1e-6, jitter=0.0)
        with kvstore.Client("127.0.0.1:1", retry=retry, timeout=None) as nobody:
            try:
                nobody.get("k")
            except kvstore.UnavailableError:
                pass
        with kvstore.Client(node.address) as client:
            client.put("k", 1)
            assert client.get("k") == node.get("k") == 1
        assert handler.records == []
        handler.may_go_on.set()
        eventually(lambda: handler.of("records were dropped"))
        told = handler.of("records were dropped")[0]
        dropped = int(told.getMessage().split()[0])
        assert (told.name, told.levelname, told.node) == ("kvstore", "WARNING", None)
        came = len(handler.of("could not be reached"))
        assert 1000 < came < 2600 and came + dropped >= 2600, (came, dropped)
        print("told")
        """,
        "told",
    )


def test_a_child_has_records_of_its_own_only() -> None:
    assert_clean(
        """
        logger.addHandler(kept)
        logger.setLevel("INFO")
        node = kvstore.Node(log="python").start(wait="ready")
        eventually(lambda: kept.of("node started"))
        ended = threading.Event()
        def chatter():
            while not ended.is_set():
                with kvstore.Client(node.address, name="chatter") as client:
                    client.ping()
        thread = threading.Thread(target=chatter)
        thread.start()
        eventually(lambda: kept.of("name=chatter"))
        address, name = node.address, node.id
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                kept.records.clear()
                with kvstore.Client(address) as client:
                    client.ping()
                assert "kvstore-log" not in [each.name for each in threading.enumerate()]
                with kvstore.Node(log="python") as own:
                    eventually(lambda: kept.of("node started"))
                    assert {record.node for record in kept.records} <= {own.id, None}
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        ended.set()
        thread.join()
        before = len(kept.records)
        with kvstore.Client(node.address, name="after") as client:
            client.ping()
        eventually(lambda: kept.of("name=after"))
        """
    )


def test_the_last_words_are_heard_at_exit() -> None:
    assert_clean(
        """
        class Printed(logging.Handler):
            def emit(self, record):
                if "node stopped" in record.getMessage():
                    print(record.getMessage().split(" node=")[0], flush=True)
        logger.addHandler(Printed())
        logger.setLevel("INFO")
        kvstore.Node(log="python").start(wait="ready")
        """,
        "node stopped",
    )


def test_a_handler_that_blocks_does_not_keep_the_program_from_its_end() -> None:
    assert_clean(
        """
        inside = threading.Event()
        def block(record):
            # In a handler, it would be `logging` itself that waits at the end, for the lock of the handler.
            inside.set()
            threading.Event().wait()
        logging.getLogger("kvstore.node").addFilter(block)
        logger.setLevel("INFO")
        kvstore.Node(log="python").start(wait="ready")
        inside.wait()
        """
    )


def test_without_it_nothing_reaches_logging() -> None:
    assert_clean(
        """
        logger.addHandler(kept)
        logger.setLevel("DEBUG")
        with kvstore.Node() as node, kvstore.Client(node.address, name="somebody") as client:
            client.put("k", 1)
        assert kept.records == []
        assert "kvstore-log" not in [each.name for each in threading.enumerate()]
        """
    )


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(kvstore.InvalidArgumentError, match="log: 'syslog' is none of python, stderr, none"):
        kvstore.Node(log="syslog")  # type: ignore[arg-type]

from __future__ import annotations

import asyncio
import builtins
import copy
import errno
import pickle
from typing import Type

import pytest

import kvstore
from kvstore import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "ErrorKind"]
BUILTINS = {
    "InvalidArgumentError": "ValueError",
    "CodecError": "ValueError",
    "LimitError": "ValueError",
    "KeyNotFoundError": "KeyError",
    "UnsupportedError": "NotImplementedError",
    "ConflictError": "RuntimeError",
    "KeyExistsError": "RuntimeError",
    "LockLostError": "RuntimeError",
    "CompactedError": "LookupError",
    "UnavailableError": "ConnectionError",
    "DeadlineError": "TimeoutError",
    "DeniedError": "PermissionError",
    "ClosedError": "RuntimeError",
    "ForkedError": "RuntimeError",
    "CorruptError": "OSError",
    "InternalError": "RuntimeError",
}


def test_there_are_sixteen_below_one_base() -> None:
    assert {cls.__name__ for cls in CLASSES} == {*BUILTINS, "KVError"}
    assert all(issubclass(cls, kvstore.KVError) for cls in CLASSES)


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_each_is_a_builtin_too(name: str, builtin: str) -> None:
    assert issubclass(getattr(kvstore, name), getattr(builtins, builtin))


def test_a_deadline_is_asyncios_timeout() -> None:
    assert issubclass(kvstore.DeadlineError, asyncio.TimeoutError)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_survives_pickle_and_copy(cls: Type[kvstore.KVError]) -> None:
    error = cls("say what to do", code="SOME_CODE", retryable=True, maybe_applied=True, node="n1")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert str(twin) == "say what to do"
        fields = (twin.code, twin.retryable, twin.maybe_applied, twin.node, twin.kind)
        assert fields == ("SOME_CODE", True, True, "n1", cls.kind)


def test_extra_fields_survive_pickle() -> None:
    error = kvstore.CodecError("no")
    error.payload = b"x"
    assert pickle.loads(pickle.dumps(error)).payload == b"x"
    taken = kvstore.UnavailableError("taken", code="ADDRESS_IN_USE")
    assert pickle.loads(pickle.dumps(taken)).errno == errno.EADDRINUSE


def test_a_taken_port_says_so_with_its_errno(node: kvstore.Node) -> None:
    with pytest.raises(kvstore.UnavailableError) as caught:
        kvstore.Node(node.port).start()
    assert (caught.value.code, caught.value.errno) == ("ADDRESS_IN_USE", errno.EADDRINUSE)
    assert node.id in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


def test_an_error_names_the_node_that_answered_a_client() -> None:
    with kvstore.Node(max_memory="16MiB").start(wait="ready") as node, kvstore.Client(node.address) as client:
        jobs = client.create_keyspace("jobs", consistency="strong")
        jobs["k"] = 1
        calls = [
            lambda: [client.put(str(number), b"v" * 1_000_000) for number in range(20)],
            lambda: jobs.put("k", 2, if_absent=True),
            lambda: jobs.put("k", 2, if_version=99),
            lambda: jobs.incr("k", 2**63 - 1),
            lambda: client.keyspace("missing").get("k"),
        ]
        for call in calls:
            with pytest.raises(kvstore.KVError) as caught:
                call()
            assert caught.value.node == node.address, caught.value.code
        # Nobody was asked.
        for call in (lambda: client.get(""), lambda: node.put("", 1)):
            with pytest.raises(kvstore.KVError) as caught:
                call()
            assert caught.value.node is None


def test_a_node_that_is_not_there_is_unavailable(free_address: str) -> None:
    with kvstore.Client(free_address, timeout=0.2) as client, pytest.raises(kvstore.KVError) as caught:
        client.get("k")
    assert caught.value.retryable
    assert not caught.value.maybe_applied

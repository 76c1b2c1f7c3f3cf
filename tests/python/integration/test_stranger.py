"""A stranger's gRPC client: Python's grpcio with stubs generated from proto/, as it stands."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Tuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

if TYPE_CHECKING:
    from .harness import Cluster

PROTO = Path(__file__).resolve().parents[3] / "proto"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuple[Any, Any]]:
    """The generated modules kv_pb2 and kv_pb2_grpc; the package is renamed, because kvstore is this project's own."""
    made = tmp_path_factory.mktemp("stubs")
    source = made / "stranger_kv.proto"
    source.write_text((PROTO / "kvstore" / "v1" / "kv.proto").read_text(encoding="utf-8"), encoding="utf-8")
    arguments = ["protoc", f"-I{made}", f"--python_out={made}", f"--grpc_python_out={made}", source.name]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(made))
    try:
        yield importlib.import_module("stranger_kv_pb2"), importlib.import_module("stranger_kv_pb2_grpc")
    finally:
        sys.path.remove(str(made))


@pytest.fixture(scope="module")
def channel(trio: Cluster) -> Iterator[grpc.Channel]:
    """To the first node."""
    with grpc.insecure_channel(trio.address(0)) as made:
        yield made


def test_puts_gets_and_deletes(stubs: Tuple[Any, Any], channel: grpc.Channel, trio: Cluster) -> None:
    kv, services = stubs
    stub = services.KVStub(channel)
    put = stub.Put(kv.PutRequest(key=b"grpc/k", value=b"text", flags=1, ttl_ms=60_000), timeout=10)
    got = stub.Get(kv.GetRequest(key=b"grpc/k"), timeout=10).entry
    assert (got.value, got.flags, got.version) == (b"text", 1, put.version)
    assert got.HasField("expires_ms")
    with trio.client(0) as client:
        assert client.get("grpc/k") == "text"
    assert stub.Delete(kv.DeleteRequest(key=b"grpc/k"), timeout=10).existed
    assert not stub.Get(kv.GetRequest(key=b"grpc/k"), timeout=10).HasField("entry")


def test_scans_page_by_page(stubs: Tuple[Any, Any], channel: grpc.Channel, trio: Cluster) -> None:
    kv, services = stubs
    with trio.client(0) as client:
        client.put_many({f"scan/{number:04}": number for number in range(2500)})
    pages = services.KVStub(channel).Scan(kv.ScanRequest(range=kv.Range(prefix=b"scan/"), page_size=1000), timeout=30)
    keys = [entry.key for page in pages for entry in page.entries]
    assert keys == [f"scan/{number:04}".encode() for number in range(2500)]


def test_a_pipeline_answers_each_operation_by_its_id(stubs: Tuple[Any, Any], channel: grpc.Channel) -> None:
    kv, services = stubs
    operations = [
        kv.Operation(id=10, put=kv.PutRequest(key=b"pipe/k", value=b"v")),
        kv.Operation(id=11, get=kv.GetRequest(key=b"")),
        kv.Operation(id=12, ping=kv.PingRequest()),
    ]
    answers = {}
    for response in services.KVStub(channel).Pipeline(iter([kv.PipelineRequest(operations=operations)]), timeout=10):
        answers.update({result.id: result for result in response.results})
    assert set(answers) == {10, 11, 12}
    assert answers[10].put.version > 0
    assert answers[11].failure.code == "KEY_EMPTY"
    assert answers[12].HasField("ping")


def test_an_error_carries_its_kind_and_code(stubs: Tuple[Any, Any], channel: grpc.Channel) -> None:
    kv, services = stubs
    with pytest.raises(grpc.RpcError) as caught:
        services.KVStub(channel).Put(kv.PutRequest(key=b"", value=b"v"), timeout=10)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    metadata = dict(error.trailing_metadata())
    assert metadata["kvstore-error-kind"] == "InvalidArgument"
    assert metadata["kvstore-error-code"] == "KEY_EMPTY"


def test_health_answers_serving(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "kvstore.v1.KV"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

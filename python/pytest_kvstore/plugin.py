"""Fixtures for tests of programs that use kvstore.

pytest loads this module in every run of an environment that has kvstore, so it imports nothing but pytest; kvstore is
loaded by the first fixture that is used. That is why it is no part of the package `kvstore`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List

import pytest

if TYPE_CHECKING:
    import kvstore
    from kvstore.testing import LocalCluster
    from kvstore.testing.shared import SharedCluster

_LOG_LINES = 50

_REPORTS: pytest.StashKey[List[Callable[[], str]]] = pytest.StashKey()
"""What can tell of the nodes that a test uses, should it fail."""

_MARKER = (
    "kvstore(nodes=3, data_dir=True, ...): what kvstore_cluster() makes for this test unless told otherwise, and that "
    "kvstore_client talks to such a cluster; takes what LocalCluster takes, and data_dir=True for a temporary directory"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("kvstore")
    group.addoption(
        "--kvstore-url",
        metavar="URL",
        help="run tests against this cluster: kvstore_client and kvstore_shared_cluster use it, tests that need to "
        "control nodes are skipped",
    )
    group.addoption(
        "--kvstore-log", action="store_true", help="nodes of the fixtures report on stderr what they do (see -s)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell of our marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to the report of a failed test how its nodes are, while they still are."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for tell in item.stash.get(_REPORTS, []):
            report.sections.append(("kvstore", tell()))


@pytest.fixture
def kvstore_node(request: pytest.FixtureRequest) -> Iterator[kvstore.Node]:
    """A node in this process that lives in memory."""
    _skip_elsewhere(request, "kvstore_node")
    from kvstore import Node  # noqa: PLC0415 - see above
    from kvstore.testing.inproc import Log  # noqa: PLC0415

    log, node = Log(), Node(**_log(request))

    def tell() -> str:
        last = log.lines()[-_LOG_LINES:]
        status = str(node.status()) if node.running else "it does not run"
        return "\n".join([repr(node), status, f"last lines of its log: {len(last)}", *last])

    request.node.stash.setdefault(_REPORTS, []).append(tell)
    node.start(wait="ready")
    yield node
    # There is nobody to hand anything over to.
    node._kill()  # noqa: SLF001


@pytest.fixture
def kvstore_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., LocalCluster]]:
    """Makes clusters: takes what LocalCluster takes, gives one that is started, and stops it after the test."""
    _skip_elsewhere(request, "kvstore_cluster")
    from kvstore.testing import LocalCluster  # noqa: PLC0415 - see above

    made: List[LocalCluster] = []

    def make(*nodes: int, **settings: Any) -> LocalCluster:
        settings = {**_log(request), **_marked(request), **settings}
        if nodes:
            settings["nodes"], *_ = nodes
        if settings.get("data_dir") is True:
            settings["data_dir"] = tmp_path_factory.mktemp("kvstore")
        cluster = LocalCluster(**settings)
        made.append(cluster)
        request.node.stash.setdefault(_REPORTS, []).append(lambda: cluster._report(_LOG_LINES))  # noqa: SLF001
        return cluster.start()

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture
def _kvstore_open(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of what this test talks to: takes the class `Client` or `AsyncClient`."""
    url = request.config.getoption("--kvstore-url")
    if url is None and "nodes" in _marked(request):
        cluster = request.getfixturevalue("kvstore_cluster")()
        # It knows what its nodes want to see.
        return lambda kind: cluster.client() if kind.__name__ == "Client" else cluster.async_client()
    target = request.getfixturevalue("kvstore_node").address if url is None else url
    return lambda kind: kind(target)


@pytest.fixture
def kvstore_client(_kvstore_open: Any) -> Iterator[kvstore.Client[Any]]:
    """A client of `kvstore_node`; of a cluster, if the marker says `nodes`; of what --kvstore-url names."""
    from kvstore import Client  # noqa: PLC0415 - see above

    with _kvstore_open(Client) as client:
        yield client


@pytest.fixture
def kvstore_async_client(_kvstore_open: Any) -> Iterator[kvstore.AsyncClient[Any]]:
    """As kvstore_client, for asyncio; whatever runs the loop."""
    from kvstore import AsyncClient  # noqa: PLC0415 - see above

    client: kvstore.AsyncClient[Any] = _kvstore_open(AsyncClient)
    yield client
    # What aclose() does; the loop may be gone by now.
    client._channel.close()  # noqa: SLF001


@pytest.fixture(scope="session")
def _kvstore_shared(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Made once a session: what to talk to, and what can tell of it."""
    url = request.config.getoption("--kvstore-url")
    if url is not None:
        yield url, None
        return
    from kvstore.testing import LocalCluster  # noqa: PLC0415 - see above

    with LocalCluster(3, **_log(request)) as cluster:
        yield cluster.addresses, lambda: cluster._report(_LOG_LINES)  # noqa: SLF001


@pytest.fixture
def kvstore_shared_cluster(request: pytest.FixtureRequest, _kvstore_shared: Any) -> Iterator[SharedCluster]:
    """A strong keyspace of this test's own, in a cluster of three nodes that is made once a session."""
    from kvstore.testing.shared import SharedCluster  # noqa: PLC0415 - see above

    target, tell = _kvstore_shared
    if tell is not None:
        request.node.stash.setdefault(_REPORTS, []).append(tell)
    shared = SharedCluster(target, f"test-{uuid.uuid4().hex}")
    yield shared
    shared._end()  # noqa: SLF001


def _marked(request: pytest.FixtureRequest) -> Dict[str, Any]:
    """What the markers of a test say, the nearest one first."""
    found: Dict[str, Any] = {}
    for marker in request.node.iter_markers("kvstore"):
        if marker.args:
            msg = "the marker kvstore takes names, as in kvstore(nodes=3)"
            raise pytest.UsageError(msg)
        for name, value in marker.kwargs.items():
            found.setdefault(name, value)
    return found


def _log(request: pytest.FixtureRequest) -> Dict[str, Any]:
    return {"log": "stderr"} if request.config.getoption("--kvstore-log") else {}


def _skip_elsewhere(request: pytest.FixtureRequest, name: str) -> None:
    if request.config.getoption("--kvstore-url") is not None:
        pytest.skip(f"{name} makes nodes of its own, and --kvstore-url says to use a cluster that is there")

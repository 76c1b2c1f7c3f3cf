"""ui: where the dashboard is, if the node serves one."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Iterator, List

import pytest

from kvstore.cli import ui
from kvstore.cli.app import program

from .conftest import runner

if TYPE_CHECKING:
    from .conftest import Run


class _Healthy(http.server.BaseHTTPRequestHandler):
    """What a node answers that serves HTTP."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    """The address of what answers as such a node."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_address_is_printed_where_there_is_no_display(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: List[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr(ui, "_has_display", lambda: False)
    assert runner().invoke(program, ["-s", served, "ui"]).stdout == f"http://{served}/\n"
    monkeypatch.setattr(ui, "_has_display", lambda: True)
    assert runner().invoke(program, ["-s", served, "ui", "--print"]).stdout == f"http://{served}/\n"
    assert opened == []
    assert runner().invoke(program, ["-s", served, "ui"]).stdout == ""
    assert opened == [f"http://{served}/"]


def test_a_node_without_http_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_serves_http", lambda *_, **__: False)
    assert "`http`" in run("ui", "--print", code=1).stderr


def test_nobody_is_no_node_without_http(free_address: str) -> None:
    result = runner().invoke(program, ["-s", free_address, "--timeout", "300ms", "ui"])
    assert result.exit_code in {3, 124}
    assert "HTTP" not in result.stderr

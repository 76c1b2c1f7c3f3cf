"""top as a screen with keys, without a terminal by textual's own pilot, and on one."""

from __future__ import annotations

import asyncio
import importlib
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

import kvstore
from kvstore.cli.rates import empty_record
from kvstore.cli.settings import Settings
from kvstore.cli.top import _COLUMNS, Watched
from kvstore.cli.top_looks import Looks, Seen
from kvstore.testing import LocalCluster

from .conftest import READ_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

pytest.importorskip("textual")
widgets = importlib.import_module("textual.widgets")
top_screen = importlib.import_module("kvstore.cli.top_screen")

SECONDS = 60.0
# What a command that hangs until its deadline would take.
TIMEOUT = 600.0


class Shown:
    """A screen that a pilot operates, and what it shows."""

    def __init__(self, screen: Any, pilot: Any) -> None:
        self.screen, self.pilot = screen, pilot

    @property
    def table(self) -> Any:
        return self.screen.query_one(widgets.DataTable)

    @property
    def titles(self) -> list[str]:
        return [str(column.label) for column in self.table.ordered_columns]

    def column(self, title: str) -> list[str]:
        number = [each.split(" ▼")[0].split(" ▲")[0] for each in self.titles].index(title)
        return [str(self.table.get_row_at(row)[number]) for row in range(self.table.row_count)]

    def text(self, name: str) -> str:
        area = self.screen.query_one(name)
        return "\n".join(area.render_line(number).text for number in range(area.size.height))

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.text("#title")
            await self.pilot.pause(0.01)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


def operate(server: str, use: Callable[[Shown], Any], interval: float = 0.1, **options: Any) -> Any:
    """Have a pilot use the screen of a node; the screen after its end."""
    count = options.pop("count", None)
    size = options.pop("size", (240, 30))
    settings = Settings(**{"server": server, "timeout": 3.0, **options})

    async def run(looks: Looks) -> Any:
        screen = top_screen._screen_of(settings, looks, _COLUMNS)
        async with screen.run_test(size=size) as pilot:
            await use(Shown(screen, pilot))
        return screen

    with settings.client() as client, Watched(settings, client) as watched, Looks(watched, interval, count) as looks:
        return asyncio.run(run(looks))


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes, of which the first has keys that the others have as well."""
    with LocalCluster(3).start(timeout=SECONDS) as made:
        yield made


def test_the_table_has_a_row_a_member_that_follows_it(db: kvstore.Node) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.column("NODE") == [db.id])
        assert shown.titles == [column.title for column in _COLUMNS]
        assert shown.column("ADDRESS") == [db.address]
        db.put_many({"a": 1, "b": 2})
        await shown.until(lambda: shown.column("KEYS") == ["2"])
        await shown.until(lambda: shown.column("KEYS/S") == ["+0"])
        assert "1 of 1 members answer  cluster " in shown.text("#title")
        assert f"leader {db.address}  every 0.1 s" in shown.text("#title")
        await shown.press("q")

    ended = operate(db.address, use)
    assert (ended.return_code, ended.error, ended.signal, ended.is_over) == (0, None, None, False)


def test_it_is_sorted_by_keys_and_by_a_click_at_a_head(cluster: LocalCluster) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: len(shown.column("ADDRESS")) == 3)
        await shown.press("s", "s")
        assert shown.titles[1] == "ADDRESS ▲"
        assert "by ADDRESS" in shown.text("#title")
        assert shown.column("ADDRESS") == sorted(cluster.addresses)
        await shown.press("r")
        assert shown.titles[1] == "ADDRESS ▼"
        assert shown.column("ADDRESS") == sorted(cluster.addresses, reverse=True)
        await shown.press("S", "S", "S")
        assert shown.titles[-1] == "UPTIME ▼"
        await shown.press("s")
        assert shown.titles == [column.title for column in _COLUMNS]
        await shown.pilot.click(widgets.DataTable, offset=(3, 0))
        await shown.until(lambda: shown.titles[0] == "NODE ▲")
        assert shown.column("NODE") == sorted(shown.column("NODE"))
        await shown.pilot.click(widgets.DataTable, offset=(3, 0))
        await shown.until(lambda: shown.titles[0] == "NODE ▼")

    operate(cluster.addresses[0], use)


def test_a_column_that_sorts_is_scrolled_to(cluster: LocalCluster) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: len(shown.column("ADDRESS")) == 3 and shown.table.allow_horizontal_scroll)
        await shown.press("S")
        await shown.until(lambda: shown.table.scroll_x == shown.table.max_scroll_x > 0)
        await shown.press("s")
        await shown.until(lambda: shown.table.scroll_x == 0)

    operate(cluster.addresses[0], use, size=(80, 24))


class NoLooks:
    """For screens that are told what there is to see."""

    interval, is_paused = 1.0, False

    def start(self, tell: Any) -> None:
        pass


def record(node: str, keys: Any) -> dict[str, Any]:
    of_node = {"node": node, "address": node, "answers": True, "problem": None, "uptime": 1.0, "role": None}
    return {**empty_record(), **of_node, "state": "ready", "keys": keys}


def test_figures_are_sorted_as_figures_and_rows_come_and_go() -> None:
    async def run() -> None:
        screen = top_screen._screen_of(Settings(), NoLooks(), _COLUMNS)
        async with screen.run_test(size=(240, 30)) as pilot:
            shown = Shown(screen, pilot)
            screen._take(Seen([record("a", 9), record("b", None), record("c", 10)]))
            assert shown.column("NODE") == ["a", "b", "c"]
            await shown.press(*["s"] * 5)
            assert shown.titles[4] == "KEYS ▼"
            assert shown.column("NODE") == ["c", "a", "b"]
            await shown.press("r")
            assert shown.column("NODE") == ["a", "c", "b"]
            screen._take(Seen([record("b", 5)]))
            assert (shown.column("NODE"), shown.column("KEYS")) == (["b"], ["5"])
            screen._take(Seen([record("b" * 30, 7), record("a", 1_000_000)]))
            await shown.press()
            assert (shown.column("NODE"), shown.column("KEYS")) == (["b" * 30, "a"], ["7", "1,000,000"])
            assert f"{'b' * 30}  {'b' * 30}  ready" in shown.table.render_line(1).text
            screen._take(Seen([record("b", 7)]))
            await shown.press()
            assert "b     b        ready" in shown.table.render_line(1).text

    asyncio.run(run())


def test_it_scrolls_where_members_are_more_than_lines(cluster: LocalCluster) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: len(shown.column("ADDRESS")) == 3)
        await shown.until(lambda: shown.table.allow_vertical_scroll and shown.table.max_scroll_y > 0)
        await shown.press("ctrl+end")
        await shown.until(lambda: shown.table.scroll_y == shown.table.max_scroll_y)
        place = shown.table.scroll_y
        seen = shown.screen.records
        await shown.until(lambda: shown.screen.records is not seen)
        await shown.press()
        assert shown.table.scroll_y == place

    operate(cluster.addresses[0], use, size=(240, 5))


def test_a_pause_stands_still(db: kvstore.Node) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.column("KEYS") == ["0"])
        await shown.press("p")
        assert "paused" in shown.text("#title")
        # A look that was over by then may still be told; it knows nothing of this.
        db["k"] = "v"
        for _ in range(20):
            await shown.pilot.pause(0.01)
        assert shown.column("KEYS") == ["0"]
        await shown.press("p")
        await shown.until(lambda: shown.column("KEYS") == ["1"])
        assert "paused" not in shown.text("#title")

    operate(db.address, use)


def test_the_interval_is_changed_also_while_it_is_waited_for(db: kvstore.Node) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.column("KEYS/S") == ["-"])
        await shown.press("plus")
        assert "every 60 s" in shown.text("#title")
        await shown.press("plus")
        assert "every 60 s" in shown.text("#title")
        await shown.press(*["minus"] * 8)
        assert "every 0.1 s" in shown.text("#title")
        await shown.until(lambda: shown.column("KEYS/S") == ["+0"])

    operate(db.address, use, interval=40.0)


def test_it_ends_after_so_many_looks(db: kvstore.Node) -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.screen.is_over)

    assert operate(db.address, use, count=2).error is None


def test_nobody_there_is_the_error_that_ends_it() -> None:
    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.screen.error is not None)

    ended = operate("127.0.0.1:1", use, timeout=0.3)
    assert isinstance(ended.error, kvstore.UnavailableError)


def test_an_error_later_is_shown_and_it_goes_on(db: kvstore.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Watched.again
    failing = True

    def fail(watched: Watched) -> Any:
        if failing:
            msg = "the [token] is no longer valid"
            raise kvstore.KVError(msg)
        return again(watched)

    monkeypatch.setattr(Watched, "again", fail)

    async def use(shown: Shown) -> None:
        nonlocal failing
        await shown.until(lambda: "the [token] is no longer valid" in shown.text("#notes"))
        assert shown.column("ADDRESS") == [db.address]
        failing = False
        await shown.until(lambda: shown.text("#notes").strip() == "")

    operate(db.address, use)


def test_a_bug_in_a_look_ends_it(db: kvstore.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "again", lambda _: {}["bug"])

    async def use(shown: Shown) -> None:
        await shown.until(lambda: shown.screen.error is not None)

    assert isinstance(operate(db.address, use).error, KeyError)


def test_a_member_that_does_not_answer_says_so_and_holds_up_no_key() -> None:
    with LocalCluster(2).start(timeout=SECONDS) as cluster:
        first, second = cluster.addresses

        async def use(shown: Shown) -> None:
            await shown.until(lambda: len(shown.column("ADDRESS")) == 2)
            cluster.kill(1)
            await shown.until(lambda: "no answer" in shown.column("STATE"))
            row = shown.column("ADDRESS").index(second)
            assert (shown.column("STATE")[row], shown.column("KEYS")[row]) == ("no answer", "-")
            assert "1 of 2 members answer" in shown.text("#title")
            assert f"{second}: " in shown.text("#notes")

        operate(first, use, timeout=1.0)


@contextmanager
def silence() -> Iterator[str]:
    """The address of one who takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield "{}:{}".format(*listener.getsockname())


def test_a_look_that_hangs_holds_up_neither_a_key_nor_the_end() -> None:
    async def use(shown: Shown) -> None:
        await shown.press("s")
        assert "asking the members  every 0.1 s  by NODE" in shown.text("#title")
        await shown.press("q")

    with silence() as server:
        began = time.monotonic()
        assert operate(server, use, timeout=TIMEOUT).error is None
    assert time.monotonic() - began < SECONDS


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.shown = ""
        command = [sys.executable, "-m", "kvstore", *arguments]
        env = {**os.environ, "COLUMNS": "120", "LINES": "24", "TERM": "xterm-256color", **env}
        ends = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}
        self.process = subprocess.Popen(command, env=env, **ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.theirs)
        os.close(self.ours)

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.before

    def until(self, wanted: str) -> str:
        """What it shows until that is there; if it never is, pytest ends the test."""
        while wanted not in self.shown:
            self.shown += os.read(self.ours, READ_BYTES).decode("ascii", "replace")
        before, _, self.shown = self.shown.partition(wanted)
        return before

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)


LEFT = "\x1b[?1049l"
COLORS = ("\x1b[38;", ";38;", ";48;")


@pytest.mark.parametrize(
    ("end", "code"),
    [(b"q", 0), (b"\x03", 130), (signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)],
    ids=["q", "ctrl-c", "SIGINT", "SIGTERM"],
)
def test_a_key_or_a_signal_ends_it_and_the_terminal_is_as_before(db: kvstore.Node, end: Any, code: int) -> None:
    with Terminal("-s", db.address, "top") as terminal:
        assert any(color in terminal.until(db.id) for color in COLORS)
        assert not terminal.is_as_before
        if isinstance(end, bytes):
            terminal.press(end)
        else:
            terminal.process.send_signal(end)
        terminal.until(LEFT)
        assert terminal.process.wait(SECONDS) == code
        assert terminal.is_as_before


@pytest.mark.parametrize(("flags", "env"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_colours_are_left_out_when_unwanted(db: kvstore.Node, flags: list[str], env: dict[str, str]) -> None:
    with Terminal("-s", db.address, *flags, "top", **env) as terminal:
        shown = terminal.until(db.id)
        terminal.press(b"q")
        shown += terminal.until(LEFT)
        assert terminal.process.wait(SECONDS) == 0
    assert not any(color in shown for color in COLORS)


def test_the_last_of_so_many_looks_stays_on_the_terminal(db: kvstore.Node) -> None:
    with Terminal("-s", db.address, "top", "--interval", "20ms", "--count", "2") as terminal:
        for wanted in (LEFT, "1 of 1 members answer", db.id):
            terminal.until(wanted)
        assert terminal.process.wait(SECONDS) == 0


def test_nobody_there_is_exit_3_after_the_screen() -> None:
    with Terminal("-s", "127.0.0.1:1", "--timeout", "300ms", "top") as terminal:
        terminal.until(LEFT)
        terminal.until("kvstore: no node could be reached")
        assert terminal.process.wait(SECONDS) == 3
        assert terminal.is_as_before


def test_without_textual_it_is_redrawn(db: kvstore.Node, tmp_path: Path) -> None:
    (tmp_path / "textual.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with Terminal("-s", db.address, "top", "--interval", "20ms", "--count", "2", PYTHONPATH=path) as terminal:
        shown = terminal.until("\x1b[H\x1b[J") + terminal.until(db.id)
        assert terminal.process.wait(SECONDS) == 0
    assert "\x1b[?1049h" not in shown

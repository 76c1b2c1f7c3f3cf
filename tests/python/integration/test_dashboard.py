"""The dashboard in a real browser, where there is one: what people see, and that no key becomes a part of the page."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Callable, Iterator, List

import pytest

from kvstore import Node

from .browser import FOUND, IS_WANTED, Browser
from .harness import eventually
from .web import HOST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not IS_WANTED, reason="`make dashboard` runs it"),
    pytest.mark.skipif(FOUND is None, reason="there is no Chromium"),
]

# A browser on a busy machine is slow; nobody waits this long for a good one.
PATIENCE = 60.0
TAB = ("Tab", 9)
ENTER = ("Enter", 13, "\r")
HOSTILE = [
    "<script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "\"'><b>bold</b>",
    "javascript:document.title='taken'",
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as found:
        yield found
        assert found.complaints == []


def shows(browser: Browser, *texts: str, where: str = "body") -> None:
    """Wait until the page shows all of these."""

    def is_there() -> bool:
        page = browser.text(where)
        return all(text in page for text in texts)

    eventually(is_there, f"the page shows {texts}", PATIENCE)


def buttons(browser: Browser) -> List[str]:
    found = browser.run("[...document.querySelectorAll('button.link')].map((each) => each.textContent)")
    return [str(each) for each in found]


def walk_to(browser: Browser, is_there: Callable[[], bool]) -> None:
    """Go on with the keyboard alone until something has the focus."""
    for _ in range(40):
        if is_there():
            return
        browser.press(*TAB)
    pytest.fail("it is not reached by the keyboard")


def focused(browser: Browser) -> str:
    return str(browser.run("document.activeElement.textContent"))


def test_each_view_shows_the_node(browser: Browser) -> None:
    with Node(http=True).start(wait="ready") as node:
        node.put("user:1:name", "Ada")
        page = f"http://{HOST}:{node.port}/"
        browser.open(page)
        shows(browser, "all is well", node.id, node.address, "leader", "Read-only")
        browser.open(f"{page}#keys")
        eventually(lambda: buttons(browser) == ["user:"], "the folder is there", PATIENCE)
        browser.open(f"{page}#node")
        shows(browser, "group.term", "uptime_seconds", node.id)
        browser.dark()
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    shows(browser, "no answer", where="#state")
    # What the browser itself says of a node that is gone.
    browser.complaints.clear()


def test_keys_are_text_wherever_they_are_shown(browser: Browser) -> None:
    with Node(http=True).start(wait="ready") as node:
        for key in HOSTILE:
            node.put(f"h\u20ac{key}", key)
        node.put(b"\xff\xfe", 1)
        browser.open(f"http://{HOST}:{node.port}/#keys")
        # Those with a delimiter are folders.
        names = [f"h\u20ac{key}" for key in HOSTILE]
        expected = {
            name[: min(name.index(mark) + 1 for mark in ":/" if mark in name)] if set(":/") & set(name) else name
            for name in names
        }
        eventually(lambda: set(buttons(browser)) == expected | {"\ufffd\ufffd"}, "all are there", PATIENCE)
        for name in sorted(set(names) & expected):
            number = buttons(browser).index(name)
            browser.run(f"document.querySelectorAll('button.link')[{number}].click()")
            shows(browser, name.replace("h\u20ac", "", 1), where="pre")
        browser.open(f"http://{HOST}:{node.port}/#live")
        shows(browser, "nothing is watched")
        browser.run("document.querySelector('form button').click()")

        def is_told() -> bool:
            for key in HOSTILE:
                node.put(f"h\u20ac{key}", key)
            page = browser.text("table")
            return all(key in page for key in HOSTILE)

        eventually(is_told, "all events are there", PATIENCE)
        assert browser.run("document.title") == "kvstore"
        assert browser.run("document.querySelectorAll('main img, main script, main b').length") == 0


def test_a_key_is_found_with_the_keyboard_alone(browser: Browser) -> None:
    with Node(http=True).start(wait="ready") as node:
        node.put("folder/key", {"found": True})
        browser.open(f"http://{HOST}:{node.port}/")
        shows(browser, "all is well")
        walk_to(browser, lambda: focused(browser) == "Keys")
        browser.press(*ENTER)
        eventually(lambda: buttons(browser) == ["folder/"], "the view is there", PATIENCE)
        walk_to(browser, lambda: focused(browser) == "folder/")
        browser.press(*ENTER)
        eventually(lambda: buttons(browser) == ["folder/key"], "the folder is open", PATIENCE)
        browser.run("document.querySelector('main').focus()")
        walk_to(browser, lambda: focused(browser) == "folder/key")
        browser.press(*ENTER)
        shows(browser, '"found": true', where="pre")


def test_the_token_is_asked_for_and_not_kept(browser: Browser) -> None:
    with Node(http=True, token="sesame-4711").start(wait="ready") as node:
        browser.open(f"http://{HOST}:{node.port}/")
        shows(browser, "the node wants its token", where="#state")
        for token, answer in (("wrong", "not that of the cluster"), ("sesame-4711", "all is well")):
            eventually(lambda: browser.run("document.activeElement.type") == "password", "the field is there", PATIENCE)
            browser.write(token)
            browser.press(*ENTER)
            shows(browser, answer, where="#state")
        shows(browser, node.id)
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        assert "sesame" not in str(browser.run(kept))
        with contextlib.suppress(AssertionError):
            browser.run("location.reload()")
        shows(browser, "the node wants its token", where="#state")
        # Refusals are told on the console by the browser itself.
        browser.complaints[:] = [each for each in browser.complaints if "401" not in each]

"""The code of a page of the documentation, in its order, and what its comments say of it.

A page is Markdown. Its fenced blocks are `python` or `console`, which are run, or `text`, `json` and `toml`, which are
not. HTML comments, which no reader sees, say what is special about the next block:

    <!-- snippet: skip: REASON -->          it is not run
    <!-- snippet: background -->            commands that run until the page ends, as in other terminals; what they
                                            print at first is waited for, so let them print something
    <!-- snippet: output -->                a text: what the Python block before it printed
    <!-- snippet: background output -->     a text: what the command in the background prints next
    <!-- snippet: pytest -->                part of a module of tests, which pytest runs at the end of the page
    <!-- snippet: file NAME -->             a file, of any kind, in the directory where the page is run
    <!-- snippet: hidden                    Python that is run here, and that the page does not show;
    CODE                                    `hidden pytest` and `hidden file NAME` are the same for those
    -->
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, NamedTuple, NoReturn

if TYPE_CHECKING:
    import pathlib

RUN = ("python", "console")
TEXTS = ("text", "json", "toml")

_PLAIN = ("background", "output", "background output", "pytest")
_FENCE = re.compile(r"^\s*```")
_COMMENT = re.compile(r"^<!-- snippet: (.*?)(-->)?$")


class Block(NamedTuple):
    """A piece of a page."""

    language: str
    how: str
    """What its comment says, without `hidden`; empty when there is none."""
    line: int
    """Where its first line is on the page, counted from one."""
    lines: List[str]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines) + "\n"


def blocks_of(page: pathlib.Path) -> List[Block]:
    """All blocks of a page.

    Raises:
        ValueError: A comment or a fence that is none; it names the place.
    """
    return _Page(page).blocks


class _Page:
    """Reads a page from its first line to its last."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lines = path.read_text("utf-8").splitlines()
        self._at = 0
        self._how = ""
        self.blocks: List[Block] = []
        while self._at < len(self._lines):
            self._read()
        if self._how:
            self._fail("a comment without a block")

    def _read(self) -> None:
        line = self._lines[self._at]
        comment = _COMMENT.match(line)
        if comment:
            self._read_comment(comment.group(1).strip(), closed=bool(comment.group(2)))
        elif _FENCE.match(line):
            self._read_fence(line)
        elif line.startswith("<!-- snippet"):
            self._fail("a comment that is not understood")
        elif self._how and line.strip():
            self._fail("a comment that is not right before a block")
        self._at += 1

    def _read_comment(self, words: str, *, closed: bool) -> None:
        hidden = words.split(" ", 1)[0] == "hidden"
        how = words[len("hidden") :].strip() if hidden else words
        is_file = how.startswith("file ") and len(how.split()) == 2
        is_known = how in _PLAIN or is_file or (how.startswith("skip: ") and len(how.split()) > 2)
        if hidden == closed or self._how or not (is_known or (hidden and not how)):
            self._fail("a comment that is not understood")
        if hidden:
            self._take("python", how, "-->")
        else:
            self._how = how

    def _read_fence(self, line: str) -> None:
        language = line[len("```") :]
        if not line.startswith("```") or language not in (*RUN, *TEXTS):
            self._fail(f"a block is one of {', '.join((*RUN, *TEXTS))}, and begins its line")
        how, self._how = self._how, ""
        self._take(language, how, "```")

    def _take(self, language: str, how: str, end: str) -> None:
        first = self._at + 1
        if end not in self._lines[first:]:
            self._fail("it does not end")
        self._at = self._lines.index(end, first)
        self.blocks.append(Block(language, how, first + 1, self._lines[first : self._at]))

    def _fail(self, what: str) -> NoReturn:
        msg = f"{self._path}:{self._at + 1}: {what}"
        raise ValueError(msg)

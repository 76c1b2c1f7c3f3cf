"""A headless Chromium, spoken to by its own protocol over two pipes: no driver and no further package is needed."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Dict, List, Optional

from .harness import DEADLINE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Type

    from typing_extensions import Self

FOUND: Optional[str] = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Three Pythons that start browsers side by side leave nothing else its time.
IS_WANTED = os.environ.get("KVSTORE_BROWSER") == "1"
# A browser that starts on a busy machine takes its time.
START_SECONDS = 60.0
# The browser reads from descriptor 3 and writes to 4, whatever numbers the pipes have had.
_EXEC = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a browser that is gone at the end of the `with` block."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._next = 0
        self._session: Optional[str] = None
        self._buffer = b""
        self.complaints: List[str] = []
        """What the page wrote to its console as an error, and exceptions that nobody caught."""

    def __enter__(self) -> Self:
        assert FOUND is not None
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={self._home}", "about:blank"]
        self._log: IO[bytes] = (self._home / "log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(theirs_in), str(theirs_out), FOUND, *flags],
            pass_fds=[theirs_in, theirs_out],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        target = self._call("Target.createTarget", url="about:blank", timeout=START_SECONDS)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_SECONDS)
        os.close(self._in)
        os.close(self._out)
        self._log.close()

    def open(self, url: str) -> None:
        """Begin to load a page."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What a reader sees of the first element, or nothing."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key goes down and up."""
        details = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **details)
        self._call("Input.dispatchKeyEvent", type="keyUp", **details)

    def write(self, text: str) -> None:
        """Put text into the field that has the focus."""
        self._call("Input.insertText", text=text)

    def dark(self) -> None:
        """From now on the user prefers a dark page."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def _call(self, method: str, timeout: float = DEADLINE_SECONDS, **parameters: Any) -> Dict[str, Any]:
        self._next += 1
        message: Dict[str, Any] = {"id": self._next, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._next:
                assert "error" not in answer, answer
                result: Dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _read(self, deadline: float) -> Dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._in, 65536)
            assert piece, (self._home / "log").read_text(errors="replace")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: Dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: Dict[str, Any]) -> None:
        details = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.complaints.append(str(details["entry"]["text"]))

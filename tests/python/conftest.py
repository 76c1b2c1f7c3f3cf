"""What holds for all Python tests."""

from __future__ import annotations

import os
import threading
import time
from typing import Callable, Iterator

import pytest

from kvstore.testing.ports import reserve


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's KVSTORE_URL must not decide what the tests talk to."""
    for name in list(os.environ):
        if name.startswith("KVSTORE_") and not name.startswith(
            ("KVSTORE_CHURN_", "KVSTORE_CHAOS_", "KVSTORE_KILL_", "KVSTORE_POWER_", "KVSTORE_STRONG_")
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition; fail after a minute, which only a hang reaches."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            pause.wait(0.005)

    return wait


@pytest.fixture
def free_address() -> Iterator[str]:
    """Where nobody listens, nor will during the test."""
    guard, port = reserve("127.0.0.1")
    with guard:
        yield f"127.0.0.1:{port}"

"""Only a test that was kept from running gets another try."""

from __future__ import annotations

import threading

import pytest

from . import clocks


def test_a_failure_counts_unless_the_test_was_kept_from_running() -> None:
    clock, tries = clocks.RealClock(), []

    def fail() -> None:
        tries.append("quick")
        clock.sleep(clocks.BUSY_SECONDS + 0.1)
        raise AssertionError

    with pytest.raises(AssertionError):
        clocks.patiently(clock, fail, tries.clear)
    assert tries == ["quick"]

    def fail_once() -> None:
        tries.append("slow")
        if len(tries) == 2:
            threading.Event().wait(clocks.BUSY_SECONDS + 0.05)
            raise AssertionError

    clocks.patiently(clock, fail_once, lambda: tries.append("reset"))
    assert tries == ["quick", "slow", "reset", "slow"]


def test_a_test_that_is_always_kept_from_running_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "BUSY_SECONDS", 0)
    tries = []

    def fail() -> None:
        tries.append(1)
        raise AssertionError

    with pytest.raises(AssertionError):
        clocks.patiently(clocks.RealClock(), fail, int)
    assert len(tries) == 5

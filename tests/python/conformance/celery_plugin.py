"""Loaded into a run of Celery's own tests: has them make our backend where they make one over a dict."""

from __future__ import annotations

import os
from typing import Any

import pytest

from kvstore.contrib.celery import KVStoreBackend


def make(app: Any, **arguments: Any) -> KVStoreBackend:
    return KVStoreBackend(app, url=os.environ["TARGET_OF_THE_TEST"], **arguments)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.module.KVBackend = make  # type: ignore[attr-defined]

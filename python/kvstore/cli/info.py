"""What this software is."""

from __future__ import annotations

import platform

import kvstore

from .output import print_record
from .settings import LocalVerb, Settings, verb


@verb(cls=LocalVerb)
def version(settings: Settings) -> None:
    """Print the version of kvstore and of the Python it runs on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    record = {"version": kvstore.__version__, "python": python, "platform": platform.platform()}
    print_record(settings, record, f"kvstore {kvstore.__version__} ({python})")

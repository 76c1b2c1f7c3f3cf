"""Unary Get at 64 connections against an empty handler: the Rust benchmark `unary`, whose result joins the table."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import List

from measure import Row, absent

WORK = "unary gRPC get, 64 connections"
AGAINST = "empty tonic handler"
TARGET = 0.9


def run(_rounds: int) -> List[Row]:
    """Runs it; it takes its own medians."""
    if shutil.which("cargo") is None:
        return absent(WORK, AGAINST, f">= {TARGET:g}", "no cargo on the PATH")
    command = ["cargo", "bench", "--bench", "unary", "--", "--json"]
    ended = subprocess.run(
        command, cwd=Path(__file__).resolve().parents[1], stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(next(line for line in reversed(ended.stdout.splitlines()) if line.startswith("{")))
    ratio = float(result["ratio"])
    return [
        Row(
            WORK,
            AGAINST,
            float(result["ours_per_second"]),
            float(result["empty_per_second"]),
            "/s",
            ratio,
            f">= {TARGET:g}",
            ratio >= TARGET,
            "client and servers in one process",
        )
    ]

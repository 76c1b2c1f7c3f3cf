"""How the benchmarks measure: rounds of ours and theirs in turn, medians, and rows for the table."""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence


class Row(NamedTuple):
    """One comparison. `ratio` is how much better ours is (above 1) or worse; None where there is nothing to compare."""

    work: str
    against: str
    ours: float
    theirs: Optional[float]
    unit: str
    ratio: Optional[float]
    target: str
    met: Optional[bool]
    note: str = ""


def compare(
    work: str, against: str, ours: Sequence[float], theirs: Sequence[float], *, unit: str, target: float
) -> Row:
    """A row from the rounds of both: operations a second, medians, and the median of the rounds' ratios.

    Args:
        work: What was done.
        against: What ours is compared with.
        ours: A figure a round; more is better.
        theirs: The figures of the same rounds.
        unit: Of the figures.
        target: The least ratio that is wanted.

    Returns:
        The row.
    """
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs))
    return Row(
        work,
        against,
        statistics.median(ours),
        statistics.median(theirs),
        unit,
        ratio,
        f">= {target:g}",
        ratio >= target,
        f"ratios {min(map(_ratio, zip(ours, theirs))):.2f}-{max(map(_ratio, zip(ours, theirs))):.2f}",
    )


def _ratio(pair: Sequence[float]) -> float:
    return pair[0] / pair[1]


def rate_of(function: Callable[[int], None], count: int) -> float:
    """Operations a second of a function that does `count` of them."""
    began = time.perf_counter()
    function(count)
    return count / (time.perf_counter() - began)


def machine() -> Dict[str, Any]:
    """What it was measured on."""
    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = f"{len(models)} x {models[0]}" if models else cpu
    return {"cpu": cpu, "system": platform.platform(), "python": platform.python_version()}


def markdown(rows: Sequence[Row], about: Dict[str, Any]) -> str:
    """The table, with the machine below it."""
    lines = ["| work | against | ours | theirs | ratio | target | met | note |", "|---|---|---:|---:|---:|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: "not measured"}[row.met]
        lines.append(
            f"| {row.work} | {row.against} | {_figure(row.ours, row.unit)} | {_figure(row.theirs, row.unit)} "
            f"| {'' if row.ratio is None else format(row.ratio, '.2f')} | {row.target} | {met} | {row.note} |"
        )
    return "\n".join([*lines, "", ", ".join(f"{name}: {value}" for name, value in about.items()), ""])


def as_json(rows: Sequence[Row], about: Dict[str, Any]) -> str:
    """The same for programs."""
    return json.dumps({"schema": 1, "machine": about, "rows": [row._asdict() for row in rows]}, indent=1) + "\n"


def _figure(value: Optional[float], unit: str) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN: could not be measured
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def absent(work: str, against: str, target: str, why: str) -> List[Row]:
    """A row for what could not be measured here, which says why."""
    return [Row(work, against, float("nan"), None, "", None, target, None, why)]

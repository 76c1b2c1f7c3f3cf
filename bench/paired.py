"""Two builds of kvstore against each other, in-process gets and puts: `python bench/paired.py BASE_PYTHON NEW_PYTHON`.

Each argument is an interpreter that has one of the builds installed. A round runs base, new, new, base: what changes
slowly, and what the first of two leaves behind, hits both alike. The figure is the median of the ratios. Exits with 1
when the new build is slower by more than `--slower-max`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import in_process

IN_CHILD = "--rates"
WORKS = ("get", "put", "replicated put")


def main() -> int:
    """Run the rounds and print one line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slower-max", type=float, default=0.10)
    chosen = parser.parse_args()
    ratios: Dict[str, List[float]] = {work: [] for work in WORKS}
    for _ in range(chosen.rounds):
        first, *both, last = (_rates(python) for python in (chosen.base, chosen.new, chosen.new, chosen.base))
        for work in WORKS:
            ratios[work].append(sum(new[work] for new in both) / (first[work] + last[work]))
        print({work: round(ratios[work][-1], 3) for work in WORKS}, file=sys.stderr, flush=True)
    is_slower = False
    for work in WORKS:
        median = statistics.median(ratios[work])
        is_slower |= median < 1 - chosen.slower_max
        print(f"in-process {work}: {median:.2f} of the base ({min(ratios[work]):.2f} to {max(ratios[work]):.2f})")
    return int(is_slower)


def _rates(python: str) -> Dict[str, float]:
    """Calls a second, measured by another interpreter."""
    command = [python, str(Path(__file__).resolve()), IN_CHILD]
    rates: Dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return rates


if __name__ == "__main__":
    if sys.argv[1:] == [IN_CHILD]:
        print(json.dumps(in_process.rates()))
        sys.exit()
    sys.exit(main())

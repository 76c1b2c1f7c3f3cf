"""All side-by-side benchmarks: `python bench/run.py [--markdown FILE.md] [--json FILE.json] [--only in_process ...]`.

Ratios are taken within one run on one machine, from interleaved rounds; figures are medians. Install the package from a
release build first, and leave the machine alone meanwhile. A target that is missed is shown, never hidden.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import clients
import in_process
import lag
import unary
from measure import as_json, machine, markdown

PARTS = {"in_process": in_process.run, "clients": clients.run, "lag": lag.run, "unary": unary.run}


def main() -> int:
    """Run the parts and print the table; 1 when a target was missed or could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    chosen = parser.parse_args()
    rows = []
    for name in chosen.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += PARTS[name](chosen.rounds)
    about = {**machine(), "rounds": chosen.rounds}
    print(markdown(rows, about))
    if chosen.markdown:
        chosen.markdown.write_text(markdown(rows, about), encoding="utf-8")
    if chosen.json:
        chosen.json.write_text(as_json(rows, about), encoding="utf-8")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Interlock and plain rpm, the same packages on fresh snapshots, in turn, in one run: ratios, latency, memory, storm.

Writes docs/bench.md and docs/bench.svg. Ratios are of medians of one run; nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchhost import load_average, machine_facts, make_lab
from interlock.lab.hosts import Lab
from latency import measure_latency
from plot import draw
from ratios import SETS, measure_all
from report import write_report
from storms import measure_storms

DOCS = Path(__file__).resolve().parents[1] / "docs"
PARTS = ("ratios", "latency", "storm")


def main() -> int:
    options = _options()
    results = json.loads(options.again.read_text()) if options.again else _measure(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_report(options.out, results))
    draw(options.out / "bench.svg", results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="bench of upgrades; writes docs/bench.md and docs/bench.svg")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tool, for each package set")
    parser.add_argument("--queries", type=int, default=1000, help="reader's queries during upgrades")
    parser.add_argument("--storm", type=int, default=50, help="transactions in the storm, by each tool")
    parser.add_argument("--seed", type=int, default=1, help="order in which the package sets come")
    parser.add_argument("--nice", type=int, default=0, help="niceness that `interlock update` gives rpm")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this part (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    parser.add_argument("--again", type=Path, metavar="FILE", help="measure nothing: report what --json wrote")
    parser.add_argument("--out", type=Path, default=DOCS, help="where the report goes")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Mapping[str, Any]:
    words = ["--nice", str(options.nice)] if options.nice else []
    chosen = options.only or PARTS
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as work:
        lab = make_lab(Path(work))
        results: dict[str, Any] = {
            "command": _command(options), "nice": options.nice, "rounds": options.rounds, "seed": options.seed,
            "machine": machine_facts(lab), "load": [load_average()],
        }  # fmt: skip
        if "ratios" in chosen:
            results["ratios"] = _ratios(lab, options, words)
        if "latency" in chosen:
            results["latency"] = measure_latency(lab, options.queries, words)
        if "storm" in chosen:
            results["storm"] = measure_storms(lab, options.storm)
    results["load"].append(load_average())
    results["minutes"] = round((time.monotonic() - begun) / 60, 1)
    return results


def _ratios(lab: Lab, options: argparse.Namespace, words: Sequence[str]) -> list[dict[str, Any]]:
    order = [one.depot for one in SETS]
    sets = random.Random(options.seed).sample(SETS, len(SETS))
    return sorted(measure_all(lab, options.rounds, sets, words), key=lambda row: order.index(row["depot"]))


def _command(options: argparse.Namespace) -> str:
    words = [f"--{name}={getattr(options, name)}" for name in ("rounds", "queries", "storm", "seed", "nice")]
    return " ".join(["bench/upgrade.py", *words, *(f"--only={part}" for part in options.only or ())])


if __name__ == "__main__":
    sys.exit(main())

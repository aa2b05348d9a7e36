"""How long a reader's queries take before, during and after a whole-system upgrade, by Interlock and by plain rpm.

Each round is a fresh host of `current` with the reader, which is never killed. Before: IDLE_SECONDS of that host with
nothing else to do, which is what "idle" means in the report. During: every query that was under way at any instant of
the upgrade. After: IDLE_SECONDS from a moment after its end, with the new system's rpm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchhost import Timed, fresh_host, plain_command, say, timed, update_command
from interlock.lab.evidence import Query, reader_queries
from interlock.lab.hosts import Lab
from measure import Watch, rank

DEPOT = "current-next"
PHASES = ("before", "during", "after")
IDLE_SECONDS = 12.0
# Services that the new packages restarted come to rest.
REST_SECONDS = 1.0
LARGEST_ROUNDS = 16


@dataclass
class Readings:
    """One tool's queries by phase, the seconds of its upgrades, and the memory of its processes."""

    tool: str
    queries: dict[str, list[Query]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    upgrades: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        rows = {phase: summary(found) for phase, found in self.queries.items()}
        ratio = rows["during"]["p99"] / rows["before"]["p99"] if rows["before"]["p99"] else 0.0
        return {
            "tool": self.tool, "phases": rows, "p99_ratio": ratio, "upgrades": self.upgrades, "foreign": self.foreign,
            "peaks": self.peaks, "seconds": {phase: _times(found) for phase, found in self.queries.items()},
        }  # fmt: skip


def summary(queries: Sequence[Query]) -> dict[str, Any]:
    """Return number, failures, and percentiles in seconds."""
    times = _times(queries)
    return {
        "queries": len(times), "failed": sum(not one.answered for one in queries), "p50": rank(times, 0.50),
        "p90": rank(times, 0.90), "p99": rank(times, 0.99), "max": times[-1] if times else 0.0,
    }  # fmt: skip


def _times(queries: Sequence[Query]) -> list[float]:
    return sorted(one.seconds for one in queries)


def measure_latency(lab: Lab, wanted: int, options: Sequence[str]) -> list[dict[str, Any]]:
    """Upgrade fresh hosts, by each tool in turn, until ``wanted`` queries fell into upgrades by Interlock."""
    ours, theirs = Readings("interlock"), Readings("plain")
    for number in range(LARGEST_ROUNDS):
        for one in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            _round(lab, one, options)
        count = len(ours.queries["during"])
        say(f"reader: round {number + 1}: {count} queries during upgrades by Interlock")
        if count >= wanted:
            break
    return [ours.to_json(), theirs.to_json()]


def _round(lab: Lab, found: Readings, options: Sequence[str]) -> None:
    command = update_command(DEPOT, options) if found.tool == "interlock" else plain_command(DEPOT)
    with fresh_host(lab, "current", "reader") as host:
        quiet = time.time()
        time.sleep(IDLE_SECONDS)
        with Watch(host) as watch:
            run = timed(host, command)
        if run.status != 0:
            raise SystemExit(f"`{command}` ended with {run.status}: {run.said}")
        time.sleep(REST_SECONDS + IDLE_SECONDS)
        after = run.end + REST_SECONDS
        edges = {"before": (quiet, run.begin), "during": (run.begin, run.end), "after": (after, after + IDLE_SECONDS)}
        for phase, (begin, end) in edges.items():
            found.queries[phase] += reader_queries(host, begin, end)
    _note(found, run, watch.peaks)


def _note(found: Readings, run: Timed, peaks: Mapping[str, float]) -> None:
    found.upgrades.append(round(run.seconds, 3))
    found.foreign.append(run.foreign)
    for role, peak in peaks.items():
        found.peaks[role] = max(found.peaks.get(role, 0.0), round(peak, 1))

"""Upgrade after upgrade on Berkeley DB while the storm runs: how many come through, by Interlock and by plain rpm."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Optional

from benchhost import fresh_host, plain_command, say, timed, update_command
from interlock.lab import evidence, verbs
from interlock.lab.evidence import DatabaseState
from interlock.lab.handle import HostHandle, first_error
from interlock.lab.hosts import Lab

FIRST = 2
TOOL = "lab-tool-"
COMMITTED = "committed"
GUARDED_LIMIT = 120.0
PLAIN_LIMIT = 20.0
# A wedged rpm costs its whole limit, so plain rpm's series would take far longer than Interlock's.
PLAIN_SECONDS = 180.0


@dataclass
class Series:
    """What came of the transactions of one tool, in order."""

    tool: str
    asked: int
    outcomes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    hosts: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        late = self.tool == "plain" and time.monotonic() - self.began > PLAIN_SECONDS
        return late or len(self.outcomes) >= self.asked

    def to_json(self) -> dict[str, Any]:
        counted = Counter(self.outcomes)
        return {
            "tool": self.tool, "asked": self.asked, "tried": len(self.outcomes), "outcomes": dict(counted),
            "committed": counted[COMMITTED], "reasons": self.reasons, "hosts": self.hosts,
            "seconds": round(time.monotonic() - self.began, 1),
        }  # fmt: skip


def measure_storms(lab: Lab, number: int) -> list[dict[str, Any]]:
    """Run ``number`` transactions by each tool; a host on which one did not come through is replaced."""
    verbs.depot_paths(lab, f"classic-updates-{FIRST}..{FIRST + number - 1}")
    return [_series(lab, Series(tool, number)) for tool in ("interlock", "plain")]


def _series(lab: Lab, series: Series) -> dict[str, Any]:
    series.began = time.monotonic()
    while not series.over:
        series.hosts += 1
        with fresh_host(lab, "classic", "storm") as host:
            while not series.over:
                _transaction(host, series)
                say(f"storm, {series.tool}: {len(series.outcomes)}/{series.asked} {series.outcomes[-1]}")
                if series.outcomes[-1] != COMMITTED:
                    break
    return series.to_json()


def _transaction(host: HostHandle, series: Series) -> None:
    version, plain = FIRST + len(series.outcomes), series.tool == "plain"
    depot = f"classic-updates-{version}"
    run = timed(host, plain_command(depot) if plain else update_command(depot), PLAIN_LIMIT if plain else GUARDED_LIMIT)
    if run.status != 0:
        series.outcomes.append("hung" if run.hung else "failed")
        series.reasons.append(first_error(run.said))
        return
    # Exit status 0 proves little: the database is read from outside, from a private copy.
    series.outcomes.append(_fault(evidence.database_state(host), version) or COMMITTED)


def _fault(database: DatabaseState, version: int) -> Optional[str]:
    tools = [package for package in database.packages if package.startswith(TOOL)]
    right = len(tools) == 12 and all(f"-{version}-lab1." in one for one in tools)
    return None if right and not database.twice and not database.problem else "exit status 0, database wrong"

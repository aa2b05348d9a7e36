"""How long upgrades take: Interlock and plain rpm in turn, the same packages, a fresh host each time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from benchhost import LONG_LIMIT, QUIET_CORES, Timed, fresh_host, plain_command, say, timed, update_command, warm
from interlock.lab.hosts import Lab

ATTEMPTS = 3


@dataclass(frozen=True)
class PackageSet:
    """What is upgraded. ``rebuild``: plain rpm's user cannot write to the database again before a rebuild."""

    depot: str
    release: str
    title: str
    rebuild: bool = False


SETS = (
    PackageSet("classic-updates-2", "classic", "12 small packages, Berkeley DB"),
    PackageSet("current-updates-2", "current", "12 small packages, SQLite"),
    PackageSet("classic-current", "classic", "whole system, Berkeley DB to SQLite", rebuild=True),
    PackageSet("current-next", "current", "whole system, SQLite"),
)


@dataclass
class Samples:
    """The figures of one set, in the order they were taken. ``set_aside``: runs disturbed by others, and repeated."""

    depot: str
    title: str
    interlock: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    rebuild: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    set_aside: int = 0

    def to_json(self) -> dict[str, Any]:
        ours, theirs = statistics.median(self.interlock), statistics.median(self.plain)
        both = theirs + statistics.median(self.rebuild) if self.rebuild else None
        return {
            **asdict(self), "interlock_median": ours, "plain_median": theirs, "ratio": ours / theirs,
            "plain_with_rebuild": both, "ratio_with_rebuild": ours / both if both else None,
        }  # fmt: skip


def measure_all(lab: Lab, rounds: int, chosen: Sequence[PackageSet], options: Sequence[str]) -> list[dict[str, Any]]:
    """Measure each set ``rounds`` times; who goes first changes from round to round."""
    return [_measure(lab, one, rounds, options).to_json() for one in chosen]


def _measure(lab: Lab, one: PackageSet, rounds: int, options: Sequence[str]) -> Samples:
    samples = Samples(one.depot, one.title)
    warm(lab, one.depot)
    for number in range(rounds):
        for tool in ("interlock", "plain") if number % 2 == 0 else ("plain", "interlock"):
            _take(lab, one, tool, samples, options)
        say(f"{one.depot}: round {number + 1}: {samples.interlock[-1]:.2f} s, plain {samples.plain[-1]:.2f} s")
    return samples


def _take(lab: Lab, one: PackageSet, tool: str, samples: Samples, options: Sequence[str]) -> None:
    best: Optional[tuple[Timed, Optional[Timed]]] = None
    for attempt in range(ATTEMPTS):
        runs = _run(lab, one, tool, options)
        if best is None or runs[0].foreign < best[0].foreign:
            best = runs
        if best[0].foreign <= QUIET_CORES:
            break
        samples.set_aside += attempt < ATTEMPTS - 1
    assert best is not None
    getattr(samples, tool).append(round(best[0].seconds, 3))
    samples.foreign.append(best[0].foreign)
    if best[1] is not None:
        samples.rebuild.append(round(best[1].seconds, 3))


def _run(lab: Lab, one: PackageSet, tool: str, options: Sequence[str]) -> tuple[Timed, Optional[Timed]]:
    command = update_command(one.depot, options) if tool == "interlock" else plain_command(one.depot)
    with fresh_host(lab, one.release) as host:
        run = timed(host, command)
        _must_be_done(run)
        if tool == "interlock" or not one.rebuild:
            return run, None
        rebuild = timed(host, "rpmdb --rebuilddb", LONG_LIMIT)
        _must_be_done(rebuild)
        return run, rebuild


def _must_be_done(run: Timed) -> None:
    if run.status != 0:
        raise SystemExit(f"`{run.command}` ended with {run.status}, nothing can be compared: {run.said}")

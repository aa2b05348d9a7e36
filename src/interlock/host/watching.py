"""Learns who uses the package database: who opens it, how often and how long.

Who opens a file of it is asked about by the kernel before it goes on (fanotify), so that even a program that runs for a
millisecond is known by its name and unit. Everybody is let through at once. The counting is pure.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from interlock.host.agents import program
from interlock.host.context import Host
from interlock.system.fanotify import OpenGuard
from interlock.system.proc import ProcessId


@dataclass
class Run:
    """One process that used the database: first open, last close, and files that it has open now."""

    first: float
    last: float
    open: int = 0


@dataclass
class User:
    """One program of one unit. Times are in seconds, as the clock that was passed in has them."""

    program: str
    unit: str
    parent: str
    runs: dict[ProcessId, Run] = field(default_factory=dict)
    opens: int = 0

    def row(self) -> dict[str, Any]:
        """Return what is known of it, as JSON."""
        begins = sorted(run.first for run in self.runs.values())
        held = [run.last - run.first for run in self.runs.values()]
        cadence = (begins[-1] - begins[0]) / (len(begins) - 1) if len(begins) > 1 else None
        return {
            "program": self.program, "unit": self.unit, "parent": self.parent, "runs": len(self.runs),
            "opens": self.opens, "every": None if cadence is None else round(cadence, 3),
            "longest": round(max(held), 3), "total": round(sum(held), 3),
            "still_open": sum(run.open > 0 for run in self.runs.values()),
        }  # fmt: skip


class Tally:
    """Counts opens and closes by program and unit."""

    def __init__(self) -> None:
        self.users: dict[tuple[str, str], User] = {}
        self._of: dict[ProcessId, User] = {}
        self._last: dict[int, ProcessId] = {}

    def opened(self, one: ProcessId, name: str, unit: str, parent: str, at: float) -> None:
        """Count an open by a process."""
        user = self._of.get(one)
        if user is None:
            user = self._of[one] = self.users.setdefault((name, unit), User(name, unit, parent))
        self._last[one.pid] = one
        run = user.runs.setdefault(one, Run(at, at))
        run.open += 1
        run.last = at
        user.opens += 1

    def closed(self, pid: int, at: float) -> None:
        """Count a close by a process that was seen before; it may have ended already."""
        one = self._last.get(pid)
        if one is not None:
            run = self._of[one].runs[one]
            run.open, run.last = max(0, run.open - 1), at

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each program and unit, the busiest first."""
        return sorted((user.row() for user in self.users.values()), key=lambda row: (-row["runs"], row["program"]))


def watch(host: Host, directory: str, seconds: float, stopped: Callable[[], bool] = lambda: False) -> Tally:
    """Watch the files in ``directory`` for so many seconds (0: until ``stopped`` or KeyboardInterrupt)."""
    tally = Tally()
    guard = OpenGuard(directory, closes=True)
    deadline = host.clock.monotonic() + seconds if seconds else float("inf")
    try:
        while not stopped() and host.clock.monotonic() < deadline:
            select.select([guard.descriptor], [], [], min(0.2, max(0.0, deadline - host.clock.monotonic())))
            for _ in _events(host, guard, tally):
                pass
    except KeyboardInterrupt:
        pass
    finally:
        guard.close()
    return tally


def _events(host: Host, guard: OpenGuard, tally: Tally) -> Iterator[None]:
    for event in guard.read():
        now = host.clock.monotonic()
        if event.closed:
            tally.closed(event.pid, now)
        one = host.proc.identify(event.pid) if event.pid != os.getpid() and not event.closed else None
        if one is not None:
            parent = program(host.proc.command(host.proc.parent(event.pid) or 0))
            tally.opened(one, program(host.proc.command(event.pid)), host.proc.unit(event.pid), parent, now)
        guard.answer(event, True)
        yield

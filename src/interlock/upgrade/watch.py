"""Knows which scriptlet runs, since when, and whom its processes wait for.

It reports a scriptlet that takes long, and at once one that can never end: its processes wait, round some corner, for
the very transaction that waits for the scriptlet. Of those the innermost is ended, a process that the scriptlet
itself has started (a nested rpm, say): nothing else could ever happen to it, and the scriptlet goes on with its
failure as it would have without a terminal. Whether that fails the scriptlet is the scriptlet's own affair.

A time limit is policy, and off unless asked for: what it ends fails, and rpm's usual rules decide what follows.
"""

from __future__ import annotations

import os
from typing import Callable, NamedTuple, Optional

from interlock.events import EventSink
from interlock.host.context import Host
from interlock.upgrade.ending import Ending
from interlock.waits.below import below, each_wait, in_words, innermost, look_below, way_of_no_return
from interlock.waits.facts import Facts
from interlock.waits.graph import WaitGraph, build_graph
from interlock.waits.look import Place

FIRST_REPORT = 10.0
# The kernel gives start times in hundredths of a second, cut off.
TICK = 0.01
# A quick look costs a few milliseconds, a thorough one some more.
QUICK_EVERY, THOROUGH_EVERY, FIRST_THOROUGH = 1.0, 10.0, 3.0


class Running(NamedTuple):
    """A scriptlet that has begun; ``uptime`` and ``until`` count from boot, as the start times of processes do."""

    package: str
    script: str
    began: float
    uptime: float
    until: float = 0.0

    def __str__(self) -> str:
        return f"{self.script} of {self.package}"


Record = Callable[[str, str], None]


class ScriptWatch:
    """Watches the scriptlets of one transaction. ``reading`` is where we read what the worker says."""

    def __init__(
        self, host: Host, events: EventSink, worker: int, reading: int = -1, *,
        limit: float = 0.0, gate: bool = False, record: Record = lambda _what, _why: None,
    ) -> None:  # fmt: skip
        self.events, self.clock, self.proc, self.worker = events, host.clock, host.proc, worker
        self.place = Place(host.proc, "/", host.runner, host.clock, host.paths.scratch)
        self.waiter = (os.getpid(), reading) if reading >= 0 else None
        self.limit, self.record = limit, record
        self.gate = os.getpid() if gate else 0
        self.running: Optional[Running] = None
        self.done: list[Running] = []
        self.ended_ones: list[str] = []
        self.ending: Optional[Ending] = None
        self._reset()

    def _reset(self) -> None:
        self.next_report, self.next_quick, self.next_thorough = FIRST_REPORT, QUICK_EVERY, FIRST_THOROUGH
        self.suspected = ""
        self.limit_reached = False

    def started(self, package: str, script: str, at: float) -> None:
        """Learn that a scriptlet has begun, ``at`` seconds after the boot."""
        self.running = Running(package, script, self.clock.monotonic(), at)
        self._reset()

    def ended(self, at: float) -> None:
        """Learn that it has ended."""
        if self.running is not None:
            self.done.append(self.running._replace(until=at))
        self.running = None

    def tick(self) -> None:
        """Look, report and end what is to be ended, if it is time."""
        if self.ending is not None:
            self._force(self.ending)
        if self.running is None:
            return
        seconds = self.clock.monotonic() - self.running.began
        report = seconds >= self.next_report
        thorough = report or seconds >= self.next_thorough
        if thorough or seconds >= self.next_quick:
            self._look(self.running, seconds, thorough, report)
        if self.limit and seconds >= self.limit and not self.limit_reached:
            self._at_limit(self.running, seconds)

    def _look(self, running: Running, seconds: float, thorough: bool, report: bool) -> None:
        self.next_quick = seconds + QUICK_EVERY
        if thorough:
            self.next_thorough = seconds + THOROUGH_EVERY
        facts = look_below(self.place, self.worker, thorough, self.waiter, self.gate)
        graph = build_graph(facts)
        lower = below(self.proc, self.worker)
        self._judge(running, seconds, facts, graph, lower)
        if report:
            self.next_report = seconds * 2
            waits = "; ".join(each_wait(facts, graph, lower)) or "no process of it is left"
            self._emit("script.slow", running, seconds, waits=waits)

    def _judge(self, running: Running, seconds: float, facts: Facts, graph: WaitGraph, lower: list[int]) -> None:
        """Act on what can never end, once a second look has found the very same."""
        way = way_of_no_return(graph, self.worker)
        found = in_words(graph, way)
        if not way or found != self.suspected:
            self.suspected = found
            # The second look comes soon, and sees as much as the first.
            self.next_thorough = min(self.next_thorough, seconds + QUICK_EVERY) if way else self.next_thorough
            return
        if self.ending is None:
            self._break(running, seconds, found, innermost(graph, way, lower))

    def _break(self, running: Running, seconds: float, found: str, pid: Optional[int]) -> None:
        ending = Ending(self.proc, self.clock, [] if pid is None else [pid])
        self._emit("script.deadlock", running, seconds, cycle=found, ends=str(ending))
        if ending.targets:
            self._end(running, seconds, ending, "it waited for its own transaction and could never end")

    def _at_limit(self, running: Running, seconds: float) -> None:
        self.limit_reached = True
        ending = Ending(self.proc, self.clock, below(self.proc, self.worker))
        if ending.targets:
            self._end(running, seconds, ending, f"the limit for a scriptlet is {self.limit:g} s")
        else:
            text = f"{running} has reached its limit of {self.limit:g} s; it has no process that could be ended"
            self.events.emit("note", text=text)

    def _end(self, running: Running, seconds: float, ending: Ending, why: str) -> None:
        self.record(f"{ending}, of {running}", why)
        self.ended_ones.append(f"{ending}, of {running}, was ended after {seconds:.0f} s: {why}")
        self.ending = ending
        ending.ask()
        self._emit("script.ended", running, seconds, processes=str(ending), why=why)

    def _force(self, ending: Ending) -> None:
        for target in ending.tick():
            self.events.emit("note", text=f"{target} did not end when it was asked to, and was killed")
        if not any(self.proc.alive(target.id) for target in ending.targets):
            self.ending = None

    def _emit(self, kind: str, running: Running, seconds: float, **fields: str) -> None:
        named = {"package": running.package, "script": running.script, "seconds": round(seconds, 1)}
        self.events.emit(kind, **named, **fields)

    def begun_by(self, uptime: float) -> str:
        """Return the scriptlet that ran when a process was started, for people; empty where none did."""
        return next((str(one) for one in self.done if one.uptime - TICK <= uptime <= one.until), "")

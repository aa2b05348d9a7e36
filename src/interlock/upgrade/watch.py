"""Knows which scriptlet runs, since when, and what its processes are doing. Ends nothing."""

from __future__ import annotations

from typing import Optional

from interlock.events import EventSink
from interlock.system.clock import Clock
from interlock.system.proc import ProcReader

FIRST_REPORT = 10.0


class ScriptWatch:
    """Reports a scriptlet that takes long, at 10 s and then each time its age has doubled."""

    def __init__(self, events: EventSink, clock: Clock, proc: ProcReader, worker: int) -> None:
        self.events, self.clock, self.proc, self.worker = events, clock, proc, worker
        self.running: Optional[tuple[str, str]] = None
        self.began = self.next_report = 0.0

    def started(self, package: str, script: str) -> None:
        """Learn that a scriptlet has begun."""
        self.running, self.began = (package, script), self.clock.monotonic()
        self.next_report = FIRST_REPORT

    def ended(self) -> None:
        """Learn that it has ended."""
        self.running = None

    def tick(self) -> None:
        """Report, if it is time."""
        if self.running is None:
            return
        seconds = self.clock.monotonic() - self.began
        if seconds >= self.next_report:
            self.next_report = seconds * 2
            package, script = self.running
            waits = "; ".join(descendants(self.proc, self.worker)) or "no process of it is left"
            self.events.emit("script.slow", package=package, script=script, seconds=round(seconds, 1), waits=waits)


def descendants(proc: ProcReader, pid: int) -> list[str]:
    """Return what the processes below ``pid`` are and where each sleeps, for people."""
    found = []
    for child in proc.children(pid):
        channel = proc.wait_channel(child)
        asleep = f" in {channel}" if channel else ""
        found.append(f"{proc.command(child)} (pid {child}, {proc.state(child)}{asleep})")
        found += descendants(proc, child)
    return found

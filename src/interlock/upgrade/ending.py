"""Ends processes that a scriptlet has started, and nobody else's.

Politely first, and with force after a while; the outermost first, so that a shell does not go on with its next line
because a command of it was ended. Who has the shared regions of a Berkeley DB environment mapped is only asked: killed
inside of it, he would leave the transaction itself waiting for a dead process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

from interlock.system.clock import Clock
from interlock.system.proc import ProcessId, ProcReader

GRACE = 5.0


class Target(NamedTuple):
    """One process to end; its pid may be somebody else's later, its id may not."""

    id: ProcessId
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.id.pid})"


class Ending:
    """Processes that have been asked to end. ``tick`` ends those by force that have not after ``GRACE`` seconds."""

    def __init__(self, proc: ProcReader, clock: Clock, pids: Iterable[int]) -> None:
        self.proc, self.clock = proc, clock
        self.targets = [Target(one, proc.command(one.pid)) for one in map(proc.identify, pids) if one is not None]
        self.asked = clock.monotonic()
        self.forced = False

    def __str__(self) -> str:
        return ", ".join(map(str, self.targets))

    def ask(self) -> None:
        """Ask them to end."""
        for target in self.targets:
            self._signal(target, signal.SIGTERM)

    def tick(self) -> list[Target]:
        """End what is still there, if it is time; return whom that concerned."""
        if self.forced or self.clock.monotonic() - self.asked < GRACE:
            return []
        self.forced = True
        left = [target for target in self.targets if self.proc.alive(target.id) and not self._in_region(target)]
        for target in left:
            self._signal(target, signal.SIGKILL)
        return left

    def _in_region(self, target: Target) -> bool:
        return any(os.path.basename(path).startswith("__db.") for path in self.proc.mapped_files(target.id.pid))

    def _signal(self, target: Target, number: signal.Signals) -> None:
        if self.proc.alive(target.id):
            try:
                os.kill(target.id.pid, number)
            except ProcessLookupError:
                pass

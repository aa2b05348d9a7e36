"""Memory of a host's processes, watched from outside; and percentiles."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from interlock.lab.handle import HostHandle

EVERY_SECONDS = 0.2
ROLES = ("engine", "standby", "worker", "front end", "plain rpm")


def rank(times: Sequence[float], share: float) -> float:
    """Return a percentile of sorted values by nearest rank."""
    return times[max(0, math.ceil(share * len(times)) - 1)] if times else 0.0


@dataclass
class Watch:
    """Samples VmHWM of a host's processes through /proc while it is entered; keeps the largest of each role, in MiB."""

    host: HostHandle
    peaks: dict[str, float] = field(default_factory=dict)
    _known: dict[int, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: Optional[threading.Thread] = None

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for pid in self.host.pids():
                self._sample(pid)

    def _sample(self, pid: int) -> None:
        # A process may become another program after its fork: until it has a role, it is looked at again.
        role = self._known.get(pid) or self._role(pid)
        if role:
            self._known[pid] = role
            self.peaks[role] = max(self.peaks.get(role, 0.0), self._peak(pid))

    def _role(self, pid: int) -> str:
        proc = self.host.lab.proc
        words = proc.command(pid).split()
        if os.path.basename(words[0] if words else "") == "rpm":
            return "plain rpm" if "-Uvh" in words else ""
        if "/usr/local/bin/interlock" not in words:
            return ""
        if not proc.unit(pid).startswith("interlock-2"):
            return "front end" if "python" in words[0] else ""
        # Standby, its fork the engine, whose fork the worker is, all in one unit; the first one's parent is init.
        parents = [proc.parent(pid) or 0]
        parents.append(proc.parent(parents[0]) or 0)
        depth = sum(one > 1 and proc.unit(one) == proc.unit(pid) for one in parents)
        return ("standby", "engine", "worker")[depth]

    def _peak(self, pid: int) -> float:
        try:
            text = (self.host.lab.proc.root / str(pid) / "status").read_text()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)

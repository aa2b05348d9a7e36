"""Hosts for the bench: fresh, named after it, taken down at once; commands timed; processes watched from outside."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Optional

from interlock.lab import verbs
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab

LIMIT = 400.0
_NUMBERS = itertools.count(1)


@contextmanager
def fresh_host(lab: Lab, release: str, *agents: str) -> Iterator[HostHandle]:
    """Bring up a host, and remove it whatever happens."""
    name = f"bench-upgrade-{os.getpid()}-{next(_NUMBERS)}"
    verbs.up(lab, name, release, None, list(agents))
    try:
        yield HostHandle(lab, name)
    finally:
        verbs.down(lab, [name], everything=False)


@dataclass(frozen=True)
class Span:
    """One command: when it began and ended (seconds since the epoch), and its status."""

    begin: float
    end: float
    status: int
    output: str

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def timed(host: HostHandle, command: str, limit: float = LIMIT) -> Span:
    """Run a shell command on the host, over ssh, from its start to its end."""
    begin = time.time()
    done = host.run(["sh", "-c", command], limit)
    return Span(begin, time.time(), done.status, (done.stderr.strip() or done.stdout.strip())[-400:])


def guarded(depot: str) -> str:
    return f"interlock update --depot /srv/depots/{depot} --yes"


def must_succeed(span: Span, command: str) -> Span:
    """A figure of a run that failed would be a figure of something else."""
    if span.status != 0:
        raise SystemExit(f"`{command}` ended with {span.status}: {span.output}")
    return span


@dataclass
class Watch:
    """Samples VmHWM of a host's processes through /proc while it is entered; keeps the largest of each role, in MiB."""

    host: HostHandle
    peaks: dict[str, float] = field(default_factory=dict)
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
        while not self._stop.wait(0.2):
            for pid in self.host.pids():
                role = self._role(pid)
                if role:
                    self.peaks[role] = max(self.peaks.get(role, 0.0), self._peak(pid))

    def _role(self, pid: int) -> str:
        proc = self.host.lab.proc
        words = proc.command(pid).split()
        if words and os.path.basename(words[0]) == "rpm" and words[1:2] == ["-Uvh"]:
            return "plain rpm"
        if "interlock" not in " ".join(words):
            return ""
        if not proc.unit(pid).startswith("interlock-"):
            return "front end" if "update" in words and "python" in words[0] else ""
        parent = proc.parent(pid)
        inside = parent is not None and proc.unit(parent) == proc.unit(pid)
        return "worker" if inside else "engine"

    def _peak(self, pid: int) -> float:
        try:
            text = (self.host.lab.proc.root / str(pid) / "status").read_text()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)

"""The upgrade as people do it without Interlock: `rpm -Uvh DEPOT/*.rpm`, watched until it ends or stands still.

It runs in a unit of its own, so that no connection is part of what is shown and a wedged rpm stays for a look.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from interlock.errors import CommandFailed
from interlock.lab.handle import HostHandle, first_error
from interlock.lab.waiting import Waiting, processor_seconds, waiting_processes
from interlock.system.run import pasteable

UNIT = "plain-rpm"
LOG = "var/log/plain-rpm.log"
STATUS = "var/log/plain-rpm.status"
POLL_SECONDS = 0.1
STANDSTILL_SECONDS = 8.0
# rpm prints this when it has checked all packages and begins to change files.
BEGUN = "Updating / installing"


@dataclass(frozen=True)
class PlainRun:
    """What came of one run. ``status`` is None where it hung; ``said`` is its first word about what went wrong."""

    command: str
    status: Optional[int]
    seconds: float
    said: str
    processes: tuple[Waiting, ...]

    @property
    def outcome(self) -> str:
        """``done``, ``failed`` or ``hung``."""
        return "hung" if self.status is None else "failed" if self.status else "done"


def upgrade_command(depot: str) -> str:
    """Return what a user would type."""
    return f"rpm -Uvh /srv/depots/{depot}/*.rpm"


def start(host: HostHandle, command: str) -> None:
    """Start a shell command in the unit ``plain-rpm`` on the host."""
    for path in (LOG, STATUS):
        (host.root / path).unlink(missing_ok=True)
    script = f"{command} >/{LOG} 2>&1; echo $? >/{STATUS}.new; mv /{STATUS}.new /{STATUS}"
    done = host.run(["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--", "sh", "-c", script], 20)
    if done.status != 0:
        raise CommandFailed(command=pasteable(done.argv), status=done.status, stderr=done.stderr.strip())


def watch(host: HostHandle, command: str, limit: float, when_begun: Callable[[], None] = lambda: None) -> PlainRun:
    """Run a command to its end, its standstill or the limit; calls ``when_begun`` when it begins to change files."""
    start(host, command)
    begun = moved = time.monotonic()
    progress: Sequence[object] = ()
    told = False
    while _status(host) is None:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        latest = _progress(host)
        if latest != progress:
            progress, moved = latest, now
        if not told and BEGUN in _log(host):
            told = True
            when_begun()
        if now - begun > limit or now - moved > STANDSTILL_SECONDS:
            break
    status = _status(host)
    seconds = time.monotonic() - begun
    hung = waiting_processes(host) if status is None else ()
    return PlainRun(command, status, round(seconds, 1), first_error(_log(host)) if status != 0 else "", hung)


def _status(host: HostHandle) -> Optional[int]:
    try:
        return int((host.root / STATUS).read_text())
    except (OSError, ValueError):
        return None


def _log(host: HostHandle) -> str:
    try:
        return (host.root / LOG).read_text(errors="replace")
    except OSError:
        return ""


def _progress(host: HostHandle) -> Sequence[object]:
    """Return what changes as long as the unit's processes do anything."""
    proc = host.lab.proc
    pids = [pid for pid in host.pids() if proc.unit(pid) == f"{UNIT}.service"]
    return (tuple(pids), tuple(round(processor_seconds(proc, pid), 1) for pid in pids), len(_log(host)))

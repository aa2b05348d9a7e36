"""The host's lease: at most one owner changes a host at a time, and everybody can see who.

Layout: ``/var/lib/interlock/lease``, one JSON object. Rules: the owner holds an open-file-description lock on the
file for as long as it works, so a dead owner's lease is free at once, without a guess by age; the content only
says who the owner is. The file is never removed or replaced, so that all look at the same inode.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Optional

from interlock.errors import Busy, Refused
from interlock.host.paths import Paths
from interlock.system import linux
from interlock.system.clock import Clock, age
from interlock.system.proc import ProcReader


@dataclass(frozen=True)
class Owner:
    """Who holds the lease. ``since`` is in seconds since the epoch."""

    operation: str
    command: str
    pid: int
    since: float


class LeaseUnwritable(Refused):
    """Who is at work on this host cannot be written to {path}: {detail}."""

    hint = "Nothing was changed. Make it writable; without it two could change the host at a time."


class Lease:
    """Held while the context lasts; Busy where somebody else has it, named with the age of his lease."""

    def __init__(self, paths: Paths, operation: str, clock: Clock, proc: ProcReader) -> None:
        self.paths, self.operation, self.clock, self.proc = paths, operation, clock, proc
        self.descriptor = -1

    def __enter__(self) -> Lease:
        try:
            os.makedirs(self.paths.state, mode=0o755, exist_ok=True)
            self.descriptor = os.open(self.paths.lease, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LeaseUnwritable(path=self.paths.lease, detail=error.strerror) from None
        try:
            linux.lock_whole_file(self.descriptor)
        except (BlockingIOError, PermissionError):
            os.close(self.descriptor)
            raise busy(read_owner(self.paths), self.clock) from None
        self._write()
        return self

    def _write(self) -> None:
        pid = os.getpid()
        owner = Owner(self.operation, self.proc.command(pid), pid, self.clock.now())
        content = json.dumps(asdict(owner)).encode() + b"\n"
        os.pwrite(self.descriptor, content, 0)
        os.ftruncate(self.descriptor, len(content))

    def __exit__(self, *error: object) -> None:
        os.close(self.descriptor)


def busy(owner: Optional[Owner], clock: Clock) -> Busy:
    """Return the error that names ``owner``."""
    if owner is None:
        return Busy(owner="a process that has not written its name yet", age="a moment ago")
    named = f"operation {owner.operation} ({owner.command}, pid {owner.pid})"
    return Busy(owner=named, age=f"{age(clock.now() - owner.since)} ago")


def read_owner(paths: Paths) -> Optional[Owner]:
    """Return what the lease file says, whether or not it is held; None where it says nothing."""
    try:
        with open(paths.lease, encoding="utf-8") as stream:
            return Owner(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None


def current_owner(paths: Paths) -> Optional[Owner]:
    """Return who holds the lease now, taking nothing; None if nobody does."""
    try:
        descriptor = os.open(paths.lease, os.O_RDONLY)
    except OSError:
        return None
    try:
        return read_owner(paths) if linux.lock_holder(descriptor) else None
    finally:
        os.close(descriptor)

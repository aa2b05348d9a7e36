"""rpm's own transaction lock, held in a way that nothing in our process can drop.

The file ``.rpm.lock`` is never removed or replaced (a waiter would wait on another inode than the next holder). The
lock is of the open-file-description kind: it conflicts with rpm's POSIX lock, and closing another descriptor of the
file does not release it. After taking it we look again whether the path still names the file that we locked.
"""

from __future__ import annotations

import os

from interlock.errors import Busy
from interlock.rpmdb.backend import Database
from interlock.system import linux
from interlock.system.clock import age
from interlock.system.proc import ProcReader


class RpmLock:
    """Held while the context lasts; Busy, naming the holder, where another transaction has it."""

    def __init__(self, database: Database, proc: ProcReader) -> None:
        self.database, self.proc = database, proc
        self.descriptor = -1

    def __enter__(self) -> RpmLock:
        while True:
            self.descriptor = os.open(self.database.lock, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                linux.lock_whole_file(self.descriptor)
            except (BlockingIOError, PermissionError):
                os.close(self.descriptor)
                raise busy_database(self.database, self.proc) from None
            if _same_file(self.descriptor, self.database.lock):
                return self
            os.close(self.descriptor)

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the next one in. Harmless when it was released before."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _same_file(descriptor: int, path: str) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def lock_holders(database: Database, proc: ProcReader) -> list[int]:
    """Return the pids that hold rpm's transaction lock now.

    Taken from the kernel's list by inode; an open-file-description lock names no pid there, so its holders are
    found by who has the file open.
    """
    try:
        inode = os.stat(database.lock).st_ino
    except FileNotFoundError:
        return []
    held = [lock for lock in proc.locks() if lock.inode == inode and not lock.waits]
    pids = {lock.pid for lock in held if lock.pid > 0}
    if any(lock.kind == "OFDLCK" for lock in held):
        real = os.path.realpath(database.lock)
        pids |= {pid for pid in proc.pids() if any(target == real for _, target in proc.open_files(pid))}
    return sorted(pids)


def busy_database(database: Database, proc: ProcReader) -> Busy:
    """Return the error that names whoever holds rpm's lock, with the age of its process."""
    pids = lock_holders(database, proc)
    if not pids:
        return Busy(owner=f"a process that holds {database.lock} (gone by now)", age="a moment ago")
    named = "; ".join(f"{proc.command(pid) or 'a process that has ended'} (pid {pid})" for pid in pids)
    return Busy(owner=f"{named} holds {database.lock}", age=f"{process_age(proc, pids[0])} ago")


def process_age(proc: ProcReader, pid: int) -> str:
    """Say how long a process has been running."""
    started, uptime = proc.start_time(pid), proc.uptime()
    if started is None or uptime is None:
        return "0 s"
    return age(uptime - started / os.sysconf("SC_CLK_TCK"))

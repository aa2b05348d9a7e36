"""Says what a host's processes wait for, as far as the kernel tells from outside.

A lock of Berkeley DB is a mutex in a mapped ``__db.NNN`` file: its sleeper waits on a futex whose address lies in that
mapping. The mutex (nptl's ``pthread_mutex_t``: lock word, count, owner) holds the thread id of its owner, so an owner
that is gone can be named.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Optional

from interlock.lab.handle import HostHandle
from interlock.system.proc import FileLock, ProcReader

_TICKS = os.sysconf("SC_CLK_TCK")
_MUTEX_HEAD = struct.Struct("=iIi")
# A run of the storm is killed after 20 ms; what is older than this waits.
OLD_SECONDS = 1.0
_DEAD = " is dead"


@dataclass(frozen=True)
class Waiting:
    """One process. ``pid`` is the host's own number for it."""

    pid: int
    command: str
    seconds: float
    waits: str

    @property
    def for_ever(self) -> bool:
        """Say whether it waits for somebody who is dead."""
        return self.waits.endswith(_DEAD)


def waiting_processes(host: HostHandle) -> tuple[Waiting, ...]:
    """Return the host's rpm processes that are older than a moment, oldest first."""
    proc = host.lab.proc
    pids = [pid for pid in host.pids() if _is_rpm(proc, pid) and age_of(proc, pid) > OLD_SECONDS]
    locks = proc.locks()
    found = [
        Waiting(host.pid_inside(pid) or 0, proc.command(pid), round(age_of(proc, pid), 1), _explain(host, pid, locks))
        for pid in pids
    ]
    return tuple(sorted(found, key=lambda one: -one.seconds))


def _is_rpm(proc: ProcReader, pid: int) -> bool:
    words = proc.command(pid).split()
    return bool(words) and os.path.basename(words[0]).startswith("rpm")


def age_of(proc: ProcReader, pid: int) -> float:
    """Return the seconds since a process was started; 0 if it is gone."""
    started, now = proc.start_time(pid), proc.uptime()
    return 0.0 if started is None or now is None else now - started / _TICKS


def processor_seconds(proc: ProcReader, pid: int) -> float:
    """Return the processor time that a process has used; 0 if it is gone."""
    try:
        fields = (proc.root / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _explain(host: HostHandle, pid: int, locks: list[FileLock]) -> str:
    proc = host.lab.proc
    waited = next((lock for lock in locks if lock.waits and lock.pid == pid), None)
    if waited is not None:
        return _explain_lock(host, pid, waited, locks)
    channel = proc.wait_channel(pid)
    if channel.startswith("futex"):
        return _explain_futex(host, pid)
    children = proc.children(pid)
    if channel == "do_wait" and children:
        return f"waits for its child {host.pid_inside(children[0])} ({proc.command(children[0])[:40]})"
    return f"sleeps in {channel}" if channel else "runs"


def _explain_lock(host: HostHandle, pid: int, waited: FileLock, locks: list[FileLock]) -> str:
    proc, members = host.lab.proc, set(host.pids())
    # The hosts are snapshots of one image: the same inode number may be locked on another host, too.
    holders = [one.pid for one in locks if not one.waits and one.inode == waited.inode and one.pid in members]
    paths = (path for _, path in proc.open_files(pid) if _inode(proc, pid, path) == waited.inode)
    name = os.path.basename(next(paths, f"inode {waited.inode}"))
    held = ", ".join(f"pid {host.pid_inside(one)}" for one in dict.fromkeys(holders)) or "nobody that is left"
    return f"waits for the lock on {name}, held by {held}"


def _inode(proc: ProcReader, pid: int, path: str) -> Optional[int]:
    try:
        return os.stat(f"{proc.root}/{pid}/root{path}").st_ino
    except OSError:
        return None


def _explain_futex(host: HostHandle, pid: int) -> str:
    address = _futex_address(host.lab.proc, pid)
    name = _mapped_at(host.lab.proc, pid, address)
    if not name:
        return "waits on a futex"
    owner = _mutex_owner(host.lab.proc, pid, address)
    inside = {host.pid_inside(other) for other in host.pids()}
    if owner is None:
        return f"waits on a futex in {name}"
    return f"waits for a mutex in {name}, whose owner {owner}" + (" is alive" if owner in inside else _DEAD)


def _futex_address(proc: ProcReader, pid: int) -> int:
    try:
        return int((proc.root / str(pid) / "syscall").read_text().split()[1], 16)
    except (OSError, IndexError, ValueError):
        return 0


def _mapped_at(proc: ProcReader, pid: int, address: int) -> str:
    """Return the name of the database region that is mapped at an address, or an empty string."""
    try:
        rows = [line.split(maxsplit=5) for line in (proc.root / str(pid) / "maps").read_text().splitlines()]
    except OSError:
        return ""
    for row in rows:
        first, _, after = row[0].partition("-")
        if int(first, 16) <= address < int(after, 16) and len(row) == 6:
            name = os.path.basename(row[5])
            return name if name.startswith("__db.") else ""
    return ""


def _mutex_owner(proc: ProcReader, pid: int, address: int) -> Optional[int]:
    try:
        with open(proc.root / str(pid) / "mem", "rb", buffering=0) as memory:
            memory.seek(address)
            word, _, owner = _MUTEX_HEAD.unpack(memory.read(_MUTEX_HEAD.size))
    except (OSError, struct.error):
        return None
    # 2: locked, and somebody sleeps. Anything else is no mutex of this kind, or its owner has just let it go.
    return int(owner) if word == 2 and owner > 0 else None

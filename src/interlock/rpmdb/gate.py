"""The gate: for hosts where no shadow can be exchanged, others are held back from the database instead.

A process of its own answers the kernel's permission events: opens by the operation's own processes (its control
group, or its descendants) go through at once, all others wait until the gate is lowered. If that process dies the
kernel lets everybody through, and the operation notices at its next step. Before the gate counts as raised,
processes that have the database open already must be gone; those that stay are named and the upgrade is refused.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from collections.abc import Iterator
from typing import NoReturn

from interlock.errors import Refused
from interlock.rpmdb.backend import Database, is_volatile
from interlock.system import durable, linux
from interlock.system.clock import Clock
from interlock.system.fanotify import OpenGuard, OpenRequest
from interlock.system.proc import ProcReader

DRAIN_SECONDS = 30.0


@contextlib.contextmanager
def gate(database: Database, clock: Clock, proc: ProcReader) -> Iterator[None]:
    """Hold back every open of the database by others while the context lasts."""
    keeper = _start_keeper(database, proc)
    drained = False
    try:
        _drain(database, clock, proc, {os.getpid(), keeper})
        drained = True
        _drop_regions(database)
        yield
        if not _keeps(keeper):
            raise Refused(reasons="the process that held others back from the package database has ended")
    finally:
        # Regions that others use must stay: those who come later would make, and lock, others of their own.
        if drained and _keeps(keeper):
            _drop_regions(database)
        _stop_keeper(keeper)


def _keeps(keeper: int) -> bool:
    """Say whether the keeper is still at work; its status is left to be taken."""
    return os.waitid(os.P_PID, keeper, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _drop_regions(database: Database) -> None:
    """Remove the shared regions of Berkeley DB: nobody uses them now, and the next user makes them anew."""
    if database.backend == "bdb":
        for name in database.files():
            if is_volatile(name) and name != os.path.basename(database.lock):
                durable.remove_file(os.path.join(database.path, name))


def _start_keeper(database: Database, proc: ProcReader) -> int:
    try:
        guard = OpenGuard(database.path)
    except OSError as error:
        raise Refused(reasons=f"opens of {database.path} cannot be held back (fanotify: {error})") from None
    owner = os.getpid()
    pid = os.fork()
    if pid == 0:
        _keep(guard, owner, proc)
    guard.close()
    return pid


def _stop_keeper(keeper: int) -> None:
    try:
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _keep(guard: OpenGuard, owner: int, proc: ProcReader) -> NoReturn:
    """Answer requests until killed; those that wait are let through by the kernel when this process ends."""
    try:
        linux.die_with_parent()
        # Each open that waits is a descriptor of ours, until the end.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        ours = proc.cgroup(owner)
        waiting: list[OpenRequest] = []
        while True:
            select.select([guard.descriptor], [], [])
            for request in guard.read():
                if is_ours(proc, request.pid, owner, ours):
                    guard.answer(request, allow=True)
                else:
                    waiting.append(request)
    finally:
        os._exit(1)


def is_ours(proc: ProcReader, pid: int, owner: int, group: str) -> bool:
    """Say whether a process belongs to the operation: its descendant, or in the control group of its unit."""
    if group.endswith(".service") and proc.cgroup(pid).startswith(group):
        return True
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        if pid == owner:
            return True
        seen.add(pid)
        pid = proc.parent(pid) or 0
    return False


def database_users(path: str, proc: ProcReader) -> dict[int, str]:
    """Return the processes that have a file of the database in ``path`` open or mapped, with their commands."""
    users = {}
    prefix = path.rstrip("/") + "/"
    for pid in proc.pids():
        targets = [target for _, target in proc.open_files(pid)] + proc.mapped_files(pid)
        if any(target.startswith(prefix) for target in targets):
            users[pid] = proc.command(pid)
    return users


def _drain(database: Database, clock: Clock, proc: ProcReader, ours: set[int]) -> None:
    deadline = clock.monotonic() + DRAIN_SECONDS
    while True:
        users = {pid: name for pid, name in database_users(database.path, proc).items() if pid not in ours}
        if not users:
            return
        if clock.monotonic() > deadline:
            named = "; ".join(f"{name} (pid {pid})" for pid, name in sorted(users.items()))
            raise Refused(reasons=f"these have the package database open and do not end: {named}")
        clock.sleep(0.05)

"""Finds the catalogue's cases: SQLite, its files, and who uses them beside rpm."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable

from interlock.package import Nevra
from interlock.waits.edges import SLEEP_CALLS, label_of
from interlock.waits.facts import Facts, Process, SqliteUser
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import WaitGraph

# SQLite waits this long for a lock before it gives up; a reader that sleeps for longer does harm.
PATIENCE = 10.0
LOG_FILES = ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm")
OTHERS_MAY_WRITE = 0o002
STOPPED = "Tt"
EPOCH = re.compile(r"-\d+:")


def main_file(facts: Facts) -> str:
    """Return the path of the database's main file."""
    return os.path.join(facts.database.path, "rpmdb.sqlite")


def label(facts: Facts, pid: int) -> str:
    """Return how a process is shown to people."""
    return label_of(facts.processes[pid]) if pid in facts.processes else f"pid {pid}"


def transactions(facts: Facts) -> frozenset[int]:
    """Return who has rpm's transaction lock, or waits for it."""
    return frozenset(lock.pid for lock in facts.locks if lock.path == facts.database.lock)


def package_files(facts: Facts, pids: Iterable[int]) -> tuple[str, ...]:
    """Return the package files that some commands name."""
    commands = [facts.processes[pid].command for pid in pids if pid in facts.processes]
    return tuple(dict.fromkeys(word for one in commands for word in one.split() if word.endswith(".rpm")))


def missing_packages(facts: Facts, files: Sequence[str]) -> dict[str, str]:
    """Return the packages of some files that the database does not have, each with its file."""
    # The name of a package file has no epoch.
    installed = {EPOCH.sub("-", one) for one in facts.state.packages} if facts.state else set()
    named = {_nevra(path): path for path in files}
    return {name: path for name, path in named.items() if name and name not in installed}


def _nevra(path: str) -> str:
    try:
        return str(Nevra.parse(os.path.basename(path)[: -len(".rpm")]))
    except ValueError:
        return ""


def find_foreign_writer(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """18: somebody who is no rpm transaction keeps SQLite's write lock."""
    for user in facts.sqlite_users:
        if user.holds and user.pid not in transactions(facts) and not user.unlocked:
            yield _foreign_writer(facts, user)


def _foreign_writer(facts: Facts, user: SqliteUser) -> Finding:
    waiting = [one.pid for one in facts.sqlite_users if one.pid != user.pid and _asks(facts, one)]
    missing = missing_packages(facts, package_files(facts, waiting))
    proof = [
        f"{label(facts, user.pid)} kept SQLite's write lock (byte 120) during a whole second,"
        f" and has no part in rpm's transaction lock",
        *_lines(user),
        *(f"{label(facts, pid)} asks for the same lock again and again" for pid in waiting),
        *(f"{name} is not in the database: its installation has failed, or will" for name in missing),
    ]
    process = facts.processes.get(user.pid)
    stopped = process is not None and process.state in STOPPED
    sure = PROVEN if waiting and stopped else LIKELY if waiting else WAITS
    data = {"waiting": waiting, "missing": missing}
    since = _slept(process) if process else 0.0
    return Finding(
        "sqlite-foreign-writer", sure, tuple(proof), (user.pid, *waiting), (main_file(facts),), tuple(missing),
        since, data,
    )  # fmt: skip


def _asks(facts: Facts, user: SqliteUser) -> bool:
    """Say whether a process wants to write: it naps between two attempts, or is at one just now."""
    process = facts.processes.get(user.pid)
    if process is None or not user.writes or user.stalled or user.unlocked:
        return False
    naps = bool(process.call) and process.call[0] in SLEEP_CALLS
    return naps or process.state in "RD" or user.pid in facts.moving


def _lines(user: SqliteUser) -> list[str]:
    return [f"/proc/{user.pid}/fdinfo: {line}" for line in user.locks]


def find_stalled_reader(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """19: a reader that does not run keeps its snapshot."""
    busy = transactions(facts) | {one.transaction for one in facts.scriptlets}
    for user in facts.sqlite_users:
        if user.stalled and not user.holds and user.pid not in busy and _harms(facts, user):
            process = facts.processes[user.pid]
            how = "is stopped" if process.state in STOPPED else f"sleeps in {process.channel or 'a system call'}"
            emptying = [one.pid for one in facts.sqlite_users if one.checkpoints]
            proof = (
                f"{label(facts, user.pid)} {how} and keeps a snapshot (read mark {user.snapshot})",
                *_lines(user),
                f"{main_file(facts)}-wal has {_log_size(facts)} bytes that cannot be moved into the database",
                *(f"{label(facts, pid)} waits to empty the log" for pid in emptying),
            )
            yield Finding(
                "sqlite-stalled-reader", WAITS, proof, (user.pid, *emptying), (f"{main_file(facts)}-wal",),
                since=_slept(process), data={"stopped": process.state in STOPPED},
            )  # fmt: skip


def _harms(facts: Facts, user: SqliteUser) -> bool:
    """Say whether a reader that did not run for a second is in anybody's way: many only wait for their own reader."""
    process = facts.processes.get(user.pid)
    if process is None:
        return False
    if process.state in STOPPED:
        return True
    return _slept(process) >= PATIENCE and (_log_size(facts) > 0 or any(one.checkpoints for one in facts.sqlite_users))


def _slept(process: Process) -> float:
    return process.age if process.asleep is None else min(process.age, process.asleep)


def _log_size(facts: Facts) -> int:
    return next((one.size for one in facts.database.files if one.name == LOG_FILES[0]), 0)


def find_dropped_lock(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """20: a process uses the database for writing, and the locks that SQLite took for it are gone."""
    for user in facts.sqlite_users:
        if user.unlocked:
            proof = (
                f"{label(facts, user.pid)} has {main_file(facts)} open for writing and its index in memory; every such"
                " process has a read lock on the main file and on byte 128 of -shm as long as it has",
                *(_lines(user) or [f"/proc/{user.pid}/fdinfo: no lock on any of them, during a whole second"]),
            )
            yield Finding("database-lock-dropped", PROVEN, proof, (user.pid,), (main_file(facts),))


def find_malformed(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """21: SQLite itself finds pages that cannot be right."""
    lines = facts.state.integrity if facts.state else ()
    if lines:
        proof = tuple(f"PRAGMA integrity_check on a copy: {line}" for line in lines[:8])
        yield Finding("sqlite-malformed", PROVEN, proof, (), (main_file(facts),))


def find_replaced(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """23: processes that go on with a database, or with a lock, that is not in place any more."""
    strays = [one for one in facts.strays if not one.lock or one.held or _stopped(facts, one.pid)]
    if not strays:
        return
    pids = tuple(dict.fromkeys(one.pid for one in strays))
    missing = missing_packages(facts, package_files(facts, pids))
    proof = [
        f"/proc/{one.pid}/fd: {label(facts, one.pid)} {_does(one)} {one.path}, which is not the file in place"
        for one in strays
    ]
    proof += [f"{name} is meant to be installed by it, and is not in the database" for name in missing]
    paths = tuple(dict.fromkeys(one.path for one in strays))
    written = [one.pid for one in strays if not one.lock]
    yield Finding("database-replaced", PROVEN, tuple(proof), pids, paths, tuple(missing), data={"writes": written})


def _stopped(facts: Facts, pid: int) -> bool:
    process = facts.processes.get(pid)
    return process is not None and process.state in STOPPED


def _does(stray: object) -> str:
    return "holds or waits for the lock" if getattr(stray, "lock", False) else "writes to"


def find_log_removed(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """24: the files of the log are not there, and only root could make them."""
    names = {one.name for one in facts.database.files}
    missing = [os.path.join(facts.database.path, name) for name in LOG_FILES if name not in names]
    if facts.write_ahead and missing:
        users = tuple(dict.fromkeys(one.pid for one in facts.opened if one.deleted and one.path in missing))
        proof = (
            *(f"{path} is not there, although the database keeps a write-ahead log" for path in missing),
            *(f"/proc/{pid}: {label(facts, pid)} still uses the removed one" for pid in users),
        )
        yield Finding("sqlite-wal-removed", PROVEN, proof, users, tuple(missing))


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (
    find_foreign_writer, find_stalled_reader, find_dropped_lock, find_malformed, find_replaced, find_log_removed,
)  # fmt: skip

# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {
    "sqlite-malformed": frozenset({"bdb-index-disagrees"}),
}

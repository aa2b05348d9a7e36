"""Finds the catalogue's cases: SQLite, its files, and who uses them beside rpm."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Callable

from interlock.waits import find_replaced
from interlock.waits.conditions import SqliteUser
from interlock.waits.facts import Facts, Process
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import WaitGraph
from interlock.waits.naming import STOPPED, is_stopped, label, main_file, missing_packages, package_files

# SQLite waits this long for a lock before it gives up; a reader that sleeps for longer does harm.
PATIENCE = 10.0
LOG_FILES = ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm")
OTHERS_MAY_WRITE = 0o002


def transactions(facts: Facts) -> frozenset[int]:
    """Return who has rpm's transaction lock, or waits for it."""
    return frozenset(lock.pid for lock in facts.locks if lock.path == facts.database.lock)


def find_foreign_writer(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """18: somebody who is no rpm transaction keeps SQLite's write lock."""
    for user in facts.sqlite_users:
        if user.holds and not _is_transaction(facts, user.pid) and not user.unlocked:
            yield _foreign_writer(facts, user)


def _is_transaction(facts: Facts, pid: int) -> bool:
    """Say whether a writer is a transaction of rpm, or one at its end, which still has its lock file open."""
    ends = any(one.pid == pid and one.path == facts.database.lock for one in facts.opened)
    return pid in transactions(facts) or (ends and not is_stopped(facts, pid))


def _foreign_writer(facts: Facts, user: SqliteUser) -> Finding:
    waiting = [one.pid for one in facts.sqlite_users if one.pid != user.pid and _asks(one)]
    missing = missing_packages(facts, package_files(facts, waiting))
    proof = [
        f"{label(facts, user.pid)} kept SQLite's write lock (byte 120) during a whole second,"
        f" and has no part in rpm's transaction lock",
        *_lines(user),
        *(
            f"{label(facts, pid)} has it open for writing, and did not rest meanwhile: it asks for the same lock"
            for pid in waiting
        ),
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


def _asks(user: SqliteUser) -> bool:
    """Say whether a process wants to write: it has it open for that, and SQLite asks again after short naps."""
    return user.writes and user.active and not user.unlocked


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
    find_foreign_writer, find_stalled_reader, find_dropped_lock, find_malformed, find_log_removed,
    *find_replaced.DETECTORS,
)  # fmt: skip

# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {
    "sqlite-malformed": frozenset({"bdb-index-disagrees"}),
}

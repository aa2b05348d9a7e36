"""Reads who uses the SQLite database, and with which of SQLite's own locks.

SQLite's rules (its wal.c and os_unix.c), each a byte range of a POSIX lock. Every connection to a database with a
log holds a read lock on the shared range of the main file and on byte 128 of ``-shm``, from before it maps ``-shm``
until after it has unmapped it. A writer holds byte 120, who empties the log 121, a reader with a snapshot one of
123 to 127. One look may fall between two steps of a healthy process: what looks wrong is looked at again, for a
second, and counts only if it never changed; who sleeps with a snapshot, for four.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

from interlock.waits.conditions import SqliteUser
from interlock.waits.edges import describe
from interlock.waits.facts import Facts, FileLock
from interlock.waits.open_files import OpenFile, identify, open_file

if TYPE_CHECKING:
    from interlock.waits.look import Place

MAIN, INDEX = "rpmdb.sqlite", "rpmdb.sqlite-shm"
SHARED, WRITER, CHECKPOINT, MARKS, PRESENT = range(0x40000000, 0x40000200), 120, 121, range(123, 128), 128
ROUNDS, LONG_ROUNDS, PAUSE = 12, 30, 0.1


class _Seen(NamedTuple):
    """One process in one look. ``mapped`` is where it has the index in its memory, 0 if nowhere."""

    started: int
    writes: bool
    main: tuple[FileLock, ...]
    shm: tuple[FileLock, ...]
    mapped: int
    ran: str
    inherits: bool = False

    @property
    def holds(self) -> bool:
        """Say whether it may write now, and is not the one that empties the log."""
        writing = any(lock.write and _covers(lock, WRITER) for lock in self.shm)
        return writing and not self.checkpoints

    @property
    def checkpoints(self) -> bool:
        """Say whether it empties the log."""
        return any(lock.write and _covers(lock, CHECKPOINT) for lock in self.shm)

    @property
    def snapshot(self) -> int:
        """Return the byte of its read mark."""
        return next((byte for byte in MARKS for lock in self.shm if not lock.write and _covers(lock, byte)), 0)

    @property
    def unlocked(self) -> bool:
        """Say whether it lacks a lock that every user of the index has."""
        shared = any(lock.first in SHARED for lock in self.main)
        present = any(_covers(lock, PRESENT) for lock in self.shm)
        return bool(self.mapped) and self.writes and not self.inherits and not (shared and present)


def _covers(lock: FileLock, byte: int) -> bool:
    return lock.first <= byte and (lock.last is None or byte <= lock.last)


def read_sqlite_users(place: Place, facts: Facts) -> tuple[SqliteUser, ...]:
    """Return who has the database in place open."""
    if facts.database.backend != "sqlite" or not place.live:
        return ()
    first = _sample(place, facts, facts.processes)
    odd = {pid: seen for pid, seen in first.items() if seen.holds or seen.snapshot or seen.unlocked}
    kept = _watch(place, facts, odd, ROUNDS)
    # Who is stopped will not run; who sleeps with a snapshot may only wait for a slow reader of its own.
    sleepers = {pid: seen for pid, seen in kept.items() if not (seen.holds or seen.unlocked or _stopped(facts, pid))}
    awake = {pid: seen for pid, seen in kept.items() if pid not in sleepers}
    confirmed = {**awake, **_watch(place, facts, sleepers, LONG_ROUNDS)}
    again = _sample(place, facts, first) if any(seen.holds for seen in confirmed.values()) else {}
    active = {pid for pid, seen in again.items() if not seen.ran or seen.ran != first[pid].ran}
    users = (_user(pid, seen, confirmed.get(pid)) for pid, seen in sorted(first.items()))
    return tuple(one._replace(active=one.pid in active) for one in users)


def _stopped(facts: Facts, pid: int) -> bool:
    process = facts.processes.get(pid)
    return process is not None and process.state in "Tt"


def _watch(place: Place, facts: Facts, odd: Mapping[int, _Seen], rounds: int) -> dict[int, _Seen]:
    """Look again and again; return what stayed as it is."""
    for _ in range(rounds):
        if not odd:
            break
        place.clock.sleep(PAUSE)
        again = _sample(place, facts, odd)
        odd = {pid: again[pid] for pid, seen in odd.items() if pid in again and _alike(seen, again[pid])}
    return dict(odd)


def _alike(one: _Seen, other: _Seen) -> bool:
    """Say whether a trait of two looks is the same; a snapshot counts only of a process that did not run."""
    if one.started != other.started:
        return False
    return (one.holds and other.holds) or (one.unlocked and other.unlocked) or _stalled(one, other)


def _stalled(one: _Seen, other: _Seen) -> bool:
    return bool(one.snapshot and one.ran) and (one.snapshot, one.ran) == (other.snapshot, other.ran)


def _user(pid: int, seen: _Seen, kept: Optional[_Seen]) -> SqliteUser:
    locks = tuple(describe(lock) for lock in (*seen.main, *seen.shm))
    return SqliteUser(
        pid, seen.writes, locks, seen.snapshot, seen.checkpoints,
        holds=kept is not None and seen.holds and kept.holds,
        stalled=kept is not None and _stalled(seen, kept),
        unlocked=kept is not None and seen.unlocked and kept.unlocked,
    )  # fmt: skip


def _sample(place: Place, facts: Facts, pids: Iterable[int]) -> dict[int, _Seen]:
    folder = place.path(facts.database.path)
    wanted = {name: identify(os.path.join(folder, name)) for name in (MAIN, INDEX)}
    found = {pid: seen for pid in pids for seen in _one(place, pid, wanted)}
    # A forked child has its parent's memory and none of its locks, until it runs another program.
    return {pid: seen._replace(inherits=_inherits(place, pid, seen, found)) for pid, seen in found.items()}


def _inherits(place: Place, pid: int, seen: _Seen, found: Mapping[int, _Seen]) -> bool:
    parent = place.proc.parent(pid) or 0
    return bool(seen.mapped) and parent in found and found[parent].mapped == seen.mapped


def _one(place: Place, pid: int, wanted: Mapping[str, object]) -> list[_Seen]:
    """Return what a process does with the database; nothing where it has it not open, or just closes it."""
    mapped = _mapped(place, pid, wanted[INDEX])
    files = [one for number, path in place.proc.open_files(pid) for one in _wanted(place, pid, number, path, wanted)]
    main = [one for one in files if one.identity == wanted[MAIN]]
    if not main or mapped != _mapped(place, pid, wanted[INDEX]):
        return []
    index = [one for one in files if one.identity == wanted[INDEX]]
    locks = [tuple(lock for one in rows for lock in one.locks) for rows in (main, index)]
    started = place.proc.start_time(pid) or 0
    return [_Seen(started, any(one.writes for one in main), locks[0], locks[1], mapped, _ran(place, pid))]


def _wanted(place: Place, pid: int, number: int, path: str, wanted: Mapping[str, object]) -> list[OpenFile]:
    if not os.path.basename(path).startswith(MAIN):
        return []
    found = open_file(place, pid, number, path)
    return [found] if found is not None and found.identity in wanted.values() else []


def _mapped(place: Place, pid: int, index: object) -> int:
    """Return the address where a process has the index mapped, 0 if nowhere."""
    inode = index[1] if isinstance(index, tuple) else 0
    for line in _text(f"{place.proc.folder}/{pid}/maps").splitlines() if inode else ():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[4] == str(inode) and words[5].endswith(INDEX):
            return int(words[0].partition("-")[0], 16)
    return 0


def _ran(place: Place, pid: int) -> str:
    """Return numbers that change whenever a process runs; nothing where it runs, or wants to, just now."""
    lines = _text(f"{place.proc.folder}/{pid}/status").splitlines()
    if any(line.startswith("State:") and line.split()[1] == "R" for line in lines):
        return ""
    return " ".join(line.split()[-1] for line in lines if "ctxt_switches:" in line)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""

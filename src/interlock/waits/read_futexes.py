"""Finds processes that sleep on a lock in the shared memory of a Berkeley DB environment, and that lock's owner.

Only of processes that have a file of the environment open is more read, and only of those asleep in a futex the
memory. Whoever is gone is said to be gone only after every process of the machine was asked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from interlock.system.proc import read_text
from interlock.waits.bdb_region import CONDITION, HEAD, Mutex, find_layout, read_mutex, record_of
from interlock.waits.facts import Facts, Futex, Process, Region
from interlock.waits.read_processes import read_process

if TYPE_CHECKING:
    from interlock.waits.look import Place

# The numbers of futex(2) on x86-64 and AArch64.
FUTEX_CALLS = frozenset({202, 98})
MARK = "/__db."
MOMENT = 0.06
_LIBC = ("libc.so.6", "libc-2.")


class Mapping(NamedTuple):
    """A file that a process has mapped: from where to where in its memory, and from where in the file."""

    first: int
    after: int
    start: int
    shared: bool
    inode: int
    path: str


def read_futexes(place: Place, facts: Facts) -> tuple[tuple[Region, ...], tuple[Futex, ...]]:
    """Return the users of the environment, and those of them that sleep on one of its locks."""
    pids = sorted({one.pid for one in facts.opened if MARK in one.path})
    found = {pid: maps for pid, maps in ((pid, read_maps(place, pid)) for pid in pids) if _regions(maps)}
    regions = tuple(Region(pid, tuple(_files(maps)), _library(maps)) for pid, maps in found.items())
    futexes = [one for pid, maps in found.items() for one in _futex(place, facts, pid, maps)]
    if any(one.free or one.stale or not one.owner_alive or not one.owner for one in futexes):
        futexes = _confirm(place, facts, found, futexes)
    return regions, tuple(futexes)


def read_maps(place: Place, pid: int) -> list[Mapping]:
    """Return the files that a process has mapped, those of the environment and the C library."""
    rows = (line.split(maxsplit=5) for line in read_text(f"{place.proc.folder}/{pid}/maps").splitlines())
    wanted = (row for row in rows if len(row) == 6 and (MARK in row[5] or "/libc" in row[5]))
    return [mapping for mapping in map(_mapping, wanted) if mapping is not None]


def _mapping(row: list[str]) -> Optional[Mapping]:
    try:
        first, _, after = row[0].partition("-")
        return Mapping(int(first, 16), int(after, 16), int(row[2], 16), "s" in row[1], int(row[4]), row[5])
    except ValueError:
        return None


def _regions(maps: Iterable[Mapping]) -> list[Mapping]:
    return [one for one in maps if one.shared and MARK in one.path]


def _files(maps: Iterable[Mapping]) -> list[str]:
    return sorted({one.path for one in _regions(maps)})


def _library(maps: Iterable[Mapping]) -> str:
    for one in maps:
        if os.path.basename(one.path).startswith(_LIBC):
            return f"{one.path} inode {one.inode}"
    return ""


def _futex(place: Place, facts: Facts, pid: int, maps: Iterable[Mapping]) -> Iterator[Futex]:
    process = facts.processes.get(pid)
    if process is None or not process.call or process.call[0] not in FUTEX_CALLS or len(process.call) < 4:
        return
    address = process.call[1]
    for one in _regions(maps):
        if one.first <= address < one.after:
            yield _explain(place, facts, process, one)


def _explain(place: Place, facts: Facts, process: Process, mapping: Mapping) -> Futex:
    offset = process.call[1] - mapping.first + mapping.start
    plain = Futex(process.pid, mapping.path, offset)
    memory = f"{place.proc.folder}/{process.pid}/mem"
    layout = find_layout(_bytes(memory, mapping.first - mapping.start, HEAD))
    if layout is None:
        return plain
    begin, inside = record_of(layout, offset)
    record = _bytes(memory, mapping.first - mapping.start + begin, layout.size)
    mutex = read_mutex(record, inside)
    if mutex is None:
        return plain
    word = struct.unpack_from("<I", record, inside)[0]
    owner = _owner(process, mutex)
    return plain._replace(
        owner=owner, owner_alive=not owner or _is_user(place, facts, owner, mapping.inode), free=mutex.free,
        kind=mutex.kind, stale=word != process.call[3] & 0xFFFFFFFF,
    )  # fmt: skip


def _owner(process: Process, mutex: Mutex) -> int:
    """Return who holds a lock; he who waits for a logical lock has put his own number there."""
    own = mutex.kind == CONDITION and mutex.owner in (process.inner, process.pid)
    return 0 if own or mutex.free else mutex.owner


def _bytes(path: str, offset: int, size: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, size, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_user(place: Place, facts: Facts, owner: int, inode: int) -> bool:
    """Say whether a thread has the environment mapped that calls itself ``owner``: first those known, then all."""
    likely = [process.pid for process in facts.processes.values() if owner in (process.pid, process.inner)]
    rest = (pid for pid in place.proc.pids() if pid not in likely)
    return any(_has_thread(place, pid, owner, inode) for some in (likely, rest) for pid in some)


def _has_thread(place: Place, pid: int, owner: int, inode: int) -> bool:
    text = read_text(f"{place.proc.folder}/{pid}/maps")
    if MARK not in text or not any(one.inode == inode for one in _regions(read_maps(place, pid))):
        return False
    try:
        threads = os.listdir(f"{place.proc.folder}/{pid}/task")
    except OSError:
        return False
    return any(owner in _numbers(place, pid, thread) for thread in threads)


def _numbers(place: Place, pid: int, thread: str) -> list[int]:
    """Return how a thread is numbered, outside and in its own namespace."""
    for line in read_text(f"{place.proc.folder}/{pid}/task/{thread}/status", 65536).splitlines():
        if line.startswith("NSpid:"):
            return [int(word) for word in line.split()[1:] if word.isdecimal()]
    return [int(thread)] if thread.isdecimal() else []


def _confirm(place: Place, facts: Facts, maps: dict[int, list[Mapping]], futexes: list[Futex]) -> list[Futex]:
    """Look once more, a moment later: what is said of a lock must not have been true for a moment only."""
    before = {one.pid: read_process(place, one.pid, 0.0) for one in futexes}
    place.clock.sleep(MOMENT if place.live else 0.0)
    after = {one.pid: read_process(place, one.pid, 0.0) for one in futexes}
    again = facts._replace(processes={pid: process for pid, process in after.items() if process is not None})
    found = []
    for one in futexes:
        steady = _slept(facts.processes[one.pid], before[one.pid], after[one.pid])
        found.append(one._replace(confirmed=steady and one in _futex(place, again, one.pid, maps[one.pid])))
    return found


def _slept(first: Process, before: Optional[Process], after: Optional[Process]) -> bool:
    """Say whether it is one process that slept in one call all the time."""
    if before is None or after is None or before.switches != after.switches:
        return False
    return (first.started, first.call) == (before.started, before.call) == (after.started, after.call)

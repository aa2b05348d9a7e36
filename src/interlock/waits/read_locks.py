"""Reads the kernel's list of file locks, and gives each a path and its owners.

The list names a file by device and inode only. Where the device is not the one that ``stat`` knows (btrfs, overlay),
or the file has no name any more, the descriptors of the process say which file it is. A lock that belongs to an open
file (``OFDLCK``, ``FLOCK``) belongs to whoever has that description: their ``fdinfo`` shows it.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import read_text
from interlock.waits.facts import Facts, FileLock
from interlock.waits.process_table import detailed
from interlock.waits.read_database import USUAL
from interlock.waits.read_processes import shares_root

if TYPE_CHECKING:
    from interlock.waits.look import Place

# Lock files of the programs on top; those of the database itself are found in its directory.
ON_TOP = (
    "/run/dnf/rpmtransaction.lock", "/usr/lib/sysimage/libdnf5/system-repo.lock", "/run/zypp.pid",
    "/run/zypp-rpm.pid", "/run/yum.pid", "/var/lib/interlock/lease",
)  # fmt: skip
DELETED = " (deleted)"
_LARGEST = 4 * 1024 * 1024
_SMALL = 64 * 1024
_FCNTL = frozenset({72, 25})
_WAIT_FOR_OPEN_FILE = 38
Identity = tuple[int, int]


def start_reading(place: Place) -> Callable[[], str]:
    """Begin to read the kernel's list; return what waits for it and returns it.

    The kernel stops every lock of the machine to write the list, which takes it some milliseconds: time enough to read
    thousands of processes meanwhile.
    """
    found: list[str] = []
    reading = _thread.allocate_lock()
    reading.acquire()

    def read() -> None:
        try:
            found.append(read_text(f"{place.proc.folder}/locks", _LARGEST))
        finally:
            reading.release()

    def wait() -> str:
        with reading:
            return found[0] if found else ""

    _thread.start_new_thread(read, ())
    return wait


def read_locks(place: Place, facts: Facts, text: Optional[str] = None) -> tuple[FileLock, ...]:
    """Return the locks on files that package tools use, and the waits for them; deleted files too.

    ``text`` is the kernel's list where it has been read already. The owners of locks that belong to open files are not
    looked for yet: see ``with_owners``.
    """
    listed = read_text(f"{place.proc.folder}/locks", _LARGEST) if text is None else text
    known = _known(place, facts)
    seen = _Descriptors(place, prefixes(place, facts))
    found: list[FileLock] = []
    for line in listed.splitlines():
        lock = parse(line)
        if lock is None or (lock.kind == "POSIX" and lock.pid not in facts.processes):
            continue
        path = _path(seen, known, lock)
        if path:
            found.append(lock._replace(path=path))
    return tuple(found)


def parse(line: str) -> Optional[FileLock]:
    """Return one line of ``/proc/locks`` (proc(5)), or None where it is not understood."""
    words = line.split(None, 9)
    waits = words[1:2] == ["->"]
    rest = words[2:] if waits else words[1:]
    try:
        number = int(words[0].rstrip(":"))
        kind, mode, pid = rest[0], rest[2], int(rest[3])
        major, minor, inode = rest[4].split(":")
        last = None if rest[6] == "EOF" else int(rest[6])
        device = (int(major, 16), int(minor, 16))
        return FileLock(number, kind, mode == "WRITE", pid, "", device, int(inode), int(rest[5]), last, waits)
    except (IndexError, ValueError):
        return None


def _known(place: Place, facts: Facts) -> dict[int, list[tuple[Identity, str]]]:
    """Return by inode the files that matter, each with its device."""
    folder = facts.database.path
    known: dict[int, list[tuple[Identity, str]]] = {}
    for one in facts.database.files:
        known.setdefault(one.inode, []).append(((one.device, one.inode), os.path.join(folder, one.name)))
    for path in ON_TOP if place.live or str(place.root) != "/" else ():
        try:
            found = os.stat(place.path(path))
        except OSError:
            continue
        known.setdefault(found.st_ino, []).append(((found.st_dev, found.st_ino), path))
    return known


def prefixes(place: Place, facts: Facts) -> tuple[str, ...]:
    """Return what the paths of the database's files begin with."""
    folders = [facts.database.path] if facts.database.backend or place.live else [facts.database.path, *USUAL]
    return tuple(folder.rstrip("/") + "/" for folder in dict.fromkeys(folders))


def _path(seen: _Descriptors, known: Mapping[int, list[tuple[Identity, str]]], lock: FileLock) -> str:
    rows = known.get(lock.inode, [])
    for (device, _), path in rows:
        if (os.major(device), os.minor(device)) == lock.device:
            return path
    if lock.pid > 0 and (lock.kind == "POSIX" or seen.there(lock.pid)):
        return seen.path_of(lock, rows)
    # Who has it, and so whether it is this file at all, is seen later by the descriptors.
    return rows[0][1] if rows else ""


class _Descriptors:
    """What processes have open, each asked once."""

    def __init__(self, place: Place, begins: tuple[str, ...]) -> None:
        self._place, self._begins = place, begins
        self._known: dict[int, list[tuple[int, str]]] = {}

    def of(self, pid: int) -> list[tuple[int, str]]:
        """Return the open files of a process that lie in the database's directory or are locks of the trade."""
        if pid not in self._known:
            found = self._place.proc.open_files(pid) if shares_root(self._place, pid) else ()
            self._known[pid] = [one for one in found if one[1].startswith(self._begins) or one[1] in ON_TOP]
        return self._known[pid]

    def there(self, pid: int) -> bool:
        """Say whether a process is there: whoever took a lock of an open file may be gone, and the lock is not."""
        return os.path.exists(f"{self._place.proc.folder}/{pid}")

    def path_of(self, lock: FileLock, rows: Iterable[tuple[Identity, str]]) -> str:
        """Return the path under which a process has the locked file open; empty where it is no file that matters."""
        wanted = dict(rows)
        for descriptor, target in self.of(lock.pid):
            name = f"{self._place.proc.folder}/{lock.pid}/fd/{descriptor}"
            if _inode(self._place, lock.pid, descriptor, name) != lock.inode:
                continue
            found = wanted.get(_identity(name))
            if found or not self._place.live:
                return found or target
            # A file of the database that is not in its directory any more.
            return target if target.endswith(DELETED) else ""
        return ""


def _inode(place: Place, pid: int, descriptor: int, name: str) -> Optional[int]:
    if place.live:
        return _identity(name)[1]
    for line in read_text(f"{place.proc.folder}/{pid}/fdinfo/{descriptor}", _SMALL).splitlines():
        words = line.split()
        if words[:1] == ["ino:"] and words[1:] and words[1].isdecimal() and len(words[1]) < 24:
            return int(words[1])
    return None


def _identity(path: str) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def with_owners(place: Place, facts: Facts) -> Facts:
    """Return the facts with a lock of an open file once for each process that has it."""
    if all(lock.pid in facts.processes for lock in facts.locks):
        return facts
    found = tuple(one for lock in facts.locks for one in _owned(place, facts, lock))
    return facts._replace(locks=found)


def _owned(place: Place, facts: Facts, lock: FileLock) -> Iterable[FileLock]:
    if lock.pid in facts.processes:
        return [lock]
    owners = list(_owners(place, detailed(facts.processes), lock)) or list(_owners(place, facts.processes, lock))
    if not owners:
        return [lock] if _certain(place, facts, lock) else []
    return [lock._replace(pid=pid) for pid in owners]


def _certain(place: Place, facts: Facts, lock: FileLock) -> bool:
    """Say whether the lock is on one of the database's files though nobody is seen to have it."""
    devices = {one.device for one in facts.database.files if one.inode == lock.inode}
    return not place.live or any((os.major(device), os.minor(device)) == lock.device for device in devices)


def _owners(place: Place, pids: Iterable[int], lock: FileLock) -> Iterator[int]:
    for pid in pids:
        for descriptor, target in place.proc.open_files(pid):
            if target == lock.path and (_awaits if lock.waits else _has)(place, pid, descriptor, lock):
                yield pid
                break


def _has(place: Place, pid: int, descriptor: int, lock: FileLock) -> bool:
    text = read_text(f"{place.proc.folder}/{pid}/fdinfo/{descriptor}", _SMALL)
    return any(_is_lock(line, lock) for line in text.splitlines() if line.startswith("lock:"))


def _is_lock(line: str, lock: FileLock) -> bool:
    found = parse(line.partition(":")[2])
    return found is not None and (found.kind, found.inode, found.first) == (lock.kind, lock.inode, lock.first)


def _awaits(place: Place, pid: int, descriptor: int, lock: FileLock) -> bool:
    words = read_text(f"{place.proc.folder}/{pid}/syscall", _SMALL).split()[:3]
    try:
        call = [int(word, 0) for word in words]
    except ValueError:
        return False
    return len(call) == 3 and call[0] in _FCNTL and call[1] == descriptor and call[2] == _WAIT_FOR_OPEN_FILE

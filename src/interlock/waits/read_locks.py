"""Reads the kernel's list of file locks, and gives each a path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

from interlock.waits.facts import Facts, FileLock

if TYPE_CHECKING:
    from interlock.waits.look import Place

# Lock files of the programs on top; those of the database itself are found in its directory.
ON_TOP = (
    "/run/dnf/rpmtransaction.lock", "/usr/lib/sysimage/libdnf5/system-repo.lock", "/run/zypp.pid",
    "/run/zypp-rpm.pid", "/run/yum.pid", "/var/lib/interlock/lease",
)  # fmt: skip


def read_locks(place: Place, facts: Facts) -> tuple[FileLock, ...]:
    """Return the locks on files that package tools use, and the waits for them; deleted files too."""
    known = _known_inodes(place, facts)
    found: list[FileLock] = []
    for line in _lines(place):
        lock = parse(line)
        if lock is None or (lock.pid > 0 and lock.pid not in facts.processes):
            continue
        path = known.get(lock.inode) or _path_by_holder(place, facts, lock)
        if path:
            found += _with_owners(place, facts, lock._replace(path=path))
    return tuple(found)


def _lines(place: Place) -> list[str]:
    try:
        with open(f"{place.proc.root}/locks", "rb") as stream:
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def parse(line: str) -> Optional[FileLock]:
    """Return one line of ``/proc/locks`` (proc(5)), or None where it is not understood."""
    words = line.split()
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


def _known_inodes(place: Place, facts: Facts) -> dict[int, str]:
    known = {one.inode: os.path.join(facts.database.path, one.name) for one in facts.database.files}
    for path in ON_TOP:
        try:
            known[os.stat(place.path(path)).st_ino] = path
        except OSError:
            continue
    return known


def _path_by_holder(place: Place, facts: Facts, lock: FileLock) -> str:
    """Return the path of a locked file that is not in the database's directory now, if it was one of its files."""
    prefix = facts.database.path.rstrip("/") + "/"
    for _, target in place.proc.open_files(lock.pid) if lock.pid > 0 else ():
        if target.startswith(prefix) and target.endswith(" (deleted)"):
            return target
    return ""


def _with_owners(place: Place, facts: Facts, lock: FileLock) -> list[FileLock]:
    """Return a lock once for each process that has it; an open-file-description lock names no process itself."""
    if lock.pid > 0:
        return [lock]
    owners = [pid for pid in facts.processes if any(path == lock.path for _, path in place.proc.open_files(pid))]
    return [lock._replace(pid=pid) for pid in owners] or [lock]

"""Makes a private copy of the package database to look at, without asking the library that the host uses on it.

Opening a live SQLite database, even for reading only, makes missing ``-wal`` and ``-shm`` files anew and so changes
what is looked at; opening a Berkeley DB environment may hang. The files are read as they are, again and again until
nothing changed meanwhile. Only of an SQLite database that never rests is the copy made through the library. Left
out are the shared regions and the locks: they belong to the processes that use the database, not to its content.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from interlock.errors import InterlockError
from interlock.rpmdb.backend import Database, is_volatile, read_copy
from interlock.system import durable
from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place

TRIES = 20
# A shared-memory file is made anew from the log by whoever opens the copy first.
LEFT_OUT = "rpmdb.sqlite-shm"
SPARE = 16 << 20
WAL_HEADER = 32
Fingerprint = tuple[tuple[str, int, int, int], ...]


@contextlib.contextmanager
def private_copy(place: Place, facts: Facts, name: str) -> Iterator[Optional[str]]:
    """Give the path of a copy that nobody else opens, or None where none can be made; it is removed afterwards."""
    source = place.path(facts.database.path)
    target = _room(place, source, name)
    try:
        yield target if target and _fill(facts, source, target) else None
    finally:
        durable.remove_trees([target] if target else [])


def _room(place: Place, source: str, name: str) -> Optional[str]:
    """Make an empty directory of our own where there is room: a full or read-only disk must not keep us blind."""
    needed = 2 * _size(source) + SPARE
    others = (f"/run/interlock-doctor-{os.getpid()}", f"/dev/shm/interlock-doctor-{os.getpid()}")
    usual = f"{tempfile.gettempdir()}/interlock-doctor-{os.getpid()}"
    for folder in (f"{place.scratch}-{name}", *(f"{one}-{name}" for one in (*others, usual))):
        parent = os.path.dirname(folder)
        try:
            if folder.startswith(place.scratch):
                os.makedirs(parent, exist_ok=True)
            found = os.statvfs(parent)
            if found.f_bavail * found.f_frsize >= needed:
                os.mkdir(folder, 0o700)
                return folder
        except OSError:
            continue
    return None


def _size(folder: str) -> int:
    total = 0
    for name in _names(folder):
        with contextlib.suppress(OSError):
            total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _names(folder: str) -> list[str]:
    """Return the files that belong to the content."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        name
        for name in names
        if not is_volatile(name) and name != LEFT_OUT and os.path.isfile(os.path.join(folder, name))
    ]


def _fill(facts: Facts, source: str, target: str) -> bool:
    """Copy; say whether the copy is of one moment."""
    return copy_content(source, target) or _through_library(facts, source, target)


def copy_content(source: str, target: str) -> bool:
    """Fill the directory ``target`` with the content of a database as it is; say whether it is of one moment."""
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            before = fingerprint(source)
            _copy(source, target)
            if fingerprint(source) == before:
                return True
    return False


def _copy(source: str, target: str) -> None:
    for name in os.listdir(target):
        durable.remove_file(os.path.join(target, name))
    for name in _names(source):
        shutil.copyfile(os.path.join(source, name), os.path.join(target, name))


def fingerprint(folder: str) -> Fingerprint:
    """Return what changes when the content does: of each file its number, size and time; of the log its salts too."""
    rows = []
    for name in _names(folder):
        found = os.lstat(os.path.join(folder, name))
        rows.append((name, found.st_ino, found.st_size, found.st_mtime_ns ^ _salts(folder, name)))
    return tuple(rows)


def _salts(folder: str, name: str) -> int:
    """Return the two numbers that SQLite changes whenever it begins the log anew (fileformat2, section 4.1)."""
    if not name.endswith("-wal"):
        return 0
    with open(os.path.join(folder, name), "rb") as stream:
        head = stream.read(WAL_HEADER)
    return int(struct.unpack(">Q", head[16:24])[0]) if len(head) == WAL_HEADER else 0


def _through_library(facts: Facts, source: str, target: str) -> bool:
    """Copy a database that never rests with SQLite's own backup, which takes nothing but a reader's lock."""
    names = {one.name for one in facts.database.files}
    if facts.database.backend != "sqlite" or not {"rpmdb.sqlite-wal", "rpmdb.sqlite-shm"} <= names:
        return False
    path = facts.database
    try:
        read_copy(Database(path.path, source, path.backend, path.wanted or path.backend, path.lock), target)
    except (InterlockError, OSError):
        return False
    return True

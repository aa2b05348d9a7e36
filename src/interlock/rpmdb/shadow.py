"""The shadow: a private copy of the package database, in which an upgrade works until it is committed.

Layout: D is the real database directory, S a sibling of it, ``.<name>.interlock-<operation>``, on the same file
system, mode as D. Rules:

* rpm's lock on D is held from before the copy until after the exchange.
* Nobody but the operation's own processes ever opens S while it is the shadow.
* The exchange is one ``renameat2(RENAME_EXCHANGE)``. Before it, S loses its ``__db.*`` regions (no process of a new
  C library ever meets locks made under the old one) and gets the *same* lock file by a hard link, so that those
  who wait keep waiting on the inode that the next holder takes. After it, S is the old database, kept to undo.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Optional

from interlock.rpmdb.backend import (
    Database,
    backend_of,
    copy_database,
    database_size,
    empty_write_ahead_log,
    is_volatile,
    sync_files,
)
from interlock.system import durable, linux
from interlock.system.trace import Trace

INFIX = ".interlock-"
_OCTAL = re.compile(rb"\\([0-7]{3})")
# Room for the copy, for what the transaction adds to it, and for a rebuild in another format beside it.
SPACE_FACTOR = 3
SPACE_SPARE = 16 << 20


@dataclass(frozen=True)
class Shadow:
    """The shadow of one operation."""

    database: Database
    path: str

    @classmethod
    def of(cls, database: Database, operation: str) -> Shadow:
        """Return where the shadow of an operation lies; nothing is made."""
        return cls(database, f"{_stem(database)}{operation}")

    def make(self, trace: Trace) -> None:
        """Copy the database. The caller holds rpm's lock."""
        durable.remove_trees([self.path])
        found = os.stat(self.database.path)
        os.mkdir(self.path, 0o700)
        trace.point("shadow.started")
        copy_database(self.database, self.path)
        os.chown(self.path, found.st_uid, found.st_gid)
        os.chmod(self.path, found.st_mode & 0o7777)
        durable.sync_directory(os.path.dirname(self.path))
        trace.point("shadow.copied")

    def exchange(self, trace: Trace) -> None:
        """Let everybody see the shadow as the database, in one step. The caller holds rpm's lock."""
        self._settle()
        self._link_lock()
        sync_files(self.path)
        trace.point("commit.linked")
        linux.rename_exchange(self.path, self.database.path)
        durable.sync_directory(os.path.dirname(self.path))

    def _settle(self) -> None:
        for name in os.listdir(self.path):
            if is_volatile(name):
                durable.remove_file(os.path.join(self.path, name))
        if backend_of(self.path) == "sqlite":
            empty_write_ahead_log(self.path)

    def _link_lock(self) -> None:
        if os.path.dirname(self.database.lock) != self.database.path:
            return
        new = os.path.join(self.path, os.path.basename(self.database.lock))
        os.link(self.database.lock, f"{new}.link")
        os.rename(f"{new}.link", new)

    def discard(self) -> None:
        """Remove it, with all that lies beside it by its name."""
        remove_shadow(self.path)


def remove_shadow(path: str) -> None:
    """Remove a shadow, and what ``rpmdb --rebuilddb`` made beside it under its name and was killed in."""
    parent, name = os.path.split(path)
    durable.remove_trees([os.path.join(parent, one) for one in os.listdir(parent) if one.startswith(name)])


def _stem(database: Database) -> str:
    parent, name = os.path.split(database.path)
    return os.path.join(parent, f".{name}{INFIX}")


def kept_copies(database: Database) -> list[str]:
    """Return the old databases and shadows that lie beside the database, oldest operation first."""
    parent, prefix = os.path.split(_stem(database))
    return [os.path.join(parent, name) for name in sorted(os.listdir(parent)) if name.startswith(prefix)]


def obstacle(database: Database) -> Optional[str]:
    """Say why no shadow can be used for this database, or None if one can."""
    parent = os.path.dirname(database.path)
    # A bind mount of a directory of the same file system is only seen in the list; a subvolume only by its device.
    if os.path.ismount(database.path) or database.path in [point for point, _ in _mounts()]:
        return f"{database.path} is a mount point, which cannot be exchanged"
    if _file_system(parent) in ("overlay", "aufs", "nfs", "nfs4", "9p", "virtiofs", "fuse"):
        return f"{parent} is on {_file_system(parent)}, where directories cannot be exchanged safely"
    return _try_exchange(parent)


def _try_exchange(parent: str) -> Optional[str]:
    """Exchange two new directories beside the database: the only sure answer."""
    pair = [os.path.join(parent, f"{INFIX}try-{os.getpid()}-{number}") for number in (1, 2)]
    try:
        for path in pair:
            os.mkdir(path, 0o700)
        linux.rename_exchange(*pair)
    except OSError as error:
        return f"directories in {parent} cannot be exchanged: {error.strerror}"
    finally:
        durable.remove_trees(pair)
    return None


def _mounts() -> list[tuple[str, str]]:
    """Return mount point and file system type of every mount that this process sees, in mounting order."""
    found = []
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            left, _, right = line.partition(b" - ")
            # Blanks and the like are written as three octal digits (proc_pid_mountinfo(5)).
            point = _OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), left.split()[4])
            found.append((os.fsdecode(point), os.fsdecode(right.split()[0])))
    return found


def _file_system(path: str) -> str:
    """Return the type of the file system that ``path`` is on, from the longest matching mount point."""
    best, kind = "", ""
    for point, found in _mounts():
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def space_needed(database: Database) -> int:
    """Return the bytes that must be free beside the database before a shadow is begun."""
    return database_size(database.path) * SPACE_FACTOR + SPACE_SPARE


def free_space(path: str) -> int:
    """Return the bytes that are free on the file system of ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize

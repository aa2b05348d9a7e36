"""The shadow in memory, for as long as the transaction runs.

rpm syncs its database after every package, for a database that everybody uses. Nobody uses a shadow: until the commit
it may as well be lost, because the original is untouched. So the worker mounts a memory file system over the shadow, in
its own mount namespace, works there, and brings the result back to the disk when rpm has returned; the commit syncs it
once. Where memory is short, or the worker dies, the shadow on the disk is simply what it was when it was made.
"""

from __future__ import annotations

import os
from typing import Optional

from interlock.rpmdb.backend import database_size, is_volatile
from interlock.system import durable, linux
from interlock.system.proc import ProcReader

# What a transaction may make of a database, and what part of the free memory that may be at the most.
GROWTH, SPARE, PART = 4, 64 << 20, 8


class MemoryShadow:
    """A memory file system over a shadow. ``disk`` is the directory below it, ``path`` what everybody here sees."""

    def __init__(self, path: str, disk: int) -> None:
        self.path, self.disk = path, f"/proc/self/fd/{disk}"

    @classmethod
    def over(cls, path: str, proc: ProcReader) -> Optional[MemoryShadow]:
        """Mount it and fill it, in the caller's own mount namespace; None where there is not enough memory."""
        limit = database_size(path) * GROWTH + SPARE
        if limit * PART > proc.available_memory():
            return None
        mode = os.stat(path).st_mode & 0o7777
        shadow = cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        linux.mount("tmpfs", path, 0, "tmpfs", f"size={limit},mode={mode:o}")
        copy_files(shadow.disk, path)
        return shadow

    def bring_back(self) -> None:
        """Make the directory on the disk hold what is here now."""
        here = {name for name in os.listdir(self.path) if not is_volatile(name)}
        for name in os.listdir(self.disk):
            if name not in here and os.path.isfile(os.path.join(self.disk, name)):
                durable.remove_file(os.path.join(self.disk, name))
        copy_files(self.path, self.disk)


def copy_files(source: str, target: str) -> None:
    """Copy the files of a database directory, those that belong to its users left out."""
    for name in os.listdir(source):
        one, other = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(one):
            os.makedirs(other, exist_ok=True)
            copy_files(one, other)
        elif not is_volatile(name):
            durable.copy_file(one, other)

"""What one process has open, with the locks that go with it, as ``/proc/PID/fd`` and ``fdinfo`` say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Optional

from interlock.waits.facts import FileLock
from interlock.waits.read_locks import parse

if TYPE_CHECKING:
    from interlock.waits.look import Place

Identity = tuple[int, int]


class OpenFile(NamedTuple):
    """One open descriptor. ``path`` may end in `` (deleted)``."""

    path: str
    identity: Identity
    writes: bool
    locks: tuple[FileLock, ...]


def identify(path: str) -> Optional[Identity]:
    """Return what a file is, whatever its name; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_file(place: Place, pid: int, descriptor: int, path: str) -> Optional[OpenFile]:
    """Return what a descriptor of a process leads to; None if it has been closed meanwhile."""
    folder = f"{place.proc.folder}/{pid}"
    identity = identify(f"{folder}/fd/{descriptor}")
    try:
        with open(f"{folder}/fdinfo/{descriptor}", encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return None
    rows = [line.partition(":") for line in lines]
    flags = next((int(value, 8) for name, _, value in rows if name == "flags"), 0)
    found = (parse(value) for name, _, value in rows if name == "lock")
    locks = tuple(lock._replace(path=path) for lock in found if lock is not None)
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    return None if identity is None else OpenFile(path, identity, writes, locks)

"""Finds processes that go on with a package database, or with its lock, that has been deleted or moved away.

Harmless, and left out: whoever only reads an old database to its end; ``rpm --rebuilddb`` itself, which makes the new
one beside the old; copies that Interlock keeps; other databases, which a command names (``--root``, ``--dbpath``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from interlock.waits.conditions import Stray
from interlock.waits.facts import Facts
from interlock.waits.open_files import OpenFile, identify, open_file

if TYPE_CHECKING:
    from interlock.waits.look import Place

DELETED = " (deleted)"
LOCK = ".rpm.lock"
CONTENT = ("rpmdb.sqlite", "Packages.db", "Packages")
ELSEWHERE = re.compile(r"--rebuilddb|--initdb|--dbpath|--root|--installroot|_dbpath|(^|\s)-r\s")
PASSING = re.compile(r"rebuilddb\.\d+$|\.interlock-")


def read_strays(place: Place, facts: Facts) -> tuple[Stray, ...]:
    """Return who uses for writing, or waits for, what is not in place any more."""
    if not place.live or not facts.database.backend:
        return ()
    root = identify(str(place.root))
    names = [pid for pid, one in facts.processes.items() if not ELSEWHERE.search(one.command)]
    return tuple(
        stray for pid in names for stray in _strays(place, facts, pid) if _is_member(place, pid, root)
    )  # fmt: skip


def _is_member(place: Place, pid: int, root: object) -> bool:
    """Say whether a process has the host's own root directory; a container's has another, with the same names."""
    return identify(f"{place.proc.folder}/{pid}/root/.") == root


def _strays(place: Place, facts: Facts, pid: int) -> Iterator[Stray]:
    for number, target in place.proc.open_files(pid):
        path = target[: -len(DELETED)] if target.endswith(DELETED) else target
        folder, name = os.path.split(path)
        if name not in (LOCK, *CONTENT) or not _beside(folder, facts.database.path):
            continue
        found = open_file(place, pid, number, target)
        moved = target.endswith(DELETED) or folder != facts.database.path
        if found is not None and _astray(place, facts, name, found, moved):
            yield Stray(pid, target, name == LOCK, _held(facts, pid, name, found))


def _beside(folder: str, database: str) -> bool:
    """Say whether a directory is the database's, or lies beside it as one that was moved away does."""
    return os.path.dirname(folder) == os.path.dirname(database) and not PASSING.search(folder)


def _astray(place: Place, facts: Facts, name: str, found: OpenFile, moved: bool) -> bool:
    now: Optional[object] = identify(os.path.join(place.path(facts.database.path), name))
    if now == found.identity:
        return False
    # A lock file is not astray where the database has none of its own: it is made with the next transaction.
    return moved or now is not None if name == LOCK else found.writes


def _held(facts: Facts, pid: int, name: str, found: OpenFile) -> bool:
    waits = any(lock.pid == pid and lock.inode == found.identity[1] for lock in facts.locks)
    return bool(found.locks) or waits

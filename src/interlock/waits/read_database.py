"""Finds the package database of a host, and lists its directory. Opens none of its files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

from interlock.waits.facts import Database, DatabaseFile

if TYPE_CHECKING:
    from interlock.waits.look import Place

# Where distributions keep it; a link counts for the place that it leads to.
USUAL = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
MARKERS = (("rpmdb.sqlite", "sqlite"), ("Packages.db", "ndb"), ("Packages", "bdb"))


def read_database(place: Place) -> Database:
    """Return where the database is, its format and its files; an empty backend where there is none."""
    if not place.live and str(place.root) == "/":
        # A captured /proc of another host: our own files say nothing about it.
        return Database(USUAL[0], "", (), os.path.join(USUAL[0], ".rpm.lock"))
    found = [path for path in USUAL if os.path.isdir(place.path(path))]
    held = [path for path in found if _backend(place.path(path))]
    if not found:
        return Database(USUAL[0], "", ())
    path = _real(place, (held or found)[0])
    inside = place.path(path)
    return Database(path, _backend(inside), _files(inside), os.path.join(path, ".rpm.lock"))


def _real(place: Place, path: str) -> str:
    """Return a path with its links followed, below the host's root."""
    if place.ours:
        return os.path.realpath(path)
    for _ in range(8):
        seen = place.path(path)
        if not os.path.islink(seen):
            return path
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(seen)))
        except OSError:
            return path
    return path


def _backend(folder: str) -> str:
    for name, backend in MARKERS:
        if os.path.exists(os.path.join(folder, name)):
            return backend
    return ""


def _files(folder: str) -> tuple[DatabaseFile, ...]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    return tuple(row for row in (_file(folder, name) for name in names) if row is not None)


def _file(folder: str, name: str) -> Optional[DatabaseFile]:
    try:
        found = os.lstat(os.path.join(folder, name))
    except OSError:
        return None
    return DatabaseFile(name, found.st_dev, found.st_ino, found.st_size, found.st_mode, found.st_uid, found.st_mtime)

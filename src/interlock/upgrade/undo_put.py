"""Puts one path back from an undo store, in steps that may be cut anywhere and done again."""

from __future__ import annotations

import base64
import os
import stat
from typing import Callable

from interlock.system import durable
from interlock.upgrade.undo_entry import FOLDER, LINK, SPECIAL, Entry, has_metadata, lstat, read_attributes

TEMPORARY = ".interlock-undo"
SPECIAL_BITS = 0o7000


def put_back(entry: Entry, what: str, real: str, stored: Callable[[Entry], str], twin: str) -> None:
    """Make ``real`` what an entry says; ``what`` is how it differs, ``twin`` where the first name of its inode is.

    A file is made beside its place and renamed over it.
    """
    if what == "kind":
        _make_way(entry, real)
    if entry.kind == FOLDER:
        os.makedirs(real, exist_ok=True)
    elif what != "metadata":
        _replace(entry, real, stored, twin)
    if what == "metadata" or not _is_itself(entry):
        set_metadata(entry, real)


def _is_itself(entry: Entry) -> bool:
    """Say whether what was put back is the very inode from before, of which rpm takes nothing but special rights."""
    return entry.how == "link" and not entry.mode & SPECIAL_BITS and not entry.attributes


def _make_way(entry: Entry, real: str) -> None:
    """Clear a path that is of another kind now: a directory that is to become a link, or the other way round."""
    if os.path.isdir(real) and not os.path.islink(real):
        try:
            os.rmdir(real)
        except OSError:
            os.rename(real, f"{real}{TEMPORARY}-aside")
    elif entry.kind == FOLDER:
        os.unlink(real)


def _replace(entry: Entry, real: str, stored: Callable[[Entry], str], twin: str) -> None:
    temporary = f"{real}{TEMPORARY}"
    try:
        _make(entry, temporary, stored, twin)
    except FileExistsError:
        # Of an earlier attempt that was cut.
        os.unlink(temporary)
        _make(entry, temporary, stored, twin)
    os.rename(temporary, real)
    if os.path.lexists(temporary):
        # A rename between two names of one inode does nothing, and leaves both.
        os.unlink(temporary)


def _make(entry: Entry, temporary: str, stored: Callable[[Entry], str], twin: str) -> None:
    if entry.kind == LINK:
        os.symlink(entry.target, temporary)
    elif entry.kind == SPECIAL:
        os.mknod(temporary, entry.mode, entry.device)
    elif entry.twin and os.path.exists(twin):
        os.link(twin, temporary)
    elif entry.how == "link":
        os.link(stored(entry), temporary)
    else:
        durable.remove_file(temporary)
        durable.copy_file(stored(entry), temporary)


def set_metadata(entry: Entry, real: str) -> None:
    """Give a path the owner, mode, attributes and time of an entry; nothing where it is not there."""
    found = lstat(real)
    if found is None or has_metadata(entry, found, real):
        return
    attributes = read_attributes(real)
    if (found.st_uid, found.st_gid) != (entry.owner, entry.group):
        os.chown(real, entry.owner, entry.group, follow_symlinks=False)
    for name in set(attributes) - set(entry.attributes):
        os.removexattr(real, name, follow_symlinks=False)
    for name, value in entry.attributes.items():
        if attributes.get(name) != value or found.st_uid != entry.owner:
            os.setxattr(real, name, base64.b64decode(value), follow_symlinks=False)
    if entry.kind != LINK:
        # After chown, which takes setuid away.
        os.chmod(real, stat.S_IMODE(entry.mode))
    os.utime(real, ns=(found.st_atime_ns, entry.modified), follow_symlinks=False)


def remove_extra(real: str, aside: str) -> bool:
    """Remove what was not there before; say whether something in it is kept at ``aside``.

    A directory may have got what is not the upgrade's: it goes aside with all that, where one rename can do it.
    """
    if not os.path.isdir(real) or os.path.islink(real):
        durable.remove_file(real)
        return False
    try:
        os.rmdir(real)
        return False
    except OSError:
        return _move_aside(real, aside)


def _move_aside(real: str, aside: str) -> bool:
    os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
    number = 0
    while os.path.lexists(f"{aside}.{number}" if number else aside):
        number += 1
    try:
        os.rename(real, f"{aside}.{number}" if number else aside)
    except OSError:
        # A mount point, or another file system: it stays.
        return False
    return True


def copy_aside(real: str, target: str) -> None:
    """Keep what somebody else may have put there: files and links; directories stay until they are empty."""
    if os.path.isdir(real) and not os.path.islink(real):
        return
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    if os.path.islink(real):
        durable.remove_file(target)
        os.symlink(os.readlink(real), target)
    elif os.path.isfile(real):
        durable.copy_file(real, target)

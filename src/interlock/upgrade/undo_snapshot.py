"""Where root is a btrfs subvolume, an undo store has a snapshot of it as well.

From it come the files of packages that stay and that a scriptlet has changed nevertheless: nobody knows beforehand
which these will be, and to keep a copy of each would take as much space as the system. The snapshot is
``undo/<operation>/snapshot``, read-only; what lies on other file systems or subvolumes is not in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Optional

from interlock.system import linux
from interlock.upgrade.undo_entry import FILE, Entry, describe, kind_of, lstat
from interlock.upgrade.undo_keep import digest_of

SNAPSHOT = "snapshot"
# The inode number of a subvolume's root directory.
SUBVOLUME = 256


def take(root: str, folder: str) -> bool:
    """Make the snapshot of ``root`` in a store's folder; False where there can be none."""
    if os.stat(root).st_ino != SUBVOLUME:
        return False
    try:
        linux.snapshot_subvolume(root, folder, SNAPSHOT)
    except OSError:
        # No btrfs after all, or another file system than the store's.
        return False
    return True


def drop(folder: str) -> None:
    """Delete the snapshot of a store, if it has one."""
    if os.path.isdir(os.path.join(folder, SNAPSHOT)):
        linux.delete_subvolume(folder, SNAPSHOT)


def changed(root: str, folder: str, paths: Iterable[str]) -> list[Entry]:
    """Return entries for those of the paths that are not as in the snapshot; none where there is no snapshot."""
    if not os.path.isdir(os.path.join(folder, SNAPSHOT)):
        return []
    return list(_changed(root, os.path.join(folder, SNAPSHOT), paths))


def _changed(root: str, snapshot: str, paths: Iterable[str]) -> Iterator[Entry]:
    prefix = "" if root == "/" else root
    for path in paths:
        before = lstat(snapshot + path)
        if before is None or stat.S_ISDIR(before.st_mode):
            # On another file system than root; or a directory, whose times are those of its entries.
            continue
        if not _same(before, lstat(prefix + path)):
            yield _entry(path, snapshot + path, before)


def _same(before: os.stat_result, now: Optional[os.stat_result]) -> bool:
    # A snapshot keeps inode numbers. Whatever changes a file changes its ctime.
    return now is not None and (before.st_ino, before.st_ctime_ns) == (now.st_ino, now.st_ctime_ns)


def _entry(path: str, kept: str, found: os.stat_result) -> Entry:
    if kind_of(found) != FILE:
        return describe(path, kept, found)
    # Named as files of the store are: below its ``files``.
    return describe(path, kept, found, how="copy", name=f"../{SNAPSHOT}{path}", digest=digest_of(kept))

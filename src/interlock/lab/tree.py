"""The whole of a host's tree as values: what recovery must leave as it was, or as it was meant."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from interlock.boot.rescue import own_paths

# Logs, caches, our own state, and what is no file system of the host; /srv has the depots.
LEFT_OUT = (
    "/proc", "/sys", "/dev", "/run", "/tmp", "/srv", "/var/log", "/var/cache", "/var/tmp", "/var/lib/interlock",
    "/var/lib/rpm", "/usr/local/bin",
)  # fmt: skip
# What every host gets once: the unit that recovers at boot, and what an initramfs is made with.
OURS = frozenset(own_paths())
# Written by systemd itself, at every boot or so.
TOUCHED = ("/var/lib/systemd/", "/etc/.updated", "/var/.updated", "/root/.ssh", "/etc/machine-id", "/etc/mtab")
Content = dict[tuple[int, int, int, int], str]


class Seen(NamedTuple):
    """One path: kind and mode, owner, links, time in nanoseconds, content (digest or target), attributes."""

    mode: int
    owner: tuple[int, int]
    links: int
    modified: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]


def tree(root: Path, known: Content) -> dict[str, Seen]:
    """Return every path of a host by its name. ``known`` remembers digests of files that have not changed since."""
    found: dict[str, Seen] = {}
    todo = ["/"]
    while todo:
        folder = todo.pop()
        for one in os.scandir(os.path.join(root, folder.lstrip("/"))):
            path = os.path.join(folder, one.name)
            if path in LEFT_OUT or path in OURS or path.startswith(TOUCHED):
                continue
            found[path] = _seen(one.path, known)
            if one.is_dir(follow_symlinks=False):
                todo.append(path)
    return found


def _seen(path: str, known: Content) -> Seen:
    one = os.lstat(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    content, plain = "", stat.S_ISREG(one.st_mode)
    if plain:
        key = (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        if key not in known:
            known[key] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        content = known[key]
    elif stat.S_ISLNK(one.st_mode):
        content = os.readlink(path)
    folder = stat.S_ISDIR(one.st_mode)
    modified = 0 if folder else one.st_mtime_ns
    return Seen(one.st_mode, (one.st_uid, one.st_gid), one.st_nlink if plain else 0, modified, content, attributes)


def differences(before: dict[str, Seen], after: dict[str, Seen]) -> list[str]:
    """Return what is not the same, in words."""
    paths = sorted(set(before) | set(after))
    return [f"{path}: {before.get(path)} -> {after.get(path)}" for path in paths if before.get(path) != after.get(path)]

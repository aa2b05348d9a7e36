"""Root directories of hosts: a snapshot of the image, or a disk of another file system with the same tree on it.

A disk is an image file beside the snapshots, mounted where the host's root directory is. The first of each release and
file system is filled from the image; every host's is a copy that shares its blocks. Layout, below the lab's mount::

    disks/R.FS           the tree of release R on file system FS; its stamp is written last
    disks/NAME.host      the disk of a host
"""

from __future__ import annotations

import os
from pathlib import Path

from interlock.lab.cache import Cache, Progress, delete_subvolume, locked, snapshot
from interlock.lab.errors import UnknownFilesystem
from interlock.lab.image import RECIPE
from interlock.system.run import Runner

SNAPSHOT = "btrfs"
MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
NAMES = (SNAPSHOT, *MAKERS)
SIZE = 6 << 30
_SUFFIX = ".host"


def check_filesystem(name: str) -> str:
    """Return the name of a file system if hosts can be on it."""
    if name not in NAMES:
        raise UnknownFilesystem(name=name, known=", ".join(NAMES))
    return name


def make_root(cache: Cache, release: str, name: str, filesystem: str, runner: Runner) -> None:
    """Make the root directory of a host; what it is copied from is there."""
    root = cache.roots / name
    if filesystem == SNAPSHOT:
        snapshot(cache.images / release, root, runner)
        return
    root.mkdir()
    runner.run(["cp", "--reflink=always", str(_first(cache, release, filesystem)), str(_disk(cache, name))])
    attach(cache, name, runner)


def attach(cache: Cache, name: str, runner: Runner) -> None:
    """Mount the disk of a host, if it has one that is not mounted."""
    disk, root = _disk(cache, name), cache.roots / name
    if disk.exists() and not os.path.ismount(root):
        runner.run(["mount", "-o", "loop,noatime", str(disk), str(root)])


def remove_root(cache: Cache, name: str, runner: Runner) -> None:
    """Remove the root directory of a host, whatever it is."""
    root, disk = cache.roots / name, _disk(cache, name)
    if not disk.exists():
        delete_subvolume(root, runner)
        return
    if os.path.ismount(root):
        # A process that has only just ended may still be in it.
        runner.run(["umount", "--lazy", str(root)])
    if root.exists():
        root.rmdir()
    disk.unlink()


def strangers(cache: Cache, known: set[str]) -> list[str]:
    """Return the names of hosts that have a disk and are not among the ``known``."""
    if not _folder(cache).exists():
        return []
    names = {path.stem for path in _folder(cache).iterdir() if path.suffix == _SUFFIX}
    return sorted(names - known)


def ensure_first(cache: Cache, release: str, filesystem: str, runner: Runner, progress: Progress) -> None:
    """Make what the disks of hosts are copied from, where it is missing; the image of the release is there."""
    if filesystem == SNAPSHOT or _is_made(cache, release, filesystem):
        return
    with locked(cache, "build.lock", progress):
        if not _is_made(cache, release, filesystem):
            progress(f"{release}: filling a disk with {filesystem}")
            _fill(cache, release, filesystem, runner)


def _is_made(cache: Cache, release: str, filesystem: str) -> bool:
    first = _first(cache, release, filesystem)
    return first.exists() and cache.made("disk", first.name, RECIPE)


def _fill(cache: Cache, release: str, filesystem: str, runner: Runner) -> None:
    first = _first(cache, release, filesystem)
    cache.unstamp("disk", first.name)
    first.parent.mkdir(exist_ok=True)
    half_made, point = cache.work / f"{first.name}.disk", cache.work / f"{first.name}.mounted"
    with open(half_made, "wb") as stream:
        stream.truncate(SIZE)
    runner.run([*MAKERS[filesystem], str(half_made)])
    point.mkdir(exist_ok=True)
    words = ["sh", "-ec", 'mount -o loop "$1" "$2"; cp -a "$3/." "$2"', "fill"]
    # A mount namespace of its own: when this is killed, its mount goes with it.
    runner.run(["unshare", "--mount", *words, str(half_made), str(point), str(cache.images / release)], timeout=600)
    point.rmdir()
    os.rename(half_made, first)
    cache.stamp("disk", first.name, RECIPE)


def _folder(cache: Cache) -> Path:
    return cache.mount / "disks"


def _first(cache: Cache, release: str, filesystem: str) -> Path:
    return _folder(cache) / f"{release}.{filesystem}"


def _disk(cache: Cache, name: str) -> Path:
    return _folder(cache) / f"{name}{_SUFFIX}"

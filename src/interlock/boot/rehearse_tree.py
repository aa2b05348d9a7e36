"""What a rehearsal runs on: a picture of a root directory, over which everything that is written goes to memory.

Layout, below ``/var/lib/interlock/rehearsals/ID``: ``owner`` (who rehearses; while that process lives nobody else
touches the folder), ``picture`` (a read-only snapshot, where root is a btrfs subvolume), ``work`` (the mount point of
the memory, in a mount namespace of the rehearsal's own), ``out`` (what the copy tells us), ``disk.img`` (for QEMU), and
``console.log``, which alone is kept. The mounts end with their namespace; the rest is removed by the context manager,
and after a kill by the next rehearsal.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from interlock.host.context import Host
from interlock.system import durable, linux
from interlock.system.proc import ProcessId

FOLDER = "rehearsals"
KEPT = 10
LEAST_MEMORY, MOST_MEMORY = 64 << 20, 1 << 30
SUBVOLUME_INODE = 256
# Local file systems that a distribution puts a part of its own system on.
LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "vfat"})
# What is mounted here belongs to the users of the host and is no part of its boot.
FOREIGN = ("/home", "/srv", "/mnt", "/media", "/run", "/proc", "/sys", "/dev", "/tmp", "/var/lib/interlock")


@dataclass(frozen=True)
class Folder:
    """Where one rehearsal keeps its things."""

    path: str

    @property
    def id(self) -> str:
        """The rehearsal's name."""
        return os.path.basename(self.path)

    def inside(self, name: str) -> str:
        """Return the path of one of its things."""
        return os.path.join(self.path, name)

    @property
    def console(self) -> str:
        """What the console said: kept."""
        return self.inside("console.log")


@dataclass(frozen=True)
class Task:
    """One rehearsal: of what, ``token`` that only it knows, and how many seconds the boot may take."""

    folder: Folder
    root: str
    token: str
    limit: float


@dataclass(frozen=True)
class Picture:
    """The root directory as it was when the rehearsal began. ``mounts`` are other parts of it, by mount point."""

    root: str
    mounts: tuple[str, ...]
    kind: str


def folder_of_all(host: Host) -> str:
    """Return the directory of all rehearsals."""
    return os.path.join(host.paths.state, FOLDER)


@contextlib.contextmanager
def new_folder(host: Host, identity: str) -> Iterator[Folder]:
    """Make the folder of one rehearsal; afterwards only the console is left in it. Sweeps what killed ones left."""
    sweep(host)
    folder = Folder(os.path.join(folder_of_all(host), identity))
    os.makedirs(folder.inside("work"))
    try:
        owner = host.proc.identify(os.getpid()) or ProcessId(os.getpid(), 0, "")
        durable.write_file(folder.inside("owner"), json.dumps(list(owner)) + "\n")
        os.mkdir(folder.inside("out"))
        durable.write_file(folder.console, "")
        yield folder
    finally:
        clear(folder)


def sweep(host: Host) -> list[str]:
    """Remove what rehearsals left whose process is gone, and all but the newest consoles; return what was cleared."""
    base = folder_of_all(host)
    folders = [Folder(os.path.join(base, name)) for name in sorted(os.listdir(base))] if os.path.isdir(base) else []
    ended = [one for one in folders if not _is_owned(host, one)]
    left = [one for one in ended if os.path.exists(one.inside("work"))]
    for one in left:
        # What cannot be removed now is tried again by the next, and stops none.
        with contextlib.suppress(OSError):
            clear(one)
    durable.remove_trees(one.path for one in ended[: max(0, len(ended) - KEPT + 1)])
    return [one.id for one in left]


def _is_owned(host: Host, folder: Folder) -> bool:
    try:
        with open(folder.inside("owner"), encoding="utf-8") as stream:
            pid, started, boot = json.load(stream)
    except (OSError, ValueError):
        return False
    return host.proc.alive(ProcessId(pid, started, boot))


def clear(folder: Folder) -> None:
    """Remove all of a rehearsal but its console. Its memory went with its mount namespace."""
    if os.path.isdir(folder.inside("picture")):
        linux.delete_subvolume(folder.path, "picture")
    durable.remove_file(folder.inside("disk.img"))
    durable.remove_trees([folder.inside("out"), folder.inside("work")])
    durable.remove_file(folder.inside("owner"))


def take_picture(host: Host, root: str, folder: Folder) -> Picture:
    """Return a picture of ``root``: a snapshot where that costs nothing, else the directory itself, unchanged."""
    mounts = other_mounts(_mountinfo(host), root)
    if os.stat(root).st_ino == SUBVOLUME_INODE:
        try:
            linux.snapshot_subvolume(root, folder.path, "picture")
            return Picture(folder.inside("picture"), mounts, "btrfs snapshot")
        except OSError:
            # No btrfs after all, on another file system than our state, or not ours to make a snapshot of.
            pass
    return Picture(root, mounts, "overlay")


def _mountinfo(host: Host) -> str:
    with open(os.path.join(host.proc.folder, "self", "mountinfo"), encoding="utf-8", errors="replace") as stream:
        return stream.read()


def other_mounts(mountinfo: str, root: str = "/") -> tuple[str, ...]:
    """Return the mount points of other local file systems that are part of the system at ``root``, outer ones first."""
    prefix = root.rstrip("/")
    found = set()
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point, kind = left.split()[4].encode().decode("unicode_escape"), right.split()[0]
        inside = point[len(prefix) :] if point.startswith(prefix + "/") else ""
        if kind in LOCAL and inside.strip("/") and not _is_below(inside, FOREIGN) and os.path.isdir(point):
            found.add(inside)
    return tuple(sorted(found, key=lambda path: (path.count("/"), path)))


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(one + "/") for one in folders)


def memory_for_writes(host: Host) -> int:
    """Return how many bytes the copy may write: a quarter of what is free, within reason."""
    return max(LEAST_MEMORY, min(MOST_MEMORY, host.proc.available_memory() // 4))

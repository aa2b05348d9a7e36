"""Where the lab keeps what it makes: a btrfs image file in the cache directory, mounted through a loop device.

Layout of the cache directory (``INTERLOCK_CACHE``)::

    lab.btrfs            the image file, sparse
    lab/                 where it is mounted
        trees/R          what was fetched for release R              read-only subvolumes
        images/R         the bootable image of release R             read-only subvolumes
        depots/NAME      package directories; hosts see them as /srv/depots
        hosts/NAME       the root directory of a host                writable subvolumes
        work/            what is being built; removed whenever nobody holds build.lock
        stamps/          which recipe made what; written last
    keys/                signing key, ssh key
    state/NAME.json      the hosts; written under state.lock
    logs/                consoles of hosts, output of builds
    build.lock state.lock use.lock

Rules: work/ is only used under build.lock; state/ is only changed under state.lock; a stamp without its subvolume,
or a subvolume without its stamp, counts as not made; use.lock is shared by all commands that make something, and
taken exclusively to unmount. All are flock(2) locks, so a killed command leaves none.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from interlock.lab.errors import TooLittleSpace
from interlock.system.durable import write_file
from interlock.system.run import Runner

GIB = 1 << 30
LEAST_FREE = 8 * GIB
LARGEST = 40 * GIB

Progress = Callable[[str], None]


def default_home(environment: Mapping[str, str]) -> Path:
    """Return the cache directory that the environment names, or the user's own."""
    named = environment.get("INTERLOCK_CACHE")
    if named:
        return Path(named).absolute()
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "/root") / ".cache")
    return Path(base).absolute() / "interlock"


@dataclass(frozen=True)
class Cache:
    """The paths of one lab."""

    home: Path

    @property
    def image(self) -> Path:
        """The image file."""
        return self.home / "lab.btrfs"

    @property
    def mount(self) -> Path:
        """Where the image file is mounted."""
        return self.home / "lab"

    @property
    def trees(self) -> Path:
        """What was fetched."""
        return self.mount / "trees"

    @property
    def images(self) -> Path:
        """Bootable images."""
        return self.mount / "images"

    @property
    def depots(self) -> Path:
        """Package directories."""
        return self.mount / "depots"

    @property
    def roots(self) -> Path:
        """Root directories of hosts."""
        return self.mount / "hosts"

    @property
    def work(self) -> Path:
        """What is being built."""
        return self.mount / "work"

    @property
    def stamps(self) -> Path:
        """Which recipe made what."""
        return self.mount / "stamps"

    @property
    def keys(self) -> Path:
        """Secrets of this lab."""
        return self.home / "keys"

    @property
    def state(self) -> Path:
        """One file for each host."""
        return self.home / "state"

    @property
    def logs(self) -> Path:
        """Consoles and build output."""
        return self.home / "logs"

    def is_mounted(self) -> bool:
        """Say whether the image file is mounted where it belongs."""
        wanted = os.path.realpath(self.mount)
        return any(line.split()[4] == wanted for line in Path("/proc/self/mountinfo").read_text().splitlines())

    def made(self, kind: str, name: str, recipe: str) -> bool:
        """Say whether ``name`` was completed by this recipe."""
        stamp = self.stamps / f"{kind}-{name}.json"
        try:
            return bool(json.loads(stamp.read_text())["recipe"] == recipe)
        except (OSError, ValueError, KeyError):
            return False

    def stamp(self, kind: str, name: str, recipe: str) -> None:
        """Record, last of all, that ``name`` is complete."""
        write_file(str(self.stamps / f"{kind}-{name}.json"), json.dumps({"recipe": recipe}) + "\n")

    def unstamp(self, kind: str, name: str) -> None:
        """Record, first of all, that ``name`` is about to be replaced."""
        (self.stamps / f"{kind}-{name}.json").unlink(missing_ok=True)


def check_space(cache: Cache) -> None:
    """Refuse where a new image file would not find room."""
    if cache.image.exists():
        return
    free = free_bytes(cache.home)
    if free < LEAST_FREE:
        raise TooLittleSpace(needed=_gib(LEAST_FREE), path=cache.home, free=_gib(free))


def free_bytes(path: Path) -> int:
    """Return the free space where ``path`` is or would be."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _gib(number: int) -> str:
    return f"{number / GIB:.1f} GiB"


def open_cache(cache: Cache, runner: Runner) -> None:
    """Make the image file where there is none, and mount it where it is not. Idempotent."""
    if cache.is_mounted():
        return
    check_space(cache)
    for folder in (cache.home, cache.mount, cache.keys, cache.state, cache.logs):
        folder.mkdir(parents=True, exist_ok=True)
    os.chmod(cache.keys, 0o700)
    with locked(cache, "build.lock"):
        if not cache.is_mounted():
            _make_image_file(cache, runner)
            options = "loop,noatime,discard=async"
            runner.run(["mount", "-t", "btrfs", "-o", options, str(cache.image), str(cache.mount)])
    for folder in (cache.trees, cache.images, cache.depots, cache.roots, cache.work, cache.stamps):
        folder.mkdir(exist_ok=True)


def _make_image_file(cache: Cache, runner: Runner) -> None:
    if cache.image.exists():
        return
    half_made = cache.image.with_suffix(".new")
    size = min(LARGEST, int(free_bytes(cache.home) * 0.8))
    with open(half_made, "wb") as stream:
        stream.truncate(size)
    runner.run(["mkfs.btrfs", "--quiet", "--force", str(half_made)])
    os.rename(half_made, cache.image)


def close_cache(cache: Cache, runner: Runner) -> None:
    """Unmount the image file if nobody uses it."""
    with try_locked(cache, "use.lock") as held:
        if held and cache.is_mounted():
            runner.run(["umount", str(cache.mount)], check=False)


@contextmanager
def in_use(cache: Cache) -> Iterator[None]:
    """Keep others from unmounting the image file."""
    cache.home.mkdir(parents=True, exist_ok=True)
    with open(cache.home / "use.lock", "a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield


@contextmanager
def locked(cache: Cache, name: str, waiting: Progress = lambda text: None) -> Iterator[None]:
    """Hold one of the lab's locks; says so once where it must wait."""
    cache.home.mkdir(parents=True, exist_ok=True)
    with open(cache.home / name, "a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(f"waiting for another lab command ({_owner(cache, name)})")
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(f"pid {os.getpid()} since {time.strftime('%H:%M:%S')}")
        stream.flush()
        yield


@contextmanager
def try_locked(cache: Cache, name: str) -> Iterator[bool]:
    """Hold one of the lab's locks if it is free; yields whether it is held."""
    with open(cache.home / name, "a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _owner(cache: Cache, name: str) -> str:
    return (cache.home / name).read_text().strip() or "unknown"


def make_subvolume(path: Path, runner: Runner) -> None:
    """Make an empty subvolume."""
    runner.run(["btrfs", "subvolume", "create", str(path)])


def snapshot(source: Path, target: Path, runner: Runner, writable: bool = True) -> None:
    """Make ``target`` a copy of ``source`` that shares all its blocks."""
    flags = [] if writable else ["-r"]
    runner.run(["btrfs", "subvolume", "snapshot", *flags, str(source), str(target)], timeout=300)


def delete_subvolume(path: Path, runner: Runner) -> None:
    """Delete a subvolume and those inside it, if it is there."""
    if not path.exists():
        return
    for inner in _inner_subvolumes(path):
        runner.run(["btrfs", "subvolume", "delete", str(inner)], timeout=300)
    runner.run(["btrfs", "subvolume", "delete", str(path)], timeout=300)


def _inner_subvolumes(path: Path) -> list[Path]:
    # The root directory of a btrfs subvolume has inode number 256.
    found = [
        Path(folder, name)
        for folder, names, _ in os.walk(path)
        for name in names
        if os.lstat(os.path.join(folder, name)).st_ino == 256
    ]
    return sorted(found, key=lambda one: -len(one.parts))

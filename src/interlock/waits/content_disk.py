"""What of the packages' files is not so on the disk: empty ones, rpm's unfinished ones, those of an older version."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

from interlock.rpmdb.unfinished import is_leftover
from interlock.waits.content_pass import Row

CONFIG, GHOST = 1, 64
VERIFY_SIZE = 2
# What programs write to while they run says nothing about a lost write.
CHANGING = ("/var/", "/run/", "/tmp/", "/proc/", "/sys/", "/dev/")
WALKED = ("/usr", "/etc", "/opt", "/boot", "/srv")
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "autofs", "afs", "lustre"})
ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
MOST_FOLDERS = 200_000
NEARLY_FULL = 0.01


class File(NamedTuple):
    """A regular file that a package has on the disk."""

    path: str
    size: int
    flags: int
    digest: str


def files_of(row: Row) -> Iterator[File]:
    """Yield the regular files of a package that rpm installed; %config and %ghost left out."""
    names, flags = row.tag("filenames"), row.tag("fileflags")
    sizes = row.tag("filesizes") or row.tag("longfilesizes")
    modes, states = row.tag("filemodes"), row.tag("filestates") or [0] * len(names)
    checks, digests = row.tag("fileverifyflags") or [-1] * len(names), row.tag("filedigests")
    for name, size, flag, mode, state, check, digest in zip(names, sizes, flags, modes, states, checks, digests):
        regular = stat.S_ISREG(mode & 0xFFFF) and state == 0 and check & VERIFY_SIZE
        if regular and not flag & (CONFIG | GHOST):
            yield File(_text(name), int(size), int(flag), _text(digest))


def _text(value: object) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def empty_files(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return package and path of each file that has content in the package and none on the disk."""
    meant_empty: set[str] = set()
    found = []
    for row in rows:
        for file in files_of(row):
            if file.size == 0:
                meant_empty.add(file.path)
            elif not file.path.startswith(CHANGING) and _is_empty(file.path):
                found.append((str(row.nevra), file.path))
    return [one for one in found if one[1] not in meant_empty]


def _is_empty(path: str) -> bool:
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def unlike(row: Row) -> list[str]:
    """Return the files of a package whose content on the disk is not the package's."""
    algorithm = ALGORITHMS.get(int(row.header["filedigestalgo"] or 1), "")
    if not _can(algorithm):
        return []
    return [file.path for file in files_of(row) if file.digest and digest_of(file.path, algorithm) != file.digest]


def _can(algorithm: str) -> bool:
    """Say whether digests of this kind can be made here: not every one is known, nor allowed (FIPS)."""
    try:
        return bool(hashlib.new(algorithm))
    except ValueError:
        return False


def digest_of(path: str, algorithm: str) -> Optional[str]:
    """Return a file's digest; None where it cannot be read, or the algorithm is not known."""
    try:
        total = hashlib.new(algorithm)
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                total.update(chunk)
    except (OSError, ValueError):
        return None
    return total.hexdigest()


def leftovers(rows: Sequence[Row], before: float) -> list[str]:
    """Return rpm's temporary files of transactions that began before a time."""
    owned = {folder for row in rows for folder in map(_text, row.tag("dirnames"))}
    found: set[str] = set()
    for folder in {*_below(WALKED), *(folder.rstrip("/") or "/" for folder in owned)}:
        found.update(path for path in _entries(folder) if is_leftover(path, before))
    return sorted(found)


def _entries(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name[-9:-8] == ";" and not entry.is_dir(follow_symlinks=False):
                    yield entry.path
    except OSError:
        return


def _below(roots: Iterable[str]) -> Iterator[str]:
    """Yield all folders below some, but not what another machine serves: that might not answer."""
    remote = set(_remote_mounts())
    todo = [root for root in roots if os.path.isdir(root) and not os.path.islink(root)]
    for folder in todo:
        if len(todo) < MOST_FOLDERS:
            todo.extend(path for path in _folders(folder) if path not in remote)
    yield from todo


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _remote_mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            left, _, right = line.partition(" - ")
            kind = right.split(" ", 1)[0]
            if kind in REMOTE or kind.startswith("fuse"):
                yield left.split()[4]


def crowded(folders: Iterable[str]) -> list[str]:
    """Return the folders, one for each file system, where there is no room."""
    seen, found = set(), []
    for folder in sorted(set(folders)):
        try:
            device, room = os.stat(folder).st_dev, os.statvfs(folder)
        except OSError:
            continue
        if device not in seen and room.f_bavail < NEARLY_FULL * room.f_blocks:
            found.append(folder)
        seen.add(device)
    return found


def paths_of(row: Row) -> list[str]:
    """Return what a package has on the disk besides directories, which packages may well share."""
    pairs = zip(row.tag("filenames"), row.tag("filemodes"))
    return [_text(path) for path, mode in pairs if not stat.S_ISDIR(mode & 0xFFFF)]


def folders_of(row: Row) -> list[str]:
    """Return the folders that a package has files in."""
    return [_text(folder) for folder in row.tag("dirnames")]

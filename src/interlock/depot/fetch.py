"""Package files of a depot, brought into a directory of ours and checked on the way.

Layout: ``<checksum>.rpm`` for each package, mode 0600; ``<checksum>.rpm.part`` while it is being written. A file
under its final name was whole and had its digest when it was renamed; it is read and checked again before use.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Callable

from interlock.depot.errors import DigestMismatch, NoSpaceToStage, TruncatedPackage
from interlock.depot.metadata import DepotPackage
from interlock.depot.source import CHUNK, Source
from interlock.system import durable

Received = Callable[[int], None]


def make_directory(directory: str) -> None:
    """Make the directory, for nobody but its owner."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)


def path_of(package: DepotPackage, directory: str) -> str:
    """Return where a package is kept."""
    return os.path.join(directory, f"{package.checksum}.rpm")


def is_fetched(package: DepotPackage, directory: str) -> bool:
    """Say whether a package is there with its size and digest; reads the whole file."""
    try:
        descriptor = os.open(path_of(package, directory), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != package.download_size:
        os.close(descriptor)
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        hasher = package.digest.hasher()
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            hasher.update(chunk)
    return hasher.hexdigest() == package.checksum


def fetch(package: DepotPackage, source: Source, directory: str, received: Received) -> str:
    """Bring one package into ``directory`` and return its path; ``received`` is told the bytes of each piece.

    Raises FileMissing, DepotUnreadable, TruncatedPackage, DigestMismatch, NoSpaceToStage; then nothing is left.
    """
    target = path_of(package, directory)
    partial = f"{target}.part"
    durable.remove_file(partial)
    try:
        _write(package, source, partial, received)
        os.rename(partial, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(directory, package.download_size) from None
        raise
    finally:
        durable.remove_file(partial)
    return target


def _write(package: DepotPackage, source: Source, partial: str, received: Received) -> None:
    hasher, size = package.digest.hasher(), 0
    # One byte more than it should have is enough to know that it has too many.
    limit = max(package.download_size, 0) + CHUNK
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as stream:
        shared = source.share(package.location, descriptor, limit)
        # What is shared is read as ours: nobody changes that any more.
        chunks = iter(lambda: stream.read(CHUNK), b"") if shared else source.chunks(package.location, limit)
        for chunk in chunks:
            size += len(chunk)
            hasher.update(chunk)
            if not shared:
                stream.write(chunk)
            received(len(chunk))
        _check(package, source, size, hasher.hexdigest())
        # Not synced: what a power cut leaves of it does not have its digest, and is then fetched again.


def _check(package: DepotPackage, source: Source, size: int, digest: str) -> None:
    if size < package.download_size:
        raise TruncatedPackage(package=package.nevra, depot=source.location, expected=package.download_size, found=size)
    if digest != package.checksum:
        kind = package.checksum_type
        raise DigestMismatch(
            package=package.nevra, depot=source.location,
            expected=f"{kind}:{package.checksum}", found=f"{kind}:{digest}",
        )  # fmt: skip


def check_space(packages: Sequence[DepotPackage], directory: str) -> None:
    """Raise NoSpaceToStage where what is still to be fetched does not fit."""
    needed = sum(one.download_size for one in packages)
    if needed > _free(directory):
        raise no_space(directory, needed)


def no_space(directory: str, needed: int) -> NoSpaceToStage:
    """Return the error for a full file system."""
    return NoSpaceToStage(directory=directory, needed=needed, free=_free(directory))


def _free(directory: str) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize

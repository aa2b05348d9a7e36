"""Copies a depot into a directory: parallel, resumable, each digest checked as it is read, old until new is whole.

Layout below the target: packages at their own locations, ``repodata``, and ``.interlock-sync`` with what is under way:
``repodata`` of the new state, ``packages/<digest>`` of those whose place another file has until the end. A package that
nobody had before comes to its place at once, which changes nothing for whoever reads the old metadata. The metadata is
exchanged by one rename when every package is there; what the new state does not name goes after that. A sync that was
cut off is begun again and fetches what is missing.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Callable

from interlock.depot import fetch
from interlock.depot.errors import BadMetadata, FileMissing, NotARepository
from interlock.depot.metadata import DepotPackage, MetadataFile, read_repomd
from interlock.depot.reading import FILE_LIMIT, REPOMD, REPOMD_LIMIT
from interlock.depot.repository import EVERY_ARCH, Depot, open_depot
from interlock.depot.source import Source, open_source, safe_path
from interlock.errors import Refused
from interlock.system import durable, linux

WORK = ".interlock-sync"
AT_A_TIME = 8


@dataclass(frozen=True)
class SyncProgress:
    """How far it is: packages and bytes fetched, of how many that are missing."""

    packages: int
    total: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True)
class Synced:
    """What came of it: packages in the new state, fetched now, already there, and removed."""

    packages: int
    fetched: int
    kept: int
    removed: int
    bytes: int


Tell = Callable[[SyncProgress], None]


class TargetInUse(Refused):
    """Refused: another sync into {target} is at work."""

    hint = "Wait until it has ended."


def sync(location: str, target: str, *, jobs: int = AT_A_TIME, tell: Tell = lambda progress: None) -> Synced:
    """Bring ``target`` to the state of the depot at ``location``. BadDepot, Refused; the old state then stays."""
    source, work = open_source(location), os.path.join(target, WORK)
    os.makedirs(os.path.join(work, "packages"), exist_ok=True)
    with open(os.path.join(work, "lock"), "w", encoding="utf-8") as lock:
        try:
            linux.lock_whole_file(lock.fileno())
        except (BlockingIOError, PermissionError):
            raise TargetInUse(target=target) from None
        _fetch_metadata(source, work)
        depot = open_depot(work, arches=EVERY_ARCH)
        done = _Copy(source, depot, target, work, tell).run(jobs)
        removed = _publish(depot, target, work)
        shutil.rmtree(work, ignore_errors=True)
    return Synced(len(depot.packages), done.fetched, len(depot.packages) - done.fetched, removed, done.bytes)


def _fetch_metadata(source: Source, work: str) -> None:
    """Bring the metadata, each file whole and with its digest, before ``repomd.xml``, which names them."""
    folder = os.path.join(work, "repodata")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        content = b"".join(source.chunks(REPOMD, REPOMD_LIMIT))
    except FileMissing:
        raise NotARepository(depot=source.location) from None
    try:
        files = read_repomd([content])[1]
    except ValueError as error:
        raise BadMetadata(depot=source.location, file=REPOMD, detail=str(error)) from None
    for one in files.values():
        _fetch_file(source, one, os.path.join(work, safe_path(one.location)))
    for name in (f"{REPOMD}.asc", f"{REPOMD}.key"):
        _fetch_optional(source, name, os.path.join(work, name))
    with open(os.path.join(work, REPOMD), "wb") as stream:
        stream.write(content)


def _fetch_file(source: Source, one: MetadataFile, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    hasher = one.checksum.hasher()
    with open(path, "wb") as stream:
        for chunk in source.chunks(one.location, one.size + 1 if one.size >= 0 else FILE_LIMIT):
            hasher.update(chunk)
            stream.write(chunk)
    if hasher.hexdigest() != one.checksum.value:
        detail = f"its {one.checksum.kind} checksum is not the one in repomd.xml"
        raise BadMetadata(depot=source.location, file=one.location, detail=detail)


def _fetch_optional(source: Source, name: str, path: str) -> None:
    try:
        content = b"".join(source.chunks(name, REPOMD_LIMIT))
    except FileMissing:
        return
    with open(path, "wb") as stream:
        stream.write(content)


class _Copy:
    """Fetches what is missing, several at a time; counts."""

    def __init__(self, source: Source, depot: Depot, target: str, work: str, tell: Tell) -> None:
        self.source, self.depot, self.target, self.work, self.tell = source, depot, target, work, tell
        self.lock = threading.Lock()
        self.fetched = self.bytes = 0
        self.missing: Sequence[DepotPackage] = ()

    def run(self, jobs: int) -> _Copy:
        with ThreadPoolExecutor(jobs) as pool:
            there = list(pool.map(self._is_there, self.depot.packages))
            self.missing = [one for one, is_there in zip(self.depot.packages, there) if not is_there]
            fetch.check_space(self.missing, self.target)
            futures = [pool.submit(self._fetch, one) for one in self.missing]
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            for one in waiting:
                one.cancel()
            for one in done:
                one.result()
        return self

    def _is_there(self, package: DepotPackage) -> bool:
        return has_digest(os.path.join(self.target, safe_path(package.location)), package) or fetch.is_fetched(
            package, os.path.join(self.work, "packages")
        )

    def _fetch(self, package: DepotPackage) -> None:
        path = fetch.fetch(package, self.source, os.path.join(self.work, "packages"), self._received)
        place = os.path.join(self.target, safe_path(package.location))
        if not os.path.lexists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.chmod(path, 0o644)
            os.rename(path, place)
        with self.lock:
            self.fetched += 1
            self._tell()

    def _received(self, size: int) -> None:
        with self.lock:
            self.bytes += size

    def _tell(self) -> None:
        total = sum(one.download_size for one in self.missing)
        self.tell(SyncProgress(self.fetched, len(self.missing), self.bytes, total))


def has_digest(path: str, package: DepotPackage) -> bool:
    """Say whether a file is that package: a regular file with its size and digest."""
    if not os.path.isfile(path) or os.path.islink(path) or os.path.getsize(path) != package.download_size:
        return False
    hasher = package.digest.hasher()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            hasher.update(chunk)
    return bool(hasher.hexdigest() == package.checksum)


def _publish(depot: Depot, target: str, work: str) -> int:
    """Put the rest in its place, exchange the metadata, remove what is not named any more; return how many."""
    packages = os.path.join(work, "packages")
    for package in depot.packages:
        path = fetch.path_of(package, packages)
        if os.path.exists(path):
            place = os.path.join(target, safe_path(package.location))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.chmod(path, 0o644)
            os.rename(path, place)
    durable.sync_filesystem(target)
    new, old = os.path.join(work, "repodata"), os.path.join(target, "repodata")
    if os.path.isdir(old):
        linux.rename_exchange(new, old)
    else:
        os.rename(new, old)
    durable.sync_directory(target)
    return _remove_others(depot, target)


def _remove_others(depot: Depot, target: str) -> int:
    named = {safe_path(one.location) for one in depot.packages}
    removed = 0
    for folder, folders, files in os.walk(target):
        folders[:] = [name for name in folders if name not in ("repodata", WORK)]
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith(".rpm") and os.path.relpath(path, target) not in named:
                os.unlink(path)
                removed += 1
    return removed

"""Looks at what is really on the disk. Exit status 0 of rpm proves little.

Files are checked while rpm goes on with the next package, on what would else be an idle processor: a file whose
content was right then, and whose inode has not been touched since (device, inode, size, times), need not be read
again at the end. What was wrong or missing then is looked at again when rpm has finished, because a later step of
the same transaction may rightly have changed it.
"""

from __future__ import annotations

import collections
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

CHUNK = 1 << 20
ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224", 12: "sha3_256", 14: "sha3_512"}
# rpmfileAttrs and rpmVerifyAttrs of rpm's headers.
CONFIG, MISSING_OK, GHOST = 1 << 0, 1 << 3, 1 << 6
VERIFY_DIGEST, VERIFY_LINK = 1 << 0, 1 << 2
Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class PayloadFile:
    """One path that a package puts on the disk. ``digest`` is in hexadecimal, empty for what is no regular file."""

    package: str
    path: str
    mode: int
    digest: str
    algorithm: str
    link: str
    flags: int
    verify: int

    @property
    def looked_at(self) -> bool:
        """Say whether a difference would mean anything: ghosts and configuration may differ."""
        return not self.flags & (GHOST | CONFIG)


def payload_files(package: str, algorithm: int, rows: Iterable[Sequence[Any]]) -> list[PayloadFile]:
    """Return the files of one ``package`` message of the worker."""
    name = ALGORITHMS.get(algorithm, "")
    return [
        PayloadFile(package, path, mode & 0xFFFF, digest, name, link, flags, verify)
        for path, mode, digest, link, flags, verify in rows
    ]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    subject: str
    detail: str


class FileChecker:
    """Checks the files of installed packages as time allows, and the rest at the end."""

    def __init__(self) -> None:
        self.payload: dict[str, list[PayloadFile]] = {}
        self.queue: collections.deque[PayloadFile] = collections.deque()
        self.proven: dict[str, Stamp] = {}
        self.read = 0

    def expect(self, package: str, files: list[PayloadFile]) -> None:
        """Learn what a package brings."""
        self.payload[package] = [one for one in files if one.looked_at]

    def unpacked(self, package: str) -> None:
        """Take a package's files into the queue, now that rpm has written them."""
        self.queue.extend(self.payload.get(package, ()))

    def work(self) -> bool:
        """Check one file of the queue; False if there was none."""
        if not self.queue:
            return False
        self._prove(self.queue.popleft())
        return True

    def _prove(self, one: PayloadFile) -> Optional[str]:
        if one.path in self.proven and self.proven[one.path] == stamp_of(one.path):
            return None
        before = stamp_of(one.path)
        difference = compare(one)
        self.read += 1
        if difference is None and before is not None and before == stamp_of(one.path):
            self.proven[one.path] = before
        return difference

    def finish(self, skipped: frozenset[str]) -> list[Finding]:
        """Return what differs, now that nothing changes any more; ``skipped`` are paths rpm did not install."""
        self.queue.clear()
        found = []
        for package, files in self.payload.items():
            for one in files:
                difference = None if one.path in skipped else self._prove(one)
                if difference is not None:
                    found.append(Finding(f"{one.path} ({package})", difference))
        return found

    @property
    def files(self) -> int:
        """How many paths are looked at."""
        return sum(len(files) for files in self.payload.values())


def stamp_of(path: str) -> Optional[Stamp]:
    """Return what changes whenever a file's content does, or None if there is no such path."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def compare(one: PayloadFile) -> Optional[str]:
    """Say how a path differs from what its package brought, or None."""
    try:
        found = os.lstat(one.path)
    except FileNotFoundError:
        return None if one.flags & MISSING_OK else "is missing"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISREG(one.mode):
        return _compare_content(one, found)
    if stat.S_ISLNK(one.mode) and one.verify & VERIFY_LINK:
        return _compare_link(one, found)
    return None


def _compare_link(one: PayloadFile, found: os.stat_result) -> Optional[str]:
    if not stat.S_ISLNK(found.st_mode):
        return "is no symbolic link"
    target = os.readlink(one.path)
    return None if target == one.link else f"points to {target}, not to {one.link}"


def _compare_content(one: PayloadFile, found: os.stat_result) -> Optional[str]:
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if not (one.verify & VERIFY_DIGEST and one.digest):
        return None
    if not one.algorithm:
        return "has a digest of a kind that is not known here"
    try:
        digest = file_digest(one.path, one.algorithm)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == one.digest else f"has another content ({found.st_size} bytes)"


def file_digest(path: str, algorithm: str) -> str:
    """Return a file's digest in hexadecimal."""
    # Not for security: a host in FIPS mode refuses MD5 else, which old packages have.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb", buffering=0) as stream:
        while True:
            chunk = stream.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def compare_packages(expected: frozenset[str], found: Sequence[str]) -> list[Finding]:
    """Return how the NEVRAs in the database differ from the planned ones, duplicates included."""
    counted = collections.Counter(found)
    rows = [Finding(nevra, "is not in the package database") for nevra in sorted(expected - set(found))]
    rows += [Finding(nevra, "is in the package database, but not planned") for nevra in sorted(set(found) - expected)]
    rows += [
        Finding(nevra, f"is in the package database {count} times") for nevra, count in counted.items() if count > 1
    ]
    return rows


def same_packages(before: Sequence[str], after: Sequence[str]) -> list[Finding]:
    """Return what a conversion of the database lost or brought."""
    return compare_packages(frozenset(before), after)


def summary(findings: Sequence[Finding], most: int = 5) -> str:
    """Return some findings as one line for people."""
    shown = "; ".join(f"{one.subject} {one.detail}" for one in findings[:most])
    rest = len(findings) - most
    return f"{shown}; and {rest} more" if rest > 0 else shown


def as_rows(findings: Sequence[Finding]) -> list[Mapping[str, str]]:
    """Return findings for JSON."""
    return [{"subject": one.subject, "detail": one.detail} for one in findings]

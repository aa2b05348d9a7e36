"""Fills the undo store: pre-images of all that an upgrade will change, before it changes anything.

rpm replaces a file by writing a new one and renaming it over the old. So a hard link made beforehand keeps the old
content at no cost of space or time. What may be changed in place instead (configuration, all of ``/etc`` and ``/boot``,
files that no package owns, such as caches that scriptlets write) is copied, with shared blocks where the file system
can. rpm strips setuid, setgid and capabilities from the old inode as it replaces a file: they are in the manifest.

Layout of a store: ``manifest.jsonl``, ``files/N`` (links and copies), written before ``complete`` is. A store without
``complete`` was cut short before the upgrade began, and is of no use to anybody.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, NamedTuple

from interlock.system import durable
from interlock.upgrade.aside import beside, in_two
from interlock.upgrade.undo_entry import ABSENT, FOLDER, Entry, describe, lstat, write_manifest
from interlock.upgrade.undo_walk import COPIED_TREES, WATCHED_TREES, walk, write_skipped

MANIFEST, FILES, COMPLETE = "manifest.jsonl", "files", "complete"
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES}


class Owned(NamedTuple):
    """What a package's header says of a file that is going to be replaced. ``modified`` in seconds."""

    digest: str
    size: int
    modified: int
    config: bool = False


class Concern(NamedTuple):
    """What an upgrade is about to change.

    ``replaced`` are the files of packages that are replaced or removed, ``brought`` all paths of the new ones,
    ``others`` the paths of packages that stay. ``known`` says that a file with its package's size and time is its
    package's: on a host that is half upgraded it may be another version's.
    """

    replaced: Mapping[str, Owned]
    brought: frozenset[str]
    others: frozenset[str] = frozenset()
    known: bool = True


class Kept(NamedTuple):
    """What was kept: entries, files linked and copied, and the bytes that the copies take."""

    entries: int
    linked: int
    copied: int
    bytes: int


class Keeper:
    """Makes one store. ``root`` differs from ``/`` only in tests."""

    def __init__(self, folder: str, concern: Concern, root: str = "/") -> None:
        self.folder, self.concern, self.root = folder, concern, root
        self.linked = self.copied = self.bytes = self.unnamed = 0
        self.device = -1
        self.skipped: set[str] = set()
        self.entries: list[Entry] = []
        self.parents: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self.twins: dict[tuple[int, int], str] = {}
        # Packages name files through links among their parents (/lib/libc.so.6); the disk has one real name.
        self.replaced = {self._resolved(path): owned for path, owned in concern.replaced.items()}

    def keep(self, meanwhile: Callable[[Sequence[Entry]], None] = lambda entries: None) -> Kept:
        """Fill the store, durably. ``meanwhile`` is done with its entries while the disk has its work."""
        os.makedirs(os.path.join(self.folder, FILES), mode=0o700)
        self.device = os.stat(self.folder).st_dev
        entries = [self._entry(path) for path in sorted(self.paths())]
        said = in_two(self._keep_all, [entry for entry in entries if entry.name])
        others = {path: (how, digest) for path, how, digest in said}
        self.entries = [self._as_kept(entry, *others.get(entry.path, ("", ""))) for entry in entries]
        with open(os.path.join(self.folder, MANIFEST), "w", encoding="utf-8") as stream:
            number = write_manifest(stream, self.entries)
        write_skipped(self.folder, self.skipped)
        beside(lambda: durable.sync_filesystem(self.folder), lambda: meanwhile(self.entries))
        durable.write_file(os.path.join(self.folder, COMPLETE), f"{number}\n")
        return Kept(number, self.linked, self.copied, self.bytes)

    def _entry(self, path: str) -> Entry:
        """Return what is at a path, with how its content is going to be kept, and under which name."""
        real = self._real(path)
        found = lstat(real)
        if found is None:
            return Entry(path, ABSENT)
        if not stat.S_ISREG(found.st_mode):
            return describe(path, real, found)
        first = self.twins.setdefault((found.st_dev, found.st_ino), path) if found.st_nlink > 1 else path
        if first != path:
            return describe(path, real, found, twin=first)
        how, digest = self._intended(path, found)
        return describe(path, real, found, how=how, digest=digest, name=self._name(path))

    def _intended(self, path: str, found: os.stat_result) -> tuple[str, str]:
        """Return how a content is to be kept, and its digest where it is known without reading it.

        A package's own digest counts where size and time say that the file is still the one that it brought.
        """
        owned = self.replaced.get(path)
        if owned is None or not self._may_link(path, owned) or found.st_dev != self.device:
            return "copy", ""
        same = (owned.size, owned.modified) == (found.st_size, found.st_mtime_ns // 10**9)
        return "link", owned.digest if same and self.concern.known else ""

    def _name(self, path: str) -> str:
        """Return a name in the store: a directory for each of the host's, so that many go back by one command."""
        parent, base = os.path.split(path)
        if "\\" in base or "\n" in base:
            # A list for a shell has no room for these in a name.
            self.unnamed += 1
            return f"{self._folder('')}/{self.unnamed}"
        return f"{self._folder(parent)}/{base}"

    def _folder(self, parent: str) -> str:
        """Return the store's directory for one of the host's; no directory of a host has an empty name."""
        if parent not in self.folders:
            self.folders[parent] = f"{len(self.folders)}"
            os.mkdir(os.path.join(self.folder, FILES, self.folders[parent]), 0o700)
        return self.folders[parent]

    def _real(self, path: str) -> str:
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def paths(self) -> set[str]:
        """Return every path to remember, by its real name: links among its parents are followed."""
        named = {self._resolved(path) for path in self.concern.brought} | set(self.replaced)
        copied = {path for tree in COPIED_TREES for path in walk(tree, self.root)}
        others = {self._resolved(path) for path in self.concern.others}
        present = {path for tree in WATCHED_TREES for path in walk(tree, self.root)}
        self.skipped = (present & others) - named
        return named | copied | (present - others)

    def _resolved(self, path: str) -> str:
        parent, _, name = path.rstrip("/").rpartition("/")
        if parent not in self.parents:
            self.parents[parent] = self._resolved_folder(parent)
        return f"{self.parents[parent]}/{name}" if name else "/"

    def _resolved_folder(self, path: str) -> str:
        """Return the real name of a directory, without the slash at its end."""
        if not path:
            return ""
        named = self._resolved(path)
        if not os.path.islink(self._real(named)):
            return named
        real = os.path.realpath(self._real(named))
        if self.root != "/":
            real = os.path.normpath("/" + os.path.relpath(real, os.path.realpath(self.root)))
        return real.rstrip("/")

    def _keep_all(self, entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
        """Link or copy the contents; return path, way and digest of those of which not all was known."""
        found = []
        for entry in entries:
            source, target = self._real(entry.path), os.path.join(self.folder, FILES, entry.name)
            if entry.how != "link" or not _link(source, target):
                found.append((entry.path, "copy", _copy(source, target)))
            elif not entry.digest:
                found.append((entry.path, "link", digest_of(source)))
        return found

    def _as_kept(self, entry: Entry, how: str, digest: str) -> Entry:
        kept = entry._replace(how=how, digest=digest) if how else entry
        self.linked += kept.how == "link"
        if kept.how == "copy":
            self.copied += 1
            self.bytes += kept.size
        return kept

    def _may_link(self, path: str, owned: Owned) -> bool:
        return not owned.config and not path.startswith(tuple(f"{tree}/" for tree in COPIED_TREES))


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        if error.errno == errno.EEXIST and os.path.samefile(source, target):
            # By the process beside us, before it failed.
            return True
        raise
    return True


def digest_of(path: str) -> str:
    """Return a file's digest as a manifest has it."""
    made = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            made.update(chunk)
    return f"sha256:{made.hexdigest()}"


def _copy(source: str, target: str) -> str:
    durable.copy_file(source, target)
    return digest_of(target)


def is_complete(folder: str) -> bool:
    """Say whether a store was made to its end."""
    return os.path.exists(os.path.join(folder, COMPLETE))


def absent(entries: Iterable[Entry]) -> list[str]:
    """Return the paths that were not there."""
    return [entry.path for entry in entries if entry.kind == ABSENT]


def folders(entries: Iterable[Entry]) -> list[str]:
    """Return the paths that were directories."""
    return [entry.path for entry in entries if entry.kind == FOLDER]

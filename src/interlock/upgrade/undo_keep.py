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
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from interlock.system import durable
from interlock.upgrade.undo_entry import ABSENT, FILE, FOLDER, Entry, look_at, write_manifest
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
    ``others`` the paths of packages that stay.
    """

    replaced: Mapping[str, Owned]
    brought: frozenset[str]
    others: frozenset[str] = frozenset()


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
        self.linked = self.copied = self.bytes = 0
        self.skipped: set[str] = set()
        self.entries: list[Entry] = []
        self.parents: dict[str, str] = {}
        self.folders: dict[str, int] = {}
        self.twins: dict[tuple[int, int], str] = {}
        # Packages name files through links among their parents (/lib/libc.so.6); the disk has one real name.
        self.replaced = {self._resolved(path): owned for path, owned in concern.replaced.items()}

    def keep(self) -> Kept:
        """Fill the store, durably."""
        os.makedirs(os.path.join(self.folder, FILES), mode=0o700)
        with open(os.path.join(self.folder, MANIFEST), "w", encoding="utf-8") as stream:
            number = write_manifest(stream, self._entries())
            stream.flush()
            os.fsync(stream.fileno())
        write_skipped(self.folder, self.skipped)
        durable.sync_filesystem(self.folder)
        durable.write_file(os.path.join(self.folder, COMPLETE), f"{number}\n")
        return Kept(number, self.linked, self.copied, self.bytes)

    def _entries(self) -> Iterator[Entry]:
        for path in sorted(self.paths()):
            self.entries.append(self._entry(path))
            yield self.entries[-1]

    def _entry(self, path: str) -> Entry:
        entry, found = look_at(self._real(path))
        entry = entry._replace(path=path)
        if found is None or entry.kind != FILE:
            return entry
        first = self.twins.setdefault((found.st_dev, found.st_ino), path) if found.st_nlink > 1 else path
        return entry._replace(twin=first) if first != path else self._with_content(entry, self._name(path))

    def _name(self, path: str) -> str:
        """Return a name in the store: a directory for each of the host's, so that many go back by one command."""
        parent, base = os.path.split(path)
        if parent not in self.folders:
            self.folders[parent] = len(self.folders)
            os.mkdir(os.path.join(self.folder, FILES, str(self.folders[parent])), 0o700)
        # A list for a shell has no room for these in a name.
        plain = "\\" not in base and "\n" not in base
        return f"{self.folders[parent]}/{base if plain else self.linked + self.copied}"

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
        real = os.path.realpath(self._real(path) or "/")
        if self.root != "/":
            real = os.path.normpath("/" + os.path.relpath(real, os.path.realpath(self.root)))
        return real.rstrip("/")

    def _with_content(self, entry: Entry, name: str) -> Entry:
        owned = self.replaced.get(entry.path)
        target = os.path.join(self.folder, FILES, name)
        source = self._real(entry.path)
        if owned is not None and self._may_link(entry.path, owned) and _link(source, target):
            self.linked += 1
            return entry._replace(how="link", name=name, digest=self._digest(entry, owned, source))
        self.copied += 1
        self.bytes += entry.size
        return entry._replace(how="copy", name=name, digest=_copy(source, target))

    def _may_link(self, path: str, owned: Owned) -> bool:
        return not owned.config and not path.startswith(tuple(f"{tree}/" for tree in COPIED_TREES))

    def _digest(self, entry: Entry, owned: Owned, source: str) -> str:
        """Return the digest of a linked file: its package's, where size and time say that it is that file still."""
        same = owned.digest and owned.size == entry.size and owned.modified == entry.modified // 10**9
        return owned.digest if same else digest_of(source)


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
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

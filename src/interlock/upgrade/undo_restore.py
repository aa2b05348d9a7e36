"""Puts back what an undo store has: the whole of it, or nothing.

First everything is looked at and every pre-image is compared with its digest; only then is anything changed. Each file
is made beside its place and renamed over it, so that at every instant a path is old or new; doing it again after an
interruption comes to the same end. Directories that have to become something else are emptied of what the upgrade
brought; whatever else lies in them is moved aside, never removed.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from interlock.errors import InterlockError
from interlock.system import durable
from interlock.upgrade import undo_snapshot
from interlock.upgrade.aside import Asked, in_two
from interlock.upgrade.undo_after import stamp_of
from interlock.upgrade.undo_entry import ABSENT, FILE, FOLDER, LINK, Entry, has_metadata, kind_of, lstat, read_manifest
from interlock.upgrade.undo_keep import FILES, MANIFEST, digest_of
from interlock.upgrade.undo_put import copy_aside, put_back, remove_extra, set_metadata
from interlock.upgrade.undo_walk import read_skipped


class StoreDamaged(InterlockError):
    """The undo store {folder} cannot be used: {detail}."""

    hint = "Nothing was changed. What is named there is gone or altered; without it the old state cannot be whole."


class Change(NamedTuple):
    """One path that differs from how it was: ``content``, ``metadata``, ``missing``, ``kind``, or ``extra``.

    ``theirs`` says that somebody else has changed it since, so that what is there now is moved aside, not dropped.
    """

    path: str
    what: str
    theirs: bool = False


class Restorer:
    """Restores from one store. ``root`` differs from ``/`` only in tests and in an initramfs."""

    def __init__(self, folder: str, root: str = "/", known: Sequence[Entry] = ()) -> None:
        """Open a store; ``known`` is what its manifest has, where that has only just been written."""
        self.folder, self.root = folder, root
        kept = known or read_manifest(os.path.join(folder, MANIFEST))
        try:
            self.skipped = read_skipped(folder)
        except (OSError, ValueError, zlib.error) as error:
            raise StoreDamaged(folder=folder, detail=f"its list of what it did not keep: {error}") from None
        self.entries = [*kept, *undo_snapshot.changed(root, folder, self.skipped)]
        self.by_path: Mapping[str, Entry] = {entry.path: entry for entry in self.entries}
        # Paths that were not there and that no package is known to bring; None: what the upgrade changed is known.
        self.extras: list[str] = []
        self.after: Optional[Mapping[str, str]] = None
        self.aside = os.path.join(folder, "aside")
        self._asked: list[Asked] = []

    def narrow(self, after: Mapping[str, str]) -> None:
        """Change only what the upgrade had changed when it ended: ``after`` has the stamps of it (``undo_after``)."""
        self.after = after
        self.extras = [path for path in after if path not in self.by_path]
        lost = [path for path in self.extras if path in self.skipped]
        if lost:
            raise StoreDamaged(folder=self.folder, detail=f"the snapshot with the old {lost[0]} is not there")

    def real(self, path: str) -> str:
        """Return where a path of the host is."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def stored(self, entry: Entry) -> str:
        """Return the file of the store that has an entry's content."""
        kept = self.by_path[entry.twin] if entry.twin else entry
        return os.path.join(self.folder, FILES, kept.name)

    def begin_check(self) -> None:
        """Begin, beside us, with what ``check`` looks at: reading all of it takes longer than anything else."""
        kept = [entry for entry in self.entries if entry.how]
        halves = (kept[::2], kept[1::2])
        self._asked = [Asked(functools.partial(self._not_whole, half)) for half in halves]

    def end_check(self) -> None:
        """Give up what ``begin_check`` has begun, if nobody has asked for it."""
        for one in self._asked:
            one.end()
        self._asked = []

    def check(self) -> None:
        """Compare every pre-image with its digest; StoreDamaged, naming the first few, where one does not fit."""
        if not self._asked:
            self.begin_check()
        wrong = sorted(path for one in self._asked for path in one.answer())
        self._asked = []
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise StoreDamaged(
                folder=self.folder, detail=f"the old content of {', '.join(wrong[:3])}{more} is not there"
            )

    def _not_whole(self, entries: Sequence[Entry]) -> list[str]:
        return [entry.path for entry in entries if not self._is_whole(entry)]

    def _is_whole(self, entry: Entry) -> bool:
        try:
            path = self.stored(entry)
            return os.stat(path).st_size == entry.size and digest_of(path) == entry.digest
        except OSError:
            return False

    def differences(self) -> list[Change]:
        """Return what restoring would change; nothing is read but metadata, and what was copied."""
        lost: set[str] = set()
        found = self._differences([entry for entry in self.entries if entry.kind == FOLDER], lost)
        rest = [entry for entry in self.entries if entry.kind != FOLDER]
        found += in_two(lambda entries: self._differences(entries, lost), rest)
        return sorted(Change(*row) for row in found)

    def _differences(self, entries: Sequence[Entry], lost: set[str]) -> list[tuple[str, str]]:
        """Return paths, and how they differ; ``lost`` learns of the directories that are not there any more."""
        found = []
        for entry in entries:
            # What lies below a directory that is a link now, or gone, is not what is seen through the link.
            below = os.path.dirname(entry.path) in lost
            what = self._difference(entry) if not below else "" if entry.kind == ABSENT else "missing"
            if what in ("kind", "missing") and entry.kind == FOLDER:
                lost.add(entry.path)
            if what:
                found.append((entry.path, what))
        return found

    def _difference(self, entry: Entry) -> str:
        real = self.real(entry.path)
        found = lstat(real)
        if entry.kind == ABSENT:
            return "extra" if found is not None else ""
        if found is None:
            return "missing"
        if kind_of(found) != entry.kind:
            return "kind"
        if not self._same_content(entry, found, real):
            return "content"
        return "" if has_metadata(entry, found, real) else "metadata"

    def _same_content(self, entry: Entry, found: os.stat_result, real: str) -> bool:
        if entry.kind == LINK:
            return os.readlink(real) == entry.target
        return self._same_file(entry, found) if entry.kind == FILE else entry.kind == FOLDER or _is_device(entry, found)

    def _same_file(self, entry: Entry, found: os.stat_result) -> bool:
        try:
            kept = os.stat(self.stored(entry))
        except OSError:
            raise StoreDamaged(folder=self.folder, detail=f"the old content of {entry.path} is not there") from None
        if (kept.st_dev, kept.st_ino) == (found.st_dev, found.st_ino):
            return True
        # A copy: the file may still be the very one that was copied.
        first = self.by_path[entry.twin] if entry.twin else entry
        same = found.st_size == entry.size and found.st_mtime_ns == entry.modified
        return first.how == "copy" and same and digest_of(self.real(entry.path)) == first.digest

    def changes(self) -> list[Change]:
        """Return what restoring is going to change."""
        found = self.differences()
        extra = [Change(path, "extra", self.after is None) for path in self.extras if os.path.lexists(self.real(path))]
        if self.after is None:
            return found + extra
        return [one._replace(theirs=self._is_theirs(one.path)) for one in found + extra if one.path in self.after]

    def _is_theirs(self, path: str) -> bool:
        now = stamp_of(self.real(path))
        return bool(now) and self.after is not None and self.after[path] != now

    def restore(self, known: Optional[list[Change]] = None) -> list[Change]:
        """Make every path what it was; return what was changed. StoreDamaged, before anything is, if not.

        ``known`` is what ``changes`` has said a moment ago.
        """
        self.check()
        changes = self.changes() if known is None else known
        extra = [change.path for change in changes if change.what == "extra"]
        for change in sorted(changes, reverse=True):
            if change.theirs:
                copy_aside(self.real(change.path), self._aside(change.path))
        kept = [path for path in sorted(extra, reverse=True) if remove_extra(self.real(path), self._aside(path))]
        changes = [one._replace(theirs=one.theirs or one.path in kept) for one in changes]
        wanted = {change.path: change.what for change in changes if change.what != "extra"}
        self._put_all(wanted)
        # Times of directories change as their entries do: last, deepest first.
        for entry in reversed(self.entries):
            if entry.kind == FOLDER:
                set_metadata(entry, self.real(entry.path))
        return changes

    def _aside(self, path: str) -> str:
        return os.path.join(self.aside, path.lstrip("/"))

    def sync(self) -> None:
        """Make durable what ``restore`` has done."""
        durable.sync_payload([self.real(tree) for tree in ("/", "/usr", "/etc", "/boot", "/var", "/opt")])

    def _put_all(self, wanted: Mapping[str, str]) -> None:
        """Put directories back first, further names of a file last; whatever is between depends on nothing else."""
        chosen = [(entry, wanted[entry.path]) for entry in self.entries if entry.path in wanted]
        self._put([row for row in chosen if row[0].kind == FOLDER])
        in_two(self._put, [row for row in chosen if row[0].kind != FOLDER and not row[0].twin])
        self._put([row for row in chosen if row[0].twin])

    def _put(self, rows: Sequence[tuple[Entry, str]]) -> list[str]:
        for entry, what in rows:
            twin = self.real(entry.twin) if entry.twin else ""
            put_back(entry, what, self.real(entry.path), self.stored, twin)
        return []


def _is_device(entry: Entry, found: os.stat_result) -> bool:
    return found.st_rdev == entry.device

"""Puts back what an undo store has: the whole of it, or nothing.

First everything is looked at and every pre-image is compared with its digest; only then is anything changed. Each file
is made beside its place and renamed over it, so that at every instant a path is old or new; doing it again after an
interruption comes to the same end. Directories that have to become something else are emptied of what the upgrade
brought; whatever else lies in them is moved aside, never removed.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple, Optional

from interlock.errors import InterlockError
from interlock.system import durable
from interlock.upgrade.undo_after import stamp_of
from interlock.upgrade.undo_entry import ABSENT, FILE, FOLDER, LINK, SPECIAL, Entry, look_at, read_manifest
from interlock.upgrade.undo_keep import FILES, MANIFEST, digest_of

TEMPORARY = ".interlock-undo"


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

    def __init__(self, folder: str, root: str = "/") -> None:
        self.folder, self.root = folder, root
        self.entries = read_manifest(os.path.join(folder, MANIFEST))
        self.by_path: Mapping[str, Entry] = {entry.path: entry for entry in self.entries}
        # Paths that were not there and that no package is known to bring; None: what the upgrade changed is known.
        self.extras: list[str] = []
        self.after: Optional[Mapping[str, str]] = None
        self.aside = os.path.join(folder, "aside")

    def narrow(self, after: Mapping[str, str]) -> None:
        """Change only what the upgrade had changed when it ended: ``after`` has the stamps of it (``undo_after``)."""
        self.after = after
        self.extras = [path for path in after if path not in self.by_path]

    def real(self, path: str) -> str:
        """Return where a path of the host is."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def stored(self, entry: Entry) -> str:
        """Return the file of the store that has an entry's content."""
        kept = self.by_path[entry.twin] if entry.twin else entry
        return os.path.join(self.folder, FILES, kept.name)

    def check(self) -> None:
        """Compare every pre-image with its digest; StoreDamaged, naming the first few, where one does not fit."""
        wrong = [entry.path for entry in self.entries if entry.how and not self._is_whole(entry)]
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise StoreDamaged(
                folder=self.folder, detail=f"the old content of {', '.join(wrong[:3])}{more} is not there"
            )

    def _is_whole(self, entry: Entry) -> bool:
        try:
            path = self.stored(entry)
            return os.stat(path).st_size == entry.size and digest_of(path) == entry.digest
        except OSError:
            return False

    def differences(self) -> list[Change]:
        """Return what restoring would change; nothing is read but metadata, and what was copied."""
        lost: set[str] = set()
        found = []
        for entry in self.entries:
            # What lies below a directory that is a link now, or gone, is not what is seen through the link.
            below = os.path.dirname(entry.path) in lost
            what = self._difference(entry) if not below else "" if entry.kind == ABSENT else "missing"
            if what in ("kind", "missing") and entry.kind == FOLDER:
                lost.add(entry.path)
            if what:
                found.append(Change(entry.path, what))
        return found

    def _difference(self, entry: Entry) -> str:
        now, found = look_at(self.real(entry.path))
        if entry.kind == ABSENT:
            return "extra" if found is not None else ""
        if found is None:
            return "missing"
        if now.kind != entry.kind:
            return "kind"
        if entry.kind == FILE and not self._same_content(entry, found):
            return "content"
        if (now.target, now.device) != (entry.target, entry.device):
            return "content"
        return "" if _metadata(now) == _metadata(entry) else "metadata"

    def _same_content(self, entry: Entry, found: os.stat_result) -> bool:
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

    def restore(self) -> list[Change]:
        """Make every path what it was, durably; return what was changed. StoreDamaged, before anything is, if not."""
        self.check()
        changes = self.changes()
        for change in sorted(changes, reverse=True):
            if change.theirs:
                self._move_aside(change.path)
        wanted = {change.path: change.what for change in changes}
        self._remove_extra([path for path, what in wanted.items() if what == "extra"])
        for entry in self.entries:
            if entry.path in wanted and entry.kind != ABSENT:
                self._put_back(entry, wanted[entry.path])
        # Times of directories change as their entries do: last, deepest first.
        for entry in reversed(self.entries):
            if entry.kind == FOLDER:
                self._metadata(entry)
        durable.sync_payload([self.real(tree) for tree in ("/", "/usr", "/etc", "/boot", "/var", "/opt")])
        return changes

    def _move_aside(self, path: str) -> None:
        """Keep what somebody else may have put there: files are moved, directories stay until they are empty."""
        real = self.real(path)
        if os.path.isdir(real) and not os.path.islink(real):
            return
        target = os.path.join(self.aside, path.lstrip("/"))
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        if os.path.islink(real):
            durable.remove_file(target)
            os.symlink(os.readlink(real), target)
        elif os.path.isfile(real):
            durable.copy_file(real, target)

    def _remove_extra(self, paths: list[str]) -> None:
        for path in sorted(paths, reverse=True):
            real = self.real(path)
            if os.path.isdir(real) and not os.path.islink(real):
                self._remove_folder(real)
            else:
                durable.remove_file(real)

    def _remove_folder(self, real: str) -> None:
        try:
            os.rmdir(real)
        except FileNotFoundError:
            pass
        except OSError:
            # Something that is not the upgrade's is in it: it stays, and so does the directory.
            return

    def _put_back(self, entry: Entry, what: str) -> None:
        real = self.real(entry.path)
        if what == "kind":
            self._make_way(entry, real)
        if entry.kind == FOLDER:
            os.makedirs(real, exist_ok=True)
        elif what != "metadata":
            self._replace(entry, real)
        self._metadata(entry)

    def _make_way(self, entry: Entry, real: str) -> None:
        """Clear a path that is of another kind now: a directory that is to become a link, or the other way round."""
        if os.path.isdir(real) and not os.path.islink(real):
            try:
                os.rmdir(real)
            except OSError:
                os.rename(real, f"{real}{TEMPORARY}-aside")
        elif entry.kind == FOLDER:
            os.unlink(real)

    def _replace(self, entry: Entry, real: str) -> None:
        temporary = f"{real}{TEMPORARY}"
        durable.remove_file(temporary)
        if entry.kind == LINK:
            os.symlink(entry.target, temporary)
        elif entry.kind == SPECIAL:
            os.mknod(temporary, entry.mode, entry.device)
        elif entry.twin and os.path.exists(self.real(entry.twin)):
            os.link(self.real(entry.twin), temporary)
        elif entry.how == "link":
            os.link(self.stored(entry), temporary)
        else:
            durable.copy_file(self.stored(entry), temporary)
        # A rename between two names of one inode does nothing, and leaves both.
        if os.path.lexists(real) and os.path.samestat(os.lstat(real), os.lstat(temporary)):
            os.unlink(temporary)
            return
        os.rename(temporary, real)

    def _metadata(self, entry: Entry) -> None:
        real = self.real(entry.path)
        now, found = look_at(real)
        if found is None or _metadata(now) == _metadata(entry):
            return
        if (now.owner, now.group) != (entry.owner, entry.group):
            os.chown(real, entry.owner, entry.group, follow_symlinks=False)
        for name in set(now.attributes) - set(entry.attributes):
            os.removexattr(real, name, follow_symlinks=False)
        for name, value in entry.attributes.items():
            if now.attributes.get(name) != value or now.owner != entry.owner:
                os.setxattr(real, name, base64.b64decode(value), follow_symlinks=False)
        if entry.kind != LINK:
            # After chown, which takes setuid away.
            os.chmod(real, stat.S_IMODE(entry.mode))
        os.utime(real, ns=(found.st_atime_ns, entry.modified), follow_symlinks=False)


def _metadata(entry: Entry) -> tuple[object, ...]:
    mode = 0 if entry.kind == LINK else stat.S_IMODE(entry.mode)
    return mode, entry.owner, entry.group, entry.modified, dict(entry.attributes)

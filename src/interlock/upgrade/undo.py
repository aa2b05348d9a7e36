"""The undo store of one operation: filled before rpm changes anything, used when the host has to go back.

Layout: ``/var/lib/interlock/undo/<operation>/`` with ``manifest.jsonl``, ``files/`` and ``complete`` (see
``undo_keep``); ``after.jsonl``, how the host was when the upgrade had been proven; ``aside/``, what was moved out of
the way of the old state because it may be somebody's. Rules:

* What an upgrade has not changed is never touched, even if somebody else has changed it since.
* What is removed is what the upgrade itself brought; whatever else stands in the way is moved aside.
* Everything that may be needed to go back is loaded before the upgrade begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

from interlock.boot.rescue import prepare_rescue
from interlock.boot.rescue_plan import write_plan
from interlock.host.context import Host
from interlock.system import durable
from interlock.upgrade import undo_snapshot
from interlock.upgrade.aside import beside
from interlock.upgrade.undo_after import read_after, strangers, write_after
from interlock.upgrade.undo_entry import Entry, lstat
from interlock.upgrade.undo_keep import COMPLETE, Concern, Keeper, Kept, Owned, is_complete
from interlock.upgrade.undo_restore import Change, Restorer
from interlock.upgrade.undo_walk import watched

AFTER, ASIDE = "after.jsonl", "aside"
SHA256 = 8
CONFIG = 1


class ConcernCollector:
    """Puts together what an upgrade will change, from what the worker says."""

    def __init__(self) -> None:
        self.replaced: dict[str, Owned] = {}
        self.brought: set[str] = set()
        self.others: set[str] = set()

    def package(self, rows: Iterable[Sequence[Any]]) -> None:
        """Learn what a new package brings (rows as in the worker's ``package``)."""
        self.brought.update(row[0] for row in rows)

    def old(self, algorithm: int, rows: Iterable[Sequence[Any]]) -> None:
        """Learn what a package has that goes: rows are path, digest, size, time of change in seconds, flags."""
        for path, digest, size, modified, flags in rows:
            known = f"sha256:{digest}" if digest and algorithm == SHA256 else ""
            self.replaced[path] = Owned(known, size, modified, bool(flags & CONFIG))

    def other(self, paths: Iterable[str]) -> None:
        """Learn what packages have that stay."""
        self.others.update(paths)

    def concern(self, known: bool) -> Concern:
        """Return it all; ``known`` as in ``Concern``."""
        return Concern(self.replaced, frozenset(self.brought), frozenset(self.others), known)


class UndoStore:
    """One operation's store."""

    def __init__(self, host: Host, operation: str) -> None:
        self.folder = os.path.join(host.paths.undo, operation)
        self.host, self.operation = host, operation
        self.trace, self.root = host.trace, host.paths.root
        self._open: Optional[Restorer] = None
        self._known: Optional[list[Change]] = None
        self._entries: Sequence[Entry] = ()

    @property
    def aside(self) -> str:
        """Where what may be somebody else's is put before its path is restored."""
        return os.path.join(self.folder, ASIDE)

    @property
    def complete(self) -> bool:
        """Whether it was made to its end."""
        return is_complete(self.folder)

    @property
    def proven(self) -> bool:
        """Whether it also knows how the host was when the upgrade had been proven."""
        return self.complete and os.path.exists(os.path.join(self.folder, AFTER))

    def keep(self, concern: Concern) -> Kept:
        """Fill it, durably; what was begun here before is thrown away."""
        self.discard()
        os.makedirs(os.path.dirname(self.folder), mode=0o700, exist_ok=True)
        self.trace.point("undo.begin")
        keeper, sums = Keeper(self.folder, concern, self.root), []
        os.mkdir(self.folder, 0o700)
        undo_snapshot.take(self.root, self.folder)
        kept = keeper.keep(lambda entries: sums.append(write_plan(entries, self.folder)))
        self.trace.point("undo.kept")
        self._entries = keeper.entries
        prepare_rescue(self.host, self.operation, self.folder, keeper.entries, sums[0])
        return kept

    def warm_up(self) -> None:
        """Look once at what ``keep`` will look at, so that it is in memory by then."""
        for path in watched(self.root):
            lstat(path if self.root == "/" else self.root + path)

    def remember_after(self) -> int:
        """Write down how the host is now that the upgrade is proven; return how many paths are not as before."""
        return write_after(os.path.join(self.folder, AFTER), Restorer(self.folder, self.root, self._entries))

    def forget_after(self) -> None:
        """Drop what ``remember_after`` wrote: the upgrade was not committed, and whatever is new is to go."""
        self._open = self._known = None
        durable.remove_file(os.path.join(self.folder, AFTER))

    def changes(self) -> list[Change]:
        """Return what going back would change now. ManifestDamaged, StoreDamaged where it cannot be said."""
        return self._restorer().changes()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Compare the contents with their digests beside us; ``go_back`` waits for it. ManifestDamaged."""
        restorer = self._restorer()
        restorer.begin_check()
        try:
            yield
        finally:
            restorer.end_check()

    def prepare_going_back(self) -> None:
        """Have the rescue finish, after a power cut, what going back from a proven state begins."""
        restorer = self._restorer()
        self._known = restorer.changes()
        changed = {change.path for change in self._known}
        # Another name of a file has no content of its own.
        wanted = changed | {restorer.by_path[path].twin for path in changed if path in restorer.by_path}
        rows = [entry for entry in restorer.entries if entry.path in wanted]
        prepare_rescue(self.host, self.operation, self.folder, rows)

    def go_back(self) -> tuple[list[Change], list[Change]]:
        """Make everything what it was, durably, and look again; return what was changed, and what still differs.

        StoreDamaged, before anything is changed, where that cannot be.
        """
        self.trace.point("undo.restore")
        known, self._known = self._known, None
        restorer, left = self._restorer(), []
        made = restorer.restore(known)
        beside(restorer.sync, lambda: left.extend(restorer.changes()))
        self.trace.point("undo.restored")
        return made, left

    def _restorer(self) -> Restorer:
        if self._open is None:
            self._open = self._opened()
        return self._open

    def _opened(self) -> Restorer:
        restorer = Restorer(self.folder, self.root)
        after = os.path.join(self.folder, AFTER)
        if os.path.exists(after):
            restorer.narrow(read_after(after))
        else:
            restorer.extras = strangers(restorer)
        restorer.aside = self.aside
        return restorer

    def size(self) -> int:
        """Return the bytes that the store takes for itself: copies, and files whose other names are gone."""
        total = 0
        for folder, folders, names in os.walk(self.folder):
            if undo_snapshot.SNAPSHOT in folders and folder == self.folder:
                # It shares its blocks, and what it has of its own only the file system knows.
                folders.remove(undo_snapshot.SNAPSHOT)
            for name in names:
                found = os.lstat(os.path.join(folder, name))
                total += found.st_size if found.st_nlink == 1 else 0
        return total

    def shrink(self) -> None:
        """Remove all but what was moved aside."""
        if not os.path.isdir(self.folder):
            return
        # First of all it is no store any more.
        durable.remove_file(os.path.join(self.folder, COMPLETE))
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if name == undo_snapshot.SNAPSHOT:
                undo_snapshot.drop(self.folder)
            elif name != ASIDE and os.path.isdir(path):
                durable.remove_trees([path])
            elif name != ASIDE:
                durable.remove_file(path)
        if not os.listdir(self.folder):
            os.rmdir(self.folder)

    def discard(self) -> None:
        """Remove it."""
        undo_snapshot.drop(self.folder)
        durable.remove_trees([self.folder])

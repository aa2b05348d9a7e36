"""How an upgrade is kept apart from everybody else who uses the package database.

Two ways with one shape, each a context manager whose default end is undoing: ``ShadowIsolation`` (nobody waits,
nobody fails) and ``GateIsolation`` (others wait), for hosts where directories cannot be exchanged.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod

from interlock.errors import InterlockError, Refused
from interlock.host.context import Host
from interlock.rpmdb import shadow as shadows
from interlock.rpmdb.backend import Database, copy_database, empty_write_ahead_log, is_volatile, sync_files
from interlock.rpmdb.gate import gate
from interlock.rpmdb.shadow import Shadow
from interlock.system import durable


class Isolation(ABC):
    """Keeps the database from others, and others from it, while the context lasts."""

    kind = ""

    def __init__(self, host: Host, database: Database, operation: str) -> None:
        self.host, self.database = host, database
        self.shadow = Shadow.of(database, operation)
        self.settled = False

    @property
    @abstractmethod
    def bind(self) -> str:
        """What the worker must see at the database's place, or an empty string."""

    @property
    @abstractmethod
    def written(self) -> str:
        """The directory that holds the new database before the commit."""

    @property
    def hides_lock(self) -> bool:
        """Whether the worker sees another lock file than everybody else."""
        return bool(self.bind) and os.path.dirname(self.database.lock) == self.database.path

    @abstractmethod
    def commit(self) -> str:
        """Make the new database everybody's; return where the old one is kept."""

    def keep(self) -> str:
        """Leave what there is for a look; return where it is. The original database is untouched."""
        self.settled = True
        return self.shadow.path

    @abstractmethod
    def abandon(self) -> None:
        """Undo it: the database is the one from before, and nothing is left of the new one."""

    @abstractmethod
    def __enter__(self) -> Isolation:
        """Begin."""

    @abstractmethod
    def __exit__(self, *error: object) -> None:
        """End; what was neither committed nor kept is undone."""


class ShadowIsolation(Isolation):
    """The worker has a private copy; the others keep the original until one atomic exchange."""

    kind = "shadow"

    @property
    def bind(self) -> str:
        """The shadow."""
        return self.shadow.path

    @property
    def written(self) -> str:
        """The shadow."""
        return self.shadow.path

    def __enter__(self) -> ShadowIsolation:
        try:
            self.shadow.make(self.host.trace)
        except BaseException:
            self.shadow.discard()
            raise
        return self

    def commit(self) -> str:
        """Exchange; the old database is then at the shadow's path."""
        self.shadow.exchange(self.host.trace)
        self.settled = True
        return self.shadow.path

    def abandon(self) -> None:
        """Throw the shadow away."""
        self.shadow.discard()
        self.settled = True

    def __exit__(self, *error: object) -> None:
        if not self.settled:
            self.abandon()


class GateIsolation(Isolation):
    """The worker writes the original while others are held back; a copy made before restores it on failure."""

    kind = "gate"

    def __init__(self, host: Host, database: Database, operation: str) -> None:
        super().__init__(host, database, operation)
        self.stack = contextlib.ExitStack()
        # A database that is a mount point has its sibling on another file system, which a plain copy may be.
        self.shadow = Shadow(database, os.path.join(host.paths.operations, operation, "rpmdb-before"))

    @property
    def bind(self) -> str:
        """Nothing: the worker sees the original."""
        return ""

    @property
    def written(self) -> str:
        """The original."""
        return self.database.path

    def __enter__(self) -> GateIsolation:
        try:
            self.shadow.make(self.host.trace)
            self.stack.enter_context(gate(self.database, self.host.clock, self.host.proc))
        except BaseException:
            self.stack.close()
            self.shadow.discard()
            raise
        self.host.trace.point("gate.raised")
        return self

    def commit(self) -> str:
        """Keep what was written."""
        sync_files(self.database.path)
        self.settled = True
        return self.shadow.path

    def keep(self) -> str:
        """Put the original content back at once; what the worker wrote goes to the operation's folder."""
        written = f"{self.shadow.path}-written"
        os.mkdir(written, 0o700)
        copy_database(self.database, written)
        restore_content(self.shadow.path, self.database)
        self.settled = True
        return written

    def abandon(self) -> None:
        """Put the original content back, behind the gate."""
        restore_content(self.shadow.path, self.database)
        self.shadow.discard()
        self.settled = True

    def __exit__(self, *error: object) -> None:
        if not self.settled:
            self.abandon()
        self.stack.close()


def restore_content(source: str, database: Database) -> None:
    """Make the files of a database directory those of ``source``, the directory and its lock staying the same."""
    wanted = set(os.listdir(source))
    for name in database.files():
        path = os.path.join(database.path, name)
        if name not in wanted and not is_volatile(name) and not os.path.isdir(path):
            durable.remove_file(path)
    for folder, _, names in os.walk(source):
        inside = os.path.join(database.path, os.path.relpath(folder, source))
        os.makedirs(inside, exist_ok=True)
        for name in sorted(names):
            temporary = os.path.join(inside, f"{name}.interlock-new")
            durable.copy_file(os.path.join(folder, name), temporary)
            os.rename(temporary, os.path.join(inside, name))
    if "rpmdb.sqlite" in wanted:
        # Makes -wal and -shm anew, without which ordinary users cannot query. The content is whole without them, and
        # the next query by root makes them, too: not worth a failure here.
        with contextlib.suppress(InterlockError):
            empty_write_ahead_log(database.path)
    sync_files(database.path)


def choose_isolation(host: Host, database: Database, operation: str, asked: str) -> Isolation:
    """Return the isolation that was asked for, or the best that works here; Refused where neither does.

    ``asked`` is ``auto``, ``shadow`` or ``gate``.
    """
    obstacle = shadows.obstacle(database) if asked != "gate" else None
    if asked == "shadow" and obstacle:
        raise Refused(reasons=f"no shadow can be used: {obstacle}; --isolation gate works without")
    isolation = GateIsolation if asked == "gate" or obstacle else ShadowIsolation
    chosen = isolation(host, database, operation)
    check_space(database, os.path.dirname(chosen.shadow.path))
    return chosen


def check_space(database: Database, parent: str) -> None:
    """Raise Refused unless a copy of the database, and what comes to it, fits into the directory ``parent``."""
    needed, free = shadows.space_needed(database), shadows.free_space(parent)
    if free < needed:
        raise Refused(
            reasons=f"no space for the shadow of the package database in {parent}: "
            f"{needed >> 20} MiB are needed, {free >> 20} MiB are free"
        )

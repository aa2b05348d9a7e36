"""Takes a committed operation back, any time until its undo store expires: the engine of `interlock rollback`.

Refused where the host has moved on: the packages must be those that the operation left, for undoing it under a later
transaction would make a system that never was.
"""

from __future__ import annotations

import os
from collections.abc import Set
from typing import Optional

from interlock.errors import Refused, UsageError
from interlock.events import EventSink
from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold, refuse_when_held
from interlock.host.lease import Lease
from interlock.package import Nevra
from interlock.rpmdb.backend import Database, find_database
from interlock.rpmdb.lock import RpmLock
from interlock.rpmdb.reader import installed_packages, private_copy
from interlock.upgrade import proof, retreat
from interlock.upgrade import state as states
from interlock.upgrade.aside import beside
from interlock.upgrade.journal import Journal, JournalDamaged
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.plan import IGNORED, Plan
from interlock.upgrade.settle import last_intent
from interlock.upgrade.undo import UndoStore
from interlock.upgrade.undo_restore import Change

SHOWN = 5


class NothingToRollBack(UsageError):
    """There is no operation that can be rolled back: {detail}."""

    hint = "`interlock history` lists the operations, and which of them can still be undone."


class Rollback:
    """Takes one operation back. ``run`` returns its last state, and raises what refused it or what went wrong."""

    def __init__(self, host: Host, operation: Operation, journal: Journal, events: EventSink) -> None:
        self.host, self.operation, self.journal, self.events = host, operation, journal, events
        self.state: states.State = operation.state() or states.Planned(packages=0)
        self.undo = UndoStore(host, operation.id)
        self.changes: list[Change] = []
        self.restarted = ""

    def run(self) -> states.State:
        """Do it all."""
        with Lease(self.host.paths, self.operation.id, self.host.clock, self.host.proc):
            refuse_when_held(self.host.paths)
            database = find_database(self.host.runner)
            with RpmLock(database, self.host.proc), self.undo.checking():
                self._back(database)
        beside(self.undo.shrink, self._finish)
        return self.state

    def _finish(self) -> None:
        self.restarted = retreat.finish(self.host, self.operation.began(self.host.proc.boot_id()))

    @property
    def message(self) -> str:
        """What was done, for people."""
        text = retreat.in_words(self.changes, self.undo)
        return f"{text}. {self.restarted}" if self.restarted else text

    def _enter(self, following: states.State) -> None:
        previous, self.state = self.state, states.advance(self.state, following)
        self.journal.state(following)
        self.events.emit("state.changed", previous=previous.name, state=following.name)

    def _back(self, database: Database) -> None:
        reasons = obstacles(self.host, self.operation, database)
        if reasons:
            raise Refused(reasons="; ".join(reasons))
        proof.preload(self.host.runner)
        reason = "asked for by `interlock rollback`"
        retreat.refuse_reboots(self.host, self.operation, "being rolled back", self.undo.prepare_going_back)
        self._enter(states.RollingBack(reason=reason))
        try:
            self.changes = retreat.restore_files(self.host, self.undo)
            self._restore_database(database)
        except Exception as error:
            self._hold(error)
            raise
        self._enter(states.RolledBack(reason=f"{reason}. {retreat.in_words(self.changes, self.undo)}"))

    def _restore_database(self, database: Database) -> None:
        previous = previous_of(self.operation)
        self.journal.intent("restore-database", previous=previous, inode=os.stat(previous).st_ino)
        retreat.restore_database(self.host, database, previous, isolation_of(self.operation))
        self.journal.outcome("restore-database")

    def _hold(self, error: Exception) -> None:
        reason = f"it could not be rolled back: {error}"
        put_on_hold(self.host.paths, Hold(self.operation.id, reason, self.host.clock.now()))
        self._enter(states.OnHold(reason=reason, kept=previous_of(self.operation)))


def previous_of(operation: Operation) -> str:
    """Return where the database from before a committed operation is kept."""
    for record in reversed(operation.records()):
        if record.kind == "state" and record.name == states.Committed.name:
            return str(record.data["previous"])
    return ""


def isolation_of(operation: Operation) -> str:
    """Return how an operation was kept apart: ``shadow`` or ``gate``."""
    return last_intent(operation.records(), "isolate").get("kind", "")


def can_be_undone(host: Host, operation: Operation) -> bool:
    """Say whether an operation is committed and all that is needed to take it back is still there."""
    try:
        state = operation.state()
    except JournalDamaged:
        return False
    store = UndoStore(host, operation.id)
    return isinstance(state, states.Done) and store.proven and os.path.isdir(previous_of(operation))


def find_undoable(host: Host, name: Optional[str]) -> Operation:
    """Return the operation of a name, or the last one that can be taken back. NothingToRollBack."""
    found = [one for one in list_operations(host.paths) if name in (None, one.id)]
    if not found:
        raise NothingToRollBack(detail=f"there is no operation {name}" if name else "this host has no operations yet")
    able = [one for one in found if can_be_undone(host, one)]
    if not able:
        what = f"operation {name}" if name else "every operation"
        raise NothingToRollBack(detail=f"{what} was not committed, was taken back already, or its undo store is gone")
    return able[-1]


def obstacles(host: Host, operation: Operation, database: Database) -> list[str]:
    """Return what stands against taking an operation back now."""
    if not can_be_undone(host, operation):
        return [f"what operation {operation.id} replaced is not kept any more"]
    with private_copy(database, host.paths, f"rollback-{os.getpid()}") as copy:
        now = {package.nevra for package in installed_packages(copy)}
    staged = operation.read_json("staged.json")
    left = Plan.from_json(operation.read_json("plan.json")).expected(map(Nevra.parse, staged["installed"]))
    more, less = _named(now - left), _named(left - now)
    told = [f"since then came {more}"] if more else []
    told += [f"since then went {less}"] if less else []
    return [f"the packages are not those that it left: {'; '.join(told)}"] if told else []


def _named(nevras: Set[Nevra]) -> str:
    names = sorted(str(one) for one in nevras if one.name != IGNORED)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def explain(host: Host, operation: Operation) -> list[Change]:
    """Return what a rollback would change now."""
    return UndoStore(host, operation.id).changes()

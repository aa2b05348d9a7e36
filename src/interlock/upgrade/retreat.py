"""Back to the state from before: files from the undo store, then the package database, then the guard.

Used by the engine when an upgrade fails, by recovery when an engine died, and by `interlock rollback`. Every step may
be done again: a retreat that was cut off is begun anew and comes to the same end.
"""

from __future__ import annotations

import os
from typing import Callable, Optional

from interlock.boot.guard import lower_guard, raise_guard
from interlock.boot.rescue import forget_rescue
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.rpmdb.backend import Database
from interlock.rpmdb.gate import gate
from interlock.rpmdb.shadow import Shadow, obstacle
from interlock.system import durable
from interlock.upgrade.aftermath import left_behind
from interlock.upgrade.aside import beside
from interlock.upgrade.ending import GRACE, Ending
from interlock.upgrade.isolation import restore_content
from interlock.upgrade.operation import Operation
from interlock.upgrade.proof import programs_run
from interlock.upgrade.restart import manager_is_gone, restart_services
from interlock.upgrade.undo import UndoStore
from interlock.upgrade.undo_restore import Change

SHOWN = 3


class NotAsBefore(InterlockError):
    """The host could not be brought back to what it was: {detail}."""

    hint = "Do not reboot. `interlock status` says what is unfinished; `interlock resume` tries again."


def refuse_reboots(host: Host, operation: Operation, why: str, meanwhile: Callable[[], object]) -> None:
    """Raise the guard, beside what is done meanwhile: it waits for systemd most of the time."""
    beside(lambda: raise_guard(host, operation.id, f"operation {operation.id} is {why}"), meanwhile)
    host.trace.point("guard.raised")


def end_left_processes(host: Host, operation: Operation) -> str:
    """End what the scriptlets of an operation have left running, for it may go on changing files; return whom."""
    ending = Ending(host.proc, host.clock, left_behind(host, operation.path("scriptlets.log"), operation.unit))
    ending.ask()
    limit = host.clock.monotonic() + GRACE + 1
    while host.clock.monotonic() < limit and any(host.proc.alive(one.id) for one in ending.targets):
        ending.tick()
        host.clock.sleep(0.05)
    return str(ending)


def restore_files(host: Host, store: UndoStore) -> list[Change]:
    """Put every path back, and look whether all are now as before. NotAsBefore, StoreDamaged."""
    if not store.complete:
        raise NotAsBefore(detail=f"the undo store {store.folder} is not there, or was not finished")
    made, still = store.go_back()
    if still:
        # What is not as its name and its inode say: all that is known of those paths is set once more.
        still = store.go_back()[1]
    left = [f"{change.path} ({change.what})" for change in still]
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        raise NotAsBefore(detail=f"still not as before: {', '.join(left[:SHOWN])}{more}")
    wrong = programs_run(host.runner)
    if wrong:
        raise NotAsBefore(detail=f"{wrong[0].subject} {wrong[0].detail}")
    return made


def finish(host: Host, began: Optional[int] = None) -> str:
    """Allow reboots again, and restart what runs gone programs.

    ``began`` is when the operation began, in clock ticks since the boot; None after a boot, where nothing of it runs.
    Returns what was restarted, for people.
    """
    # A manager that goes back to its old program reads its units anew.
    back = began is not None and manager_is_gone(host)
    lower_guard(host, reload=not back)
    forget_rescue(host.paths)
    restarted = [] if began is None else restart_services(host, began)
    return f"Restarted, because their new programs are gone: {', '.join(restarted)}" if restarted else ""


def in_words(changes: list[Change], store: UndoStore) -> str:
    """Return what was put back, for people."""
    if not changes:
        return "No file was changed, the package database neither"
    aside = sum(change.theirs for change in changes)
    text = f"{len(changes)} paths were put back as they were"
    return f"{text}, {aside} that may be somebody else's were copied to {store.aside} before" if aside else text


def restore_database(host: Host, database: Database, previous: str, isolation: str) -> None:
    """Put a committed operation's old database back: by one exchange, or file by file where that cannot be done.

    The caller holds rpm's lock. Afterwards ``previous`` is gone.
    """
    if isolation == "gate" or obstacle(database):
        with gate(database, host.clock, host.proc):
            restore_content(previous, database)
    else:
        Shadow(database, previous).exchange(host.trace)
    durable.remove_trees([previous])


def drop_regions(database: Database) -> None:
    """Remove the shared regions of a Berkeley DB that was killed in the middle: the next user makes them anew."""
    for name in database.files():
        if name.startswith("__db."):
            durable.remove_file(os.path.join(database.path, name))

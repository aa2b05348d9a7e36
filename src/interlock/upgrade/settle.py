"""Recovery: clears up after an engine that died. What it had committed is finished, everything else is undone.

Only where that is not possible, because the undo store is gone or damaged, the host is put on hold. Runs under the
host's lease: by `interlock resume`, at boot, and before a new operation begins. What is decided, and why, goes into the
journal.
"""

from __future__ import annotations

import os
from typing import Optional

from interlock.boot.guard import lower_guard, raise_guard, read_dirty
from interlock.boot.rescue import forget_rescue, read_rescued
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold, read_hold
from interlock.rpmdb.backend import Database, find_database
from interlock.rpmdb.lock import RpmLock
from interlock.rpmdb.shadow import remove_shadow
from interlock.system import durable
from interlock.upgrade import quiet, retreat
from interlock.upgrade import state as states
from interlock.upgrade.isolation import restore_content
from interlock.upgrade.journal import Journal, JournalDamaged, Record, current_state, unfinished_intents
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.undo import UndoStore


def settle_dead(host: Host) -> list[str]:
    """Bring every operation whose engine is dead to an end; return what was decided, for people."""
    decided = []
    for operation in list_operations(host.paths):
        records = operation.records()
        state = current_state(records)
        if state is None or not _unsettled(records, state) or host.proc.alive(records[-1].writer):
            continue
        if not states.final(state):
            decided.append(_settle(host, operation, records, state))
        decided += _start_agents(host, operation)
    return decided


def _unsettled(records: list[Record], state: states.State) -> bool:
    return not states.final(state) or quiet.owed(records) is not None


def _start_agents(host: Host, operation: Operation) -> list[str]:
    """Start the agents again that an operation has stopped, whatever its end; return what to tell people."""
    records = operation.records()
    what = quiet.owed(records)
    if what is None:
        return []
    journal = Journal(operation.journal, host.clock, host.proc)
    said = quiet.start_agents(host, journal, records)
    journal.close()
    units = ", ".join(unit.name for unit in what.units) or "no unit"
    return [f"agents that operation {operation.id} had stopped run again: {units}", *said]


def _settle(host: Host, operation: Operation, records: list[Record], state: states.State) -> str:
    if not any(record.kind == "state" and record.name == states.Applying.name for record in records):
        return _undo(host, operation, state, last_intent(records, "isolate"))
    going_back = isinstance(state, states.RollingBack)
    if not going_back and (isinstance(state, states.Committed) or _exchanged(records)):
        return _finish(host, operation, state, last_intent(records, "isolate"))
    return _go_back(host, operation, records, state)


def last_intent(records: list[Record], name: str) -> dict[str, str]:
    """Return the data of the last intent of a name; empty where there is none."""
    for record in reversed(records):
        if record.kind == "intent" and record.name == name:
            return {key: str(value) for key, value in record.data.items()}
    return {}


def _exchanged(records: list[Record]) -> bool:
    """Say whether the exchange that was intended has happened: the database is then the inode of the shadow."""
    if any(record.kind == "outcome" and record.name == "commit" for record in records):
        return True
    for record in unfinished_intents(records):
        if record.name == "commit":
            return bool(os.stat(record.data["database"]).st_ino == record.data["inode"])
    return False


def _undo(host: Host, operation: Operation, state: states.State, isolate: dict[str, str]) -> str:
    if isolate.get("kind") == "shadow":
        remove_shadow(isolate["shadow"])
    reason = "its engine died before anything was changed"
    chain = [state]
    if not isinstance(state, states.RollingBack):
        chain.append(states.RollingBack(reason=reason))
    retreat.finish(host)
    UndoStore(host, operation.id).shrink()
    _enter(host, operation, [*chain, states.RolledBack(reason=reason)])
    return f"operation {operation.id} is rolled back: {reason}"


def _finish(host: Host, operation: Operation, state: states.State, isolate: dict[str, str]) -> str:
    chain: list[states.State] = [state]
    if not isinstance(state, states.Committed):
        chain.append(states.Committed(previous=isolate.get("shadow", "")))
    lower_guard(host)
    forget_rescue(host.paths)
    _enter(host, operation, [*chain, states.Done()])
    return f"operation {operation.id} is done: its engine died after the commit"


def _go_back(host: Host, operation: Operation, records: list[Record], state: states.State) -> str:
    """Bring a host that is between back to what it was; a person is needed where that fails."""
    reason = _why(state) + _rescued(host, operation)
    chain: list[states.State] = [state]
    if not isinstance(state, states.RollingBack):
        chain.append(states.RollingBack(reason=reason))
        _enter(host, operation, chain)
    store = UndoStore(host, operation.id)
    if not any(record.kind == "state" and record.name == states.Committed.name for record in records):
        store.forget_after()
    try:
        retreat.end_left_processes(host, operation)
        changes = retreat.restore_files(host, store)
        _restore_database(host, records)
    except (InterlockError, OSError, ValueError) as error:
        return _hold(host, operation, chain[-1], f"{reason}; {error}", records)
    text = f"{reason}. {retreat.in_words(changes, store)}"
    _enter(host, operation, [chain[-1], states.RolledBack(reason=text)])
    _release(host, operation)
    boot = host.proc.boot_id()
    began = operation.began(boot) if records[-1].writer.boot == boot else None
    restarted = retreat.finish(host, began)
    store.shrink()
    return f"operation {operation.id} is rolled back: {text}" + (f". {restarted}" if restarted else "")


def _why(state: states.State) -> str:
    if isinstance(state, states.RollingBack):
        return f"its engine died while the host went back ({state.reason})"
    if isinstance(state, states.OnHold):
        return f"it was on hold: {state.reason}"
    return f"its engine died in the state {state.name}, while files of packages were being changed"


def _rescued(host: Host, operation: Operation) -> str:
    """Return what the script in the initramfs did before this boot, for people; empty where it did nothing."""
    done = read_rescued(host.paths)
    if done is None or done.operation != operation.id:
        return ""
    return f"; before the boot the initramfs put {done.changed} paths back"


def _restore_database(host: Host, records: list[Record]) -> None:
    """Make the database the one from before the operation, with the old rpm that is in its place again."""
    database = find_database(host.runner)
    isolate, back = last_intent(records, "isolate"), last_intent(records, "restore-database")
    with RpmLock(database, host.proc):
        if back:
            if str(os.stat(database.path).st_ino) != back["inode"] and os.path.isdir(back["previous"]):
                retreat.restore_database(host, database, back["previous"], isolate.get("kind", ""))
            durable.remove_trees([back["previous"]])
        elif isolate.get("kind") == "gate":
            _restore_content(isolate.get("shadow", ""), database)
        elif "shadow" in isolate:
            remove_shadow(isolate["shadow"])


def _restore_content(kept: str, database: Database) -> None:
    """Put back the database that rpm wrote without a shadow."""
    if not os.path.isdir(kept):
        raise retreat.NotAsBefore(
            detail=f"the copy of the package database from before is gone ({kept}), it is as rpm left it"
        )
    restore_content(kept, database)
    retreat.drop_regions(database)


def _hold(host: Host, operation: Operation, state: states.State, reason: str, records: list[Record]) -> str:
    isolate = last_intent(records, "isolate")
    kept = isolate.get("shadow", "")
    if isolate.get("kind") == "gate" and not last_intent(records, "restore-database"):
        # Whatever the files are: what rpm wrote without a shadow is half a database.
        try:
            _restore_database(host, records)
        except (InterlockError, OSError) as error:
            reason += f"; {error}"
    if read_hold(host.paths) is None:
        put_on_hold(host.paths, Hold(operation.id, reason, host.clock.now(), kept))
    raise_guard(host, operation.id, f"the host is on hold: {reason}")
    _enter(host, operation, [state, states.OnHold(reason=reason, kept=kept)])
    return f"operation {operation.id} is held: {reason}"


def _release(host: Host, operation: Operation) -> None:
    """End the hold if it is this operation's."""
    hold = read_hold(host.paths)
    if hold is not None and hold.operation == operation.id:
        durable.remove_file(host.paths.hold)


def lower_stale_guard(host: Host) -> list[str]:
    """Allow reboots where the marker is there and every operation has come to its end: it died a moment too early."""
    if read_dirty(host.paths) is None or read_hold(host.paths) is not None:
        return []
    try:
        states_now = [operation.state() for operation in list_operations(host.paths)]
    except JournalDamaged:
        # What that operation did is unknown, and unknown never counts as proven.
        return []
    if any(state is None or isinstance(state, states.OnHold) or not states.final(state) for state in states_now):
        return []
    lower_guard(host)
    forget_rescue(host.paths)
    return ["reboots are allowed again: every operation has come to its end"]


def resume_held(host: Host) -> list[str]:
    """Try once more to bring operations back that wait for a person; return what came of it, for people."""
    done = []
    for operation in list_operations(host.paths):
        records = operation.records()
        state = current_state(records)
        if isinstance(state, states.OnHold) and UndoStore(host, operation.id).complete:
            done.append(_go_back(host, operation, records, state))
    return done


def _enter(host: Host, operation: Operation, chain: list[states.State]) -> None:
    journal = Journal(operation.journal, host.clock, host.proc)
    for previous, following in zip(chain, chain[1:]):
        journal.state(states.advance(previous, following))
    journal.close()


def interrupted(host: Host) -> Optional[Operation]:
    """Return the operation that was cut off and has not been settled, if there is one."""
    for operation in list_operations(host.paths):
        try:
            records = operation.records()
        except JournalDamaged:
            # What it did is unknown, and unknown never counts as finished.
            return operation
        state = current_state(records)
        if state is not None and _unsettled(records, state) and not host.proc.alive(records[-1].writer):
            return operation
    return None

"""Clears up after an engine that died: what it left is undone if the host is as before, finished if it is as meant,
and put on hold if it is between. Runs under the host's lease, before a new operation begins.
"""

from __future__ import annotations

import os
from typing import Optional

from interlock.host.context import Host
from interlock.host.hold import Hold, put_on_hold, read_hold
from interlock.rpmdb.backend import find_database
from interlock.rpmdb.lock import RpmLock
from interlock.system import durable
from interlock.upgrade import state as states
from interlock.upgrade.isolation import restore_content
from interlock.upgrade.journal import Journal, JournalDamaged, Record, current_state, unfinished_intents
from interlock.upgrade.operation import Operation, list_operations


def settle_dead(host: Host) -> list[str]:
    """Bring every operation whose engine is dead to an end; return what was decided, for people."""
    decided = []
    for operation in list_operations(host.paths):
        records = operation.records()
        state = current_state(records)
        if state is None or states.final(state) or host.proc.alive(records[-1].writer):
            continue
        decided.append(_settle(host, operation, records, state))
    return decided


def _settle(host: Host, operation: Operation, records: list[Record], state: states.State) -> str:
    isolate = _last(records, "isolate")
    if not any(record.kind == "state" and record.name == states.Applying.name for record in records):
        return _undo(host, operation, state, isolate)
    if isinstance(state, states.Committed) or _exchanged(records):
        return _finish(host, operation, state, isolate)
    return _hold(host, operation, state, isolate)


def _last(records: list[Record], name: str) -> dict[str, str]:
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
        durable.remove_trees([isolate["shadow"]])
    reason = "its engine died before anything was changed"
    chain = [state]
    if not isinstance(state, states.RollingBack):
        chain.append(states.RollingBack(reason=reason))
    _enter(host, operation, [*chain, states.RolledBack(reason=reason)])
    return f"operation {operation.id} is rolled back: {reason}"


def _finish(host: Host, operation: Operation, state: states.State, isolate: dict[str, str]) -> str:
    chain: list[states.State] = [state]
    if not isinstance(state, states.Committed):
        chain.append(states.Committed(previous=isolate.get("shadow", "")))
    _enter(host, operation, [*chain, states.Done()])
    return f"operation {operation.id} is done: its engine died after the commit"


def _hold(host: Host, operation: Operation, state: states.State, isolate: dict[str, str]) -> str:
    reason = f"its engine died in the state {state.name}, while files of packages were being changed"
    kept = isolate.get("shadow", "")
    if isolate.get("kind") == "gate":
        reason += _restore(host, kept)
    if read_hold(host.paths) is None:
        put_on_hold(host.paths, Hold(operation.id, reason, host.clock.now(), kept))
    _enter(host, operation, [state, states.OnHold(reason=reason, kept=kept)])
    return f"operation {operation.id} is held: {reason}"


def _restore(host: Host, kept: str) -> str:
    """Put back the database that rpm wrote without a shadow; return what is to be said if that is not possible."""
    if not os.path.isdir(kept):
        return f"; the copy of the package database from before is gone ({kept}), it is as rpm left it"
    database = find_database(host.runner)
    with RpmLock(database, host.proc):
        restore_content(kept, database)
        for name in database.files():
            # Regions of an environment that was killed in the middle: made anew by the next user.
            if name.startswith("__db."):
                durable.remove_file(os.path.join(database.path, name))
    return ""


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
        if state is not None and not states.final(state) and not host.proc.alive(records[-1].writer):
            return operation
    return None

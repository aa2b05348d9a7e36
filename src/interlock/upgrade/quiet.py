"""Agents stopped for an operation: the intent in its journal before, the outcome after, and started again in any end.

An operation owes its agents from the intent until the outcome ``agents``. Whoever settles a dead operation pays it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from interlock.errors import InterlockError
from interlock.events import EventSink
from interlock.host.agents import running_agents
from interlock.host.catalogue import read_catalogue
from interlock.host.context import Host
from interlock.host.quiesce import Quiesced, intend, restore, stop
from interlock.rpmdb.backend import Database
from interlock.upgrade.journal import Journal, Record

STOPPED, STARTED = "quiesce", "agents"


def stop_agents(host: Host, journal: Journal, events: EventSink, database: Database) -> None:
    """Stop every agent that runs; what cannot be stopped is told, and no reason to fail."""
    agents = running_agents(host.proc, database.path, read_catalogue(host.paths))
    what = intend(host, agents)
    for text in what.notes:
        events.emit("note", text=text)
    journal.intent(STOPPED, what=what.to_json())
    stop(host, what, database.path, lambda text: events.emit("note", text=text))
    units = [unit.name for unit in what.units]
    events.emit("agents.stopped", agents=list(what.names), units=units, processes=[one.pid for one in what.frozen])
    host.trace.point("agents.stopped")


def owed(records: Sequence[Record]) -> Optional[Quiesced]:
    """Return what an operation has stopped and not started again."""
    found: Optional[dict[str, Any]] = None
    for record in records:
        if record.name == STOPPED and record.kind == "intent":
            found = record.data["what"]
        elif record.name == STARTED and record.kind == "outcome":
            found = None
    return Quiesced.from_json(found) if found else None


def start_agents(
    host: Host, journal: Journal, records: Sequence[Record], events: Optional[EventSink] = None
) -> list[str]:
    """Start again what an operation has stopped; return what did not come back, for people."""
    what = owed(records)
    if what is None:
        return []
    said: list[str] = []
    try:
        # After a boot systemd may be waiting for us, so we do not wait for it.
        restore(host, what, said.append, wait=records[-1].writer.boot == host.proc.boot_id())
    except (InterlockError, OSError) as error:
        said.append(f"agents could not all be started again: {error}")
    journal.outcome(STARTED, notes=said)
    if events is not None:
        for text in said:
            events.emit("note", text=text)
        events.emit("agents.restored", units=[unit.name for unit in what.units])
    host.trace.point("agents.restored")
    return said

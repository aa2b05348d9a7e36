"""One upgrade of this host: a folder with what was asked, planned and staged, the journal, the events, the log.

The folder is made before anything of the host is changed and is never removed by the engine: it is the history.
"""

from __future__ import annotations

import calendar
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

from interlock.errors import Refused, UsageError
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system import durable
from interlock.upgrade import state as states
from interlock.upgrade.journal import Journal, Record, current_state, read_journal

# The names of operations sort as they began.
STAMP = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class Request:
    """What was asked for. ``nice`` is added to the worker's niceness (nice(2)).

    ``script_limit`` is how long a scriptlet may take, in seconds; 0 is without limit. ``mends`` names the hold that
    does not refuse this operation, because it is to end it.
    ``back`` is for a plan with earlier versions, the same ones anew, and removals without a successor. ``quiesce``
    stops agents for as long as the transaction takes. ``asked`` is the name that whoever asked gave to this wish.
    """

    depot: str
    bulletins: list[str]
    isolation: str = "auto"
    allow_unsigned: bool = False
    nice: int = 0
    script_limit: float = 0.0
    mends: str = ""
    back: bool = False
    quiesce: bool = False
    asked: str = ""


@dataclass(frozen=True)
class Operation:
    """One operation's folder."""

    id: str
    folder: str

    def path(self, name: str) -> str:
        """Return the path of one of its files."""
        return os.path.join(self.folder, name)

    @property
    def journal(self) -> str:
        """The durable record."""
        return self.path("journal.jsonl")

    @property
    def unit(self) -> str:
        """The systemd unit that its engine runs in."""
        return f"interlock-{self.id}.service"

    def began(self, boot: str) -> int:
        """Return when who made it was started, in clock ticks since the boot of that id; 0 where that was before it.

        Not a time of day: somebody may set the clock back in the middle.
        """
        maker = self.records()[0].writer
        return maker.started if maker.boot == boot else 0

    @property
    def events(self) -> str:
        """What faces follow."""
        return self.path("events.jsonl")

    @property
    def log(self) -> str:
        """What the engine itself, rpm and the scriptlets print."""
        return self.path("output.log")

    def read_json(self, name: str) -> Any:
        """Return one of its JSON files."""
        with open(self.path(name), encoding="utf-8") as stream:
            return json.load(stream)

    def request(self) -> Request:
        """Return what was asked for."""
        return Request(**self.read_json("request.json"))

    def records(self) -> list[Record]:
        """Return the journal's records."""
        return read_journal(self.journal)

    def state(self) -> Optional[states.State]:
        """Return the state that the journal has reached."""
        return current_state(self.records())


def create_operation(host: Host, request: Request, plan: Mapping[str, Any], staged: Mapping[str, Any]) -> Operation:
    """Make the folder and the journal of a new operation, durable, in the state ``staged``.

    Raises Refused where the journal cannot be written: without it nothing may be changed.
    """
    try:
        name = f"{_stamp(host)}-{secrets.token_hex(2)}"
        operation = Operation(name, os.path.join(host.paths.operations, name))
        _fill(host, operation, request, plan, staged)
    except OSError as error:
        raise Refused(reasons=f"the journal in {host.paths.state} cannot be written: {error}") from None
    host.trace.point("operation.created")
    return operation


def _stamp(host: Host) -> str:
    """Return the time of day, or a second more than the last operation's where the clock has been set back."""
    now = time.strftime(STAMP, time.gmtime(host.clock.now()))
    last = max((one.id[: len(now)] for one in list_operations(host.paths)), default="")
    if now > last:
        return now
    try:
        return time.strftime(STAMP, time.gmtime(calendar.timegm(time.strptime(last, STAMP)) + 1))
    except ValueError:
        # Not a name of ours.
        return now


def _fill(
    host: Host, operation: Operation, request: Request, plan: Mapping[str, Any], staged: Mapping[str, Any]
) -> None:
    os.makedirs(host.paths.operations, mode=0o700, exist_ok=True)
    os.mkdir(operation.folder, 0o700)
    for name, content in (("request", asdict(request)), ("plan", plan), ("staged", staged)):
        durable.write_file(operation.path(f"{name}.json"), json.dumps(content), 0o600)
    journal = Journal(operation.journal, host.clock, host.proc)
    planned = states.Planned(packages=len(staged.get("files", ())))
    journal.state(planned)
    journal.state(states.advance(planned, states.Staged(directory=str(staged.get("directory", "")))))
    journal.close()
    durable.sync_directory(host.paths.operations)


def list_operations(paths: Paths) -> list[Operation]:
    """Return all operations of this host, oldest first."""
    try:
        names = sorted(os.listdir(paths.operations))
    except FileNotFoundError:
        return []
    return [Operation(name, os.path.join(paths.operations, name)) for name in names]


def find_operation(paths: Paths, name: str) -> Operation:
    """Return one operation; UsageError if there is none of that id."""
    for operation in list_operations(paths):
        if operation.id == name:
            return operation
    raise UsageError(detail=f"there is no operation {name} on this host; `interlock history` lists them")


def summary(operation: Operation) -> dict[str, Any]:
    """Return what ``history`` shows of an operation; a damaged journal is shown as such."""
    try:
        records = operation.records()
    except Exception as error:
        return {"id": operation.id, "state": "unreadable", "detail": str(error), "began": None, "ended": None}
    state = current_state(records)
    row: dict[str, Any] = {"id": operation.id, "state": state.name if state else "empty"}
    row["detail"] = getattr(state, "reason", "")
    row["began"] = records[0].at if records else None
    row["ended"] = records[-1].at if state and states.final(state) else None
    return row

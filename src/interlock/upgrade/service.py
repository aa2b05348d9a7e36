"""Runs the engine in a systemd unit of its own, apart from the terminal, the agent or the ssh session that asked.

The unit's name is ``interlock-<operation>.service``. Whoever asked follows the operation's event file and may come
and go. Where systemd is not in charge (a rescue shell), the engine runs in a session of its own instead.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Callable, Optional, Union

from interlock import __version__
from interlock.errors import CommandFailed, ExitStatus, Held, InterlockError, RolledBack
from interlock.events import EventWriter, read_events
from interlock.host.context import Host
from interlock.system import trace as tracing
from interlock.system.proc import ProcessId
from interlock.upgrade import state as states
from interlock.upgrade.engine import Engine, exit_status_of
from interlock.upgrade.journal import Journal, Record
from interlock.upgrade.operation import Operation
from interlock.upgrade.rollback import Rollback
from interlock.upgrade.standby import stand_by

POLL_SECONDS = 0.1
EVENTS, ROLLBACK_EVENTS = "events.jsonl", "rollback.jsonl"
START_LIMIT = 30.0
UNIT_PROPERTIES = (
    "Type=exec",
    "OOMScoreAdjust=-900",
    # A unit that is stopped at shutdown must not leave half a transaction behind: it gets the time it needs.
    "TimeoutStopSec=infinity",
    "KillMode=mixed",
    "SendSIGKILL=no",
    "TasksMax=infinity",
)


def unit_name(operation: Operation) -> str:
    """Return the unit that runs an operation."""
    return operation.unit


def own_command() -> list[str]:
    """Return how this program was started, so that it can be started again: zipapp, module or script."""
    archive = os.path.abspath(sys.argv[0])
    if archive.endswith("__main__.py"):
        return [sys.executable, "-m", "interlock"]
    return [sys.executable, archive]


def launch(host: Host, operation: Operation, *words: str) -> None:
    """Start the engine for an operation, detached; returns once it has written its first record.

    ``words`` are options of the hidden verb ``engine``. Raises EngineVanished where it ends, or says nothing, within
    START_LIMIT seconds.
    """
    argv = [*own_command(), "engine", operation.id, *words]
    before = len(operation.records())
    if os.path.isdir("/run/systemd/system"):
        host.runner.run(_unit_command(operation, argv), timeout=START_LIMIT)
    else:
        with open(operation.log, "ab") as log:
            host.runner.start(argv, stdout=log, stderr=log, outlive=True)
    deadline = host.clock.monotonic() + START_LIMIT
    while len(operation.records()) <= before:
        if host.clock.monotonic() > deadline:
            raise vanished(operation)
        host.clock.sleep(POLL_SECONDS / 5)


def _engine_records(operation: Operation) -> list[Record]:
    """Return the records that the engine itself has written."""
    records = operation.records()
    first = next((number for number, one in enumerate(records) if one.name == "engine"), len(records))
    return records[first:]


def launch_left(host: Host, operation: Operation) -> None:
    """Start the engine of an operation whose maker was killed before it did. The caller lets nobody else make one."""
    if isinstance(operation.state(), states.Staged) and not _engine_records(operation):
        try:
            launch(host, operation)
        except CommandFailed:
            # Its unit is there: the maker was killed right after it had asked for it.
            return


def _unit_command(operation: Operation, argv: list[str]) -> list[str]:
    properties = [*UNIT_PROPERTIES, f"StandardOutput=append:{operation.log}", f"StandardError=append:{operation.log}"]
    kept = {name: os.environ.get(name) for name in (tracing.VARIABLE, "PYTHONPATH", "PATH", "HOME")}
    return [
        "systemd-run", "--quiet", "--collect", f"--unit={unit_name(operation)}",
        f"--description=Interlock upgrade {operation.id}",
        *(f"--property={one}" for one in properties),
        *(f"--setenv={name}={value}" for name, value in kept.items() if value),
        "--", *argv,
    ]  # fmt: skip


def serve(host: Host, operation: Operation) -> ExitStatus:
    """Be the engine of one operation, to its end; everything is told through its events."""
    _settle_down()
    return stand_by(host, operation, EVENTS, lambda: _serve(host, operation))


def _serve(host: Host, operation: Operation) -> ExitStatus:
    journal = Journal(operation.journal, host.clock, host.proc)
    with open(operation.events, "a", encoding="utf-8") as stream:
        events = EventWriter(stream, operation.id, host.clock)
        engine = Engine(host, operation, journal, events)
        journal.intent("engine", version=__version__, standby=_standby(host))
        events.emit("operation.started", verb="update", packages=len(engine.files), engine=__version__)
        error = _run(engine)
        status = exit_status_of(error, engine.state)
        events.emit(
            "operation.ended", state=engine.state.name, exit_status=int(status), message=_message(error, engine),
            hint=_hint(error, engine),
            error=error.code if isinstance(error, InterlockError) else None,
        )  # fmt: skip
    journal.close()
    return status


def serve_rollback(host: Host, operation: Operation) -> ExitStatus:
    """Take one operation back, to the end; everything is told through events of its own."""
    _settle_down()
    return stand_by(host, operation, ROLLBACK_EVENTS, lambda: _serve_rollback(host, operation))


def _serve_rollback(host: Host, operation: Operation) -> ExitStatus:
    journal = Journal(operation.journal, host.clock, host.proc)
    with open(operation.path(ROLLBACK_EVENTS), "w", encoding="utf-8") as stream:
        events = EventWriter(stream, operation.id, host.clock)
        back = Rollback(host, operation, journal, events)
        journal.intent("engine", version=__version__, standby=_standby(host), verb="rollback")
        events.emit("operation.started", verb="rollback", packages=0, engine=__version__)
        error = _run(back)
        status = exit_status_of(error, back.state)
        events.emit(
            "operation.ended", state=back.state.name, exit_status=int(status),
            message=str(error) if error else back.message,
            hint=error.advice if isinstance(error, InterlockError) else "",
            error=error.code if isinstance(error, InterlockError) else None,
        )  # fmt: skip
    journal.close()
    return status


def _standby(host: Host) -> list[Any]:
    """Return who would go on in our place, as a journal can have it."""
    found = host.proc.identify(os.getppid())
    return list(found) if found else []


def _settle_down() -> None:
    """Become a process that goes on to its end whatever it is sent."""
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A function, not SIG_IGN: that would be inherited by every daemon that a scriptlet starts.
        signal.signal(number, _go_on)


def _go_on(_number: int, _frame: Any) -> None:
    """Take no notice: whoever stops the unit, a shutdown too, waits until the transaction is whole."""


def _run(engine: Union[Engine, Rollback]) -> Optional[BaseException]:
    try:
        engine.run()
    except Exception as error:
        if not isinstance(error, InterlockError):
            traceback.print_exc()
        return error
    return None


def _message(error: Optional[BaseException], engine: Engine) -> str:
    if error is None:
        done = f"{len(engine.files)} packages installed, verified and committed"
        ended = engine.transaction.watch.ended_ones if engine.transaction else []
        return ". ".join([done, *ended, *engine.remarks])
    if isinstance(engine.state, states.OnHold):
        return (
            f"{error}. The database that everybody uses is the one from before; files of packages were changed. "
            f"The host is on hold; what was written is kept in {engine.state.kept}"
        )
    return str(error)


def _hint(error: Optional[BaseException], engine: Engine) -> str:
    if isinstance(engine.state, states.OnHold):
        return Held.hint
    if error is None:
        return ""
    return error.advice if isinstance(error, InterlockError) else f"The operation's {engine.operation.log} has more."


class EngineVanished(InterlockError):
    """The engine of operation {operation} ended without a word, in the state {state}, while files were changed."""

    exit_status = ExitStatus.HELD
    hint = (
        "Do not reboot. `interlock resume` brings the host back to what it was; `interlock status` says what is left."
    )


def follow(
    host: Host, operation: Operation, tell: Callable[[dict[str, Any]], None], events: str = EVENTS
) -> dict[str, Any]:
    """Pass each event to ``tell`` until the operation has ended; return the last one.

    Raises EngineVanished where the engine has ended without an ``operation.ended``.
    """
    offset, last_look = 0, False
    while True:
        for after, event in _events(operation, offset, events):
            offset = after
            tell(event)
            if event["type"] == "operation.ended":
                return event
        if last_look:
            raise vanished(operation)
        last_look = not running(host, operation)
        if not last_look:
            host.clock.sleep(POLL_SECONDS)


def _events(operation: Operation, offset: int, name: str = EVENTS) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open(operation.path(name), "rb") as stream:
            yield from read_events(stream, offset)
    except FileNotFoundError:
        return


def events_since(operation: Operation, offset: int, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return up to ``most`` events that begin at a byte of the file, and where the next ones will."""
    found: list[dict[str, Any]] = []
    for after, event in _events(operation, offset):
        found.append(event)
        offset = after
        if len(found) == most:
            break
    return found, offset


def all_events(operation: Operation) -> Iterator[dict[str, Any]]:
    """Yield every event that an operation has written so far."""
    for _, event in _events(operation, 0):
        yield event


def vanished(operation: Operation) -> InterlockError:
    """Return the error for an engine that ended without a word: before anything was changed, or after."""
    state = operation.state()
    if isinstance(state, (states.Planned, states.Staged, states.Prepared)):
        return RolledBack(detail=f"the engine of operation {operation.id} ended before it changed anything")
    return EngineVanished(operation=operation.id, state=state.name if state else "unknown")


def running(host: Host, operation: Operation) -> bool:
    """Say whether the engine of an operation is alive, or its standby, which goes on in its place."""
    records = _engine_records(operation)
    writers = [ProcessId(*one.data["standby"]) for one in records if one.name == "engine" and one.data.get("standby")]
    return bool(records) and any(map(host.proc.alive, [records[-1].writer, *writers[-1:]]))

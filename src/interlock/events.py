"""Events: what an operation tells the outside, one JSON object a line, versioned.

Faces (terminal, pages, the manager) know events and nothing else of the engine. ``SCHEMA`` lists every type with
the fields it has beyond the common ones: ``v`` (schema version), ``seq`` (1, 2, 3... within one file), ``at``
(seconds since the epoch), ``op`` (operation id) and ``type``. A reader must ignore fields that it does not know;
a field never changes its meaning within one version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, Optional, Protocol

from interlock.errors import InterlockError
from interlock.system.clock import Clock

VERSION = 1

SCHEMA: Mapping[str, Mapping[str, str]] = {
    "operation.started": {
        "verb": "what was asked: update",
        "packages": "how many packages are installed, upgraded or removed",
        "engine": "version of Interlock",
    },
    "state.changed": {"previous": "state that was left", "state": "state that was entered"},
    "step.started": {"step": "name of a step within a state", "detail": "what it works on, for people"},
    "step.finished": {"step": "name of the step", "seconds": "how long it took"},
    "agents.stopped": {
        "agents": "their names",
        "units": "the units that were stopped",
        "processes": "pids that were frozen",
    },
    "agents.restored": {"units": "the units that run again"},
    "transaction.started": {"elements": "how many packages rpm will unpack or remove"},
    "element.started": {
        "package": "NEVRA",
        "action": "install or erase",
        "number": "1 for the first element of its action",
        "total": "elements of its action",
    },
    "element.finished": {"package": "NEVRA", "action": "install or erase"},
    "script.started": {"package": "NEVRA", "script": "%pre, %post, ..."},
    "script.finished": {
        "package": "NEVRA",
        "script": "%pre, %post, ...",
        "failed": "true if it ended with an error",
        "fatal": "true if rpm gives the package up for it",
        "seconds": "how long it took",
        "output": "the end of what it printed",
    },
    "script.slow": {
        "package": "NEVRA",
        "script": "%pre, %post, ...",
        "seconds": "how long it has been running",
        "waits": "what its processes are doing and whom they wait for, for people",
    },
    "script.deadlock": {
        "package": "NEVRA",
        "script": "%pre, %post, ...",
        "seconds": "how long it has been running",
        "cycle": "who waits for whom, so that none of them can ever go on, for people",
        "ends": "the process that the engine ends for it, for people; empty where it can end none",
    },
    "script.ended": {
        "package": "NEVRA",
        "script": "%pre, %post, ...",
        "seconds": "how long it had been running",
        "processes": "what the engine ends of it, for people",
        "why": "a deadlock or a limit, for people",
    },
    "process.left": {
        "pid": "a process that a scriptlet has left running",
        "command": "its command",
        "script": "the scriptlet that ran when it was started, for people; empty where none did",
    },
    "nested.missing": {
        "package": "NEVRA of the package whose scriptlet installs others",
        "script": "%pre, %post, ...",
        "command": "the command, as far as it is known",
        "missing": "what it was to install and is not there: NEVRAs or names; empty where that is not known",
    },
    "finding": {"subject": "package, path or part of the host", "detail": "what is wrong with it"},
    "note": {"text": "for people"},
    "undo.kept": {
        "folder": "the undo store",
        "entries": "paths",
        "linked": "files kept as hard links",
        "copied": "files copied",
        "bytes": "of the copies",
    },
    "operation.ended": {
        "state": "done, rolled-back or held",
        "exit_status": "what the command that waits for it ends with",
        "message": "for people",
        "hint": "the next step, for people; empty where none is needed",
        "error": "code of the error, or null",
    },
}


class UnknownEvent(InterlockError):
    """The event {type} is not in the schema, or its fields are not: {fields}."""


class EventSink(Protocol):
    """Whatever takes events."""

    def emit(self, kind: str, **fields: Any) -> None:
        """Take one event."""
        ...


class EventWriter:
    """Writes events to a stream, each line at once so that a follower sees it."""

    def __init__(self, stream: IO[str], operation: str, clock: Clock, first: int = 1) -> None:
        self.stream, self.operation, self.clock, self.next = stream, operation, clock, first

    def emit(self, kind: str, **fields: Any) -> None:
        """Write one event; UnknownEvent where its type or fields are not in ``SCHEMA``."""
        check_fields(kind, fields)
        row: dict[str, Any] = {
            "v": VERSION, "seq": self.next, "at": round(self.clock.now(), 6), "op": self.operation, "type": kind,
        }  # fmt: skip
        self.next += 1
        self.stream.write(json.dumps({**row, **fields}, ensure_ascii=True) + "\n")
        self.stream.flush()


def check_fields(kind: str, fields: Mapping[str, Any]) -> None:
    """Raise UnknownEvent unless ``fields`` are exactly those of the schema."""
    if set(fields) != set(SCHEMA.get(kind, {"": ""})):
        raise UnknownEvent(type=kind, fields=", ".join(sorted(fields)) or "none")


def read_events(stream: IO[bytes], offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each whole line from ``offset`` on as (offset after it, event); a torn last line is left for later."""
    stream.seek(offset)
    for line in stream:
        if not line.endswith(b"\n"):
            return
        offset += len(line)
        event = _parse(line)
        if event is not None:
            yield offset, event


def _parse(line: bytes) -> Optional[dict[str, Any]]:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("type"), str) else None

"""The journal: the durable record of intents and outcomes of one operation.

Layout: ``journal.jsonl`` in the operation's folder, one record a line, each with a checksum of its own. Rules: an
intent is written and synced before the effect, its outcome after; a record is never changed. Every record names
the boot id, pid and start time of its writer, so that a reader can tell a live operation from a dead one. A torn
last line is what a power cut leaves and is ignored; damage before it raises.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Optional

from interlock.errors import InterlockError
from interlock.system import durable
from interlock.system.clock import Clock
from interlock.system.proc import ProcessId, ProcReader
from interlock.upgrade import state as states

VERSION = 1


class JournalDamaged(InterlockError):
    """The journal {path} is damaged at line {line}: {detail}."""

    hint = "Keep the file. What the host is can be told from `interlock check` and `rpm -Va`."


class JournalFromTheFuture(InterlockError):
    """The journal {path} was written by a later version of Interlock (format {found}, known: {known})."""

    hint = "Use that version, or a later one, on this host."


@dataclass(frozen=True)
class Record:
    """One record. ``kind`` is ``state``, ``intent`` or ``outcome``; ``at`` is in seconds since the epoch."""

    seq: int
    kind: str
    name: str
    data: Mapping[str, Any]
    at: float
    writer: ProcessId


class Journal:
    """Appends records; open for as long as the operation runs."""

    def __init__(self, path: str, clock: Clock, proc: ProcReader) -> None:
        self.path, self.clock = path, clock
        writer = proc.identify(os.getpid())
        self.writer = writer or ProcessId(os.getpid(), 0, proc.boot_id())
        self.seq = len(read_journal(path))
        _cut_torn_line(path)
        self.stream: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        durable.sync_directory(os.path.dirname(path))

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _append(self, kind: str, name: str, data: Mapping[str, Any]) -> None:
        self.seq += 1
        row: dict[str, Any] = {
            "v": VERSION, "seq": self.seq, "kind": kind, "name": name, "data": dict(data),
            "at": self.clock.now(), "boot": self.writer.boot, "pid": self.writer.pid,
            "started": self.writer.started,
        }  # fmt: skip
        durable.append_line(self.stream, json.dumps({**row, "crc": _checksum(row)}))

    def state(self, state: states.State) -> None:
        """Record that a state has been reached."""
        self._append("state", state.name, state.data())

    def intent(self, name: str, **data: Any) -> None:
        """Record what is about to be done; returns once that is durable."""
        self._append("intent", name, data)

    def outcome(self, name: str, **data: Any) -> None:
        """Record what became of an intent."""
        self._append("outcome", name, data)


def _cut_torn_line(path: str) -> None:
    """Drop what a power cut left of a last line, so that the next record starts on a line of its own."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


def _checksum(row: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(row, sort_keys=True).encode())


def read_journal(path: str) -> list[Record]:
    """Return the records of a journal, none where there is no file.

    Raises JournalDamaged, JournalFromTheFuture.
    """
    try:
        with open(path, "rb") as stream:
            lines = stream.read().split(b"\n")
    except FileNotFoundError:
        return []
    whole = lines[:-1]
    return [_parse(path, number, line) for number, line in enumerate(whole, 1)]


def _parse(path: str, number: int, line: bytes) -> Record:
    try:
        row = json.loads(line)
        checksum = row.pop("crc")
        version = row.get("v")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise JournalDamaged(path=path, line=number, detail=f"not a record ({error})") from None
    if isinstance(version, int) and version > VERSION:
        raise JournalFromTheFuture(path=path, found=version, known=VERSION)
    if checksum != _checksum(row):
        raise JournalDamaged(path=path, line=number, detail="its checksum does not fit")
    writer = ProcessId(row["pid"], row["started"], row["boot"])
    return Record(row["seq"], row["kind"], row["name"], row["data"], row["at"], writer)


def current_state(records: list[Record]) -> Optional[states.State]:
    """Return the last state that a journal has reached."""
    for record in reversed(records):
        if record.kind == "state":
            return states.restore(record.name, record.data)
    return None


def unfinished_intents(records: list[Record]) -> list[Record]:
    """Return the intents that have no outcome, oldest first: what a dead operation may have done or not."""
    pending: dict[str, Record] = {}
    for record in records:
        if record.kind == "intent":
            pending[record.name] = record
        elif record.kind == "outcome":
            pending.pop(record.name, None)
    return sorted(pending.values(), key=lambda record: record.seq)

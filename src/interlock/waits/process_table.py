"""The processes of one look: all that was read of them, parsed when it is asked for.

Of every process its ``stat`` is kept as it was read; what costs more is filled in for those that matter. A host has
thousands of processes of which a handful has to do with packages. Nothing is read here: it is a value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from interlock.waits.facts import Process

TICKS = os.sysconf("SC_CLK_TCK")


class ProcessTable(Mapping[int, Process]):
    """Processes by their pid. ``detailed`` are those of which more than their ``stat`` is known."""

    def __init__(self, rows: dict[int, bytes], uptime: float, detailed: Mapping[int, Process]) -> None:
        self._rows = rows
        self._uptime = uptime
        self.detailed = detailed
        self._below: dict[int, list[int]] = {}

    def __getitem__(self, pid: int) -> Process:
        known = self.detailed.get(pid)
        return known if known is not None else parse_stat(pid, self._rows[pid], self._uptime)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, pid: object) -> bool:
        return pid in self._rows

    @property
    def uptime(self) -> float:
        """The seconds since boot at the time of the look."""
        return self._uptime

    def names(self) -> Iterator[tuple[int, bytes]]:
        """Yield each pid with its short name, which may have any bytes in it."""
        for pid, row in self._rows.items():
            yield pid, row[row.find(b"(") + 1 : row.rfind(b")")]

    def parent(self, pid: int) -> int:
        """Return the parent of a process, 0 where it has none or is not there."""
        row = self._rows.get(pid)
        return 0 if row is None else _parent(row)

    def size(self, pid: int) -> int:
        """Return the size of a process's address space in bytes; a thread of the kernel has none."""
        words = self._rows[pid][self._rows[pid].rfind(b")") + 1 :].split(None, 21)
        return int(words[20]) if len(words) > 20 and len(words[20]) < 20 and words[20].isdigit() else 0

    def children(self, pid: int) -> list[int]:
        """Return the processes whose parent this one is."""
        if not self._below:
            for child, row in self._rows.items():
                self._below.setdefault(_parent(row), []).append(child)
        return self._below.get(pid, [])

    def with_details(self, more: Iterable[Process]) -> ProcessTable:
        """Return a table that knows more of some processes; one that it does not have is left out."""
        found = {process.pid: process for process in more if process.pid in self._rows}
        table = ProcessTable(self._rows, self._uptime, {**self.detailed, **found})
        table._below = self._below
        return table


def _parent(row: bytes) -> int:
    words = row[row.rfind(b")") + 1 :].split(None, 2)
    return int(words[1])


def good_stat(row: bytes) -> bool:
    """Say whether what was read is a ``stat`` (proc_pid_stat(5)) as far as it is used here."""
    words = row[row.rfind(b")") + 1 :].split(None, 20)
    return b"(" in row and len(words) >= 20 and words[1].isdigit() and words[19].isdigit() and len(words[1]) < 20


def parse_stat(pid: int, row: bytes, uptime: float) -> Process:
    """Return what ``stat`` says of a process."""
    words = row[row.rfind(b")") + 1 :].split(None, 20)
    name = row[row.find(b"(") + 1 : row.rfind(b")")].decode("utf-8", "replace")
    started = int(words[19][:20])
    state = words[0].decode("utf-8", "replace")
    return Process(pid, name, "", int(words[1]), state, started, round(uptime - started / TICKS, 2))


def children_of(processes: Mapping[int, Process]) -> Mapping[int, list[int]]:
    """Return the children of every process that more is known of; without a table, of all."""
    if isinstance(processes, ProcessTable):
        return {pid: processes.children(pid) for pid in processes.detailed}
    below: dict[int, list[int]] = {}
    for process in processes.values():
        below.setdefault(process.parent, []).append(process.pid)
    return below


def detailed(processes: Mapping[int, Process]) -> Mapping[int, Process]:
    """Return the processes of which more than their name and state is known."""
    return processes.detailed if isinstance(processes, ProcessTable) else processes

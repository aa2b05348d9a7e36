"""Finds processes that pass a terminal on to others (script, sudo, expect) and sleep until something comes of it.

To the kernel such a process polls the master side; whoever has the slave side open can wake it. A wait with a time
limit does not count: it ends by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import ProcReader
from interlock.waits.facts import Facts, Pipe, Process

if TYPE_CHECKING:
    from interlock.waits.look import Place

MASTERS = ("/dev/ptmx", "/dev/pts/ptmx")
# System calls that sleep until a descriptor is ready: the number, and which argument is the time limit (0: none). The
# limit is a pointer that must be null, or a number that must be -1.
_X86 = {0: 0, 7: 3, 23: 5, 270: 5, 271: 3, 232: 4, 281: 4}
_ARM = {63: 0, 72: 5, 73: 3, 22: 4}
_POINTERS = frozenset({23, 270, 271, 72, 73})
_FOR_EVER = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})


def read_terminals(place: Place, facts: Facts, pids: Iterable[int]) -> tuple[Pipe, ...]:
    """Return the terminals that some of ``pids`` sleep on, each with the processes on its other side."""
    found = []
    for pid in pids:
        process = facts.processes.get(pid)
        if process is None or not sleeps_for_ever(process, os.uname().machine):
            continue
        for descriptor, number in _masters(place.proc, pid):
            others = tuple(one for one in _users(place.proc, facts, number) if one != pid)
            found.append(Pipe(number, pid, descriptor, True, others, f"the terminal /dev/pts/{number}"))
    return tuple(found)


def sleeps_for_ever(process: Process, machine: str) -> bool:
    """Say whether a process sleeps until a descriptor is ready, without a time limit."""
    calls = _X86 if machine == "x86_64" else _ARM
    if not process.call or process.call[0] not in calls:
        return False
    number, position = process.call[0], calls[process.call[0]]
    if position == 0:
        return True
    limit: Optional[int] = process.call[position] if len(process.call) > position else None
    return limit == 0 if number in _POINTERS else limit in _FOR_EVER


def _masters(proc: ProcReader, pid: int) -> Iterable[tuple[int, int]]:
    for descriptor, target in proc.open_files(pid):
        if target in MASTERS:
            number = _index(f"{proc.folder}/{pid}/fdinfo/{descriptor}")
            if number is not None:
                yield descriptor, number


def _index(path: str) -> Optional[int]:
    try:
        with open(path, encoding="ascii") as stream:
            words = [line.split() for line in stream]
    except (OSError, ValueError):
        return None
    return next((int(one[1]) for one in words if one[:1] == ["tty-index:"] and one[1:2] and one[1].isdecimal()), None)


def _users(proc: ProcReader, facts: Facts, number: int) -> list[int]:
    path = f"/dev/pts/{number}"
    return [pid for pid in facts.processes if any(target == path for _, target in proc.open_files(pid))]

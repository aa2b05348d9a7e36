"""Says which processes of a host may have to do with its packages: only of these is more read than one small file.

They are: whoever has or wants a lock on a file of the database or of a package tool; programs of that trade by their
name; on a host with Berkeley DB whoever sleeps on a mutex that processes share; and the ancestors and descendants of
all these. Whoever else turns up in a later fact (the unit of a job, the other end of a pipe) is added then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from interlock.waits.facts import Facts
from interlock.waits.process_table import ProcessTable
from interlock.waits.read_processes import command_of, read_call, shares_root

if TYPE_CHECKING:
    from interlock.waits.look import Place

_TRADE = ("rpm", "dnf", "yum", "zypp", "packagekit", "microdnf", "tdnf", "interlock", "systemctl", "up2date")
_NAMES = tuple(name.encode() for name in (*_TRADE, "Zypp", "PackageKit"))
_INTERPRETERS = (b"python", b"platform-python", b"perl", b"ruby")
# The numbers of futex on x86-64 and AArch64; the bit that says that no other process shares the word.
_FUTEX = frozenset({202, 98})
_PRIVATE = 128
# librpm, libdb and an environment need more room than this; most small programs do with less.
_SMALLEST = 8 * 1024 * 1024


def relevant(place: Place, facts: Facts, table: ProcessTable) -> set[int]:
    """Return the pids of those who matter, and of their families."""
    found = {lock.pid for lock in facts.locks if lock.pid in table}
    found.update(_of_the_trade(place, table))
    if facts.database.backend == "bdb" and any(one.name.startswith("__db.") for one in facts.database.files):
        found.update(_on_shared_futexes(place, table, found))
    return with_families(table, found)


def _of_the_trade(place: Place, table: ProcessTable) -> Iterator[int]:
    ourselves = os.getpid() if place.proc.folder == "/proc" else 0
    for pid, name in table.names():
        if pid != ourselves and (name.startswith(_NAMES) or _is_script(place, pid, name)) and shares_root(place, pid):
            yield pid


def _is_script(place: Place, pid: int, name: bytes) -> bool:
    return name.startswith(_INTERPRETERS) and _runs_trade(command_of(place, pid, ""))


def _runs_trade(command: str) -> bool:
    """Say whether an interpreter's command line names such a program near its begin."""
    return any(os.path.basename(word).startswith(_TRADE) for word in command[:512].split()[1:4])


def _on_shared_futexes(place: Place, table: ProcessTable, known: set[int]) -> Iterator[int]:
    for pid, _ in table.names():
        if pid not in known and table.size(pid) >= _SMALLEST:
            call = read_call(f"{place.proc.folder}/{pid}")
            if len(call) > 2 and call[0] in _FUTEX and not call[2] & _PRIVATE:
                yield pid


def with_families(table: ProcessTable, pids: Iterable[int]) -> set[int]:
    """Return processes with their ancestors, init left out, and with their descendants."""
    found: set[int] = set()
    todo = [pid for pid in pids if pid in table]
    down = list(todo)
    while down:
        pid = down.pop()
        if pid not in found:
            found.add(pid)
            down += table.children(pid)
    for pid in todo:
        parent = table.parent(pid)
        while parent > 1 and parent in table and parent not in found:
            found.add(parent)
            parent = table.parent(parent)
    return found


def mentioned(facts: Facts) -> set[int]:
    """Return the processes that some fact speaks of."""
    found = {lock.pid for lock in facts.locks} | {one.pid for one in facts.opened}
    found.update(one.pid for one in facts.futexes)
    found.update(one.owner for one in facts.futexes)
    for file in facts.pid_files:
        found.update((*file.waiters, file.pid or 0))
    for job in facts.jobs:
        found.update((*job.pids, *job.clients))
    for pipe in facts.pipes:
        found.update((pipe.pid, *pipe.others))
    return found

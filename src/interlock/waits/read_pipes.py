"""Finds processes asleep on a pipe that matters to packages, and who has its other end.

These are: transactions and their families; and whoever reads what a process holds that a scriptlet left behind. A
program that passes a terminal on is one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import read_text
from interlock.waits.facts import Facts, Pipe, Process
from interlock.waits.process_table import detailed
from interlock.waits.read_left_behind import read_left_behind
from interlock.waits.read_pid_files import is_manager
from interlock.waits.read_processes import detail
from interlock.waits.read_terminals import read_terminals

if TYPE_CHECKING:
    from interlock.waits.look import Place

# read and write: x86-64, then AArch64.
READS, WRITES = frozenset({0, 63}), frozenset({1, 64})
_MARK = "pipe:["
_ACCESS = 0o3


def read_pipes(place: Place, facts: Facts) -> tuple[Pipe, ...]:
    """Return the pipes, and terminals, that processes of the trade sleep on."""
    family = concerned(facts)
    sleepers = [found for pid in sorted(family) for found in _sleeps_on(place, facts.processes[pid])]
    pipes = [one for one in (_with_others(place, facts, sleeper) for sleeper in sleepers) if one is not None]
    return (*pipes, *_of_left_behind(place, facts, family), *read_terminals(place, facts, sorted(family)))


def concerned(facts: Facts) -> set[int]:
    """Return the programs of the trade, whoever has or wants the transaction lock, and their families."""
    known = detailed(facts.processes)
    found = {lock.pid for lock in facts.locks if lock.path == facts.database.lock}
    found |= {one.pid for one in facts.scriptlets}
    found |= {pid for pid, one in known.items() if one.name.startswith("rpm") or is_manager(one.command)}
    found &= set(known)
    return found | _above(facts, found) | _below(facts, found)


def _above(facts: Facts, pids: Iterable[int]) -> set[int]:
    found: set[int] = set()
    known = detailed(facts.processes)
    for pid in pids:
        process = known.get(known[pid].parent)
        while process is not None and process.parent > 0 and process.pid not in found and process.pid != 1:
            found.add(process.pid)
            process = known.get(process.parent)
    return found


def _below(facts: Facts, pids: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in detailed(facts.processes).values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    todo = list(pids)
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo += new
    return found


def _sleeps_on(place: Place, process: Process) -> Iterator[Pipe]:
    """Yield the pipe that a process sleeps on in read(2) or write(2)."""
    if len(process.call) < 2 or process.call[0] not in READS | WRITES:
        return
    inode = _inode(f"{place.proc.folder}/{process.pid}/fd/{process.call[1]}")
    if inode is not None:
        yield Pipe(inode, process.pid, process.call[1], process.call[0] in READS, ())


def _inode(path: str) -> Optional[int]:
    try:
        target = os.readlink(path)
    except OSError:
        return None
    number = target[len(_MARK) : -1]
    return int(number) if target.startswith(_MARK) and number.isdecimal() else None


def _with_others(place: Place, facts: Facts, pipe: Pipe) -> Optional[Pipe]:
    """Return a pipe with who has its other end; None where it is all over, or was only seen in passing."""
    others = tuple(pid for pid, writes in users(place, facts, pipe.inode) if writes == pipe.reading and pid != pipe.pid)
    return pipe._replace(others=tuple(dict.fromkeys(others))) if others else None


def users(place: Place, facts: Facts, inode: int) -> list[tuple[int, bool]]:
    """Return who has a pipe open, and whether for writing."""
    wanted = f"{_MARK}{inode}]"
    return [
        (pid, _writes(place, pid, descriptor))
        for pid in facts.processes
        for descriptor, target in place.proc.open_files(pid)
        if target == wanted
    ]


def _writes(place: Place, pid: int, descriptor: int) -> bool:
    for line in read_text(f"{place.proc.folder}/{pid}/fdinfo/{descriptor}", 4096).splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & _ACCESS != os.O_RDONLY
    return False


def _of_left_behind(place: Place, facts: Facts, known: set[int]) -> Iterator[Pipe]:
    """Yield the pipes whose reader waits for the end of what a scriptlet left behind."""
    found_left = read_left_behind(place, facts)
    left = {one.pid for one in found_left}
    for inode in sorted({inode for one in found_left for inode in one.pipes}):
        holders = users(place, facts, inode)
        for pid in sorted({pid for pid, writes in holders if not writes} - known):
            process = facts.processes[pid]
            for found in _sleeps_on(place, process if process.call else detail(place, process)):
                if found.inode == inode and found.reading:
                    others = tuple(sorted({other for other, writes in holders if writes and other != pid}))
                    yield found._replace(others=others, left=tuple(one for one in others if one in left))

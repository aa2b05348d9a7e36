"""One look at a process and all that it has started: whom do they wait for?

``look_below`` reads little: the processes below one, the locks that they wait for with their holders, the terminals
that they pass on. ``thorough`` adds what may concern anybody on the host: jobs of systemd, pid files, mutexes of
Berkeley DB. Paths are taken as the process itself sees them, for it may have a mount namespace of its own.
Everything that is needed is imported here: a caller may be replacing the files of the interpreter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional

from interlock.system.proc import ProcReader
from interlock.waits.edges import Edge, process_key
from interlock.waits.facts import Database, Facts, FileLock, Pipe, Process
from interlock.waits.graph import WaitGraph
from interlock.waits.look import Place
from interlock.waits.read_database import read_database
from interlock.waits.read_futexes import read_futexes
from interlock.waits.read_jobs import read_jobs
from interlock.waits.read_locks import parse
from interlock.waits.read_pid_files import read_pid_files
from interlock.waits.read_processes import read_process
from interlock.waits.read_terminals import read_terminals

# Where a process sleeps that waits for leave, and what gives it (fanotify(7)).
LEAVE, GUARD = "fanotify_", "anon_inode:[fanotify]"


def below(proc: ProcReader, top: int) -> list[int]:
    """Return the processes below one, the outermost first."""
    children: dict[int, list[int]] = {}
    for pid in proc.pids():
        children.setdefault(proc.parent(pid) or 0, []).append(pid)
    found = [top]
    for pid in found:
        found += [child for child in children.get(pid, ()) if child not in found]
    return found[1:]


def look_below(
    place: Place, top: int, thorough: bool = False, waiter: Optional[tuple[int, int]] = None, gate: int = 0
) -> Facts:
    """Return what ``top`` and the processes below it wait for.

    ``waiter`` is a process that waits for what ``top`` says through a pipe, and the descriptor that it reads. ``gate``
    is the process that holds others back from the package database, if any does.
    """
    lower = below(place.proc, top)
    ours = {top, *lower, *([waiter[0]] if waiter else [])}
    raw = _waited(place, ours)
    wanted = set(place.proc.pids()) if thorough else ours | {lock.pid for lock in raw if lock.pid > 0}
    view = place._replace(root=Path(f"{place.proc.folder}/{top}/root")) if place.live else place
    facts = Facts(place.clock.now(), read_database(view), _processes(place, wanted))
    facts = facts._replace(locks=_named(place, facts, raw, waiter[0] if waiter else 0))
    pipes = read_terminals(place, facts, lower) + _read_by(waiter, top)
    facts = facts._replace(pipes=pipes)
    if not thorough:
        return facts
    return _thorough(place, facts._replace(pipes=pipes + _held_back(place, facts, gate)), top)


def _thorough(place: Place, facts: Facts, top: int) -> Facts:
    regions, futexes = read_futexes(place, facts)
    facts = facts._replace(regions=regions, futexes=futexes)
    facts = facts._replace(pid_files=read_pid_files(place, facts))
    # Jobs are looked for below whoever has the transaction lock. That is ``top``, though its lock may be another file.
    lock = FileLock(0, "POSIX", True, top, facts.database.lock, (0, 0), 0, 0, None, False)
    return facts._replace(jobs=read_jobs(place, facts._replace(locks=(*facts.locks, lock))))


def _held_back(place: Place, facts: Facts, gate: int) -> tuple[Pipe, ...]:
    """Return who waits for leave to open a file, where ``gate``, or a fork of it, is the only one to give leave."""
    waiting = [pid for pid, process in facts.processes.items() if process.channel.startswith(LEAVE)] if gate else []
    if not waiting:
        return ()
    users = {pid for pid in facts.processes for _, target in place.proc.open_files(pid) if target == GUARD}
    if any(gate not in (pid, facts.processes[pid].parent) for pid in users):
        return ()
    return tuple(Pipe(0, pid, -1, True, (gate,), "the gate before the package database") for pid in waiting)


def _processes(place: Place, pids: Iterable[int]) -> dict[int, Process]:
    uptime = place.proc.uptime() or 0.0
    found = (read_process(place, pid, uptime) for pid in sorted(pids))
    return {process.pid: process for process in found if process is not None}


def _read_by(waiter: Optional[tuple[int, int]], top: int) -> tuple[Pipe, ...]:
    if waiter is None:
        return ()
    try:
        inode = os.fstat(waiter[1]).st_ino
    except OSError:
        return ()
    return (Pipe(inode, waiter[0], waiter[1], True, (top,)),)


def _waited(place: Place, ours: set[int]) -> list[FileLock]:
    """Return the locks that some of ``ours`` wait for, and those in their way: the kernel gives both one number."""
    try:
        with open(f"{place.proc.folder}/locks", encoding="ascii", errors="replace") as stream:
            found = [lock for lock in map(parse, stream) if lock is not None]
    except OSError:
        return []
    numbers = {lock.number for lock in found if lock.waits and lock.pid in ours}
    return [lock for lock in found if lock.number in numbers]


def _named(place: Place, facts: Facts, raw: Iterable[FileLock], first: int) -> tuple[FileLock, ...]:
    """Give locks their paths and owners. What ``first`` has locked, its forks have inherited: it is his alone."""
    known = _inodes(facts.database)
    found: list[FileLock] = []
    for lock in raw:
        path = known.get(lock.inode) or _path_of(place.proc, lock)
        owners = [lock.pid] if lock.pid > 0 else owners_of(place.proc, facts.processes, lock.inode)
        owners = [first] if first in owners else owners
        found += [lock._replace(path=path, pid=owner) for owner in owners]
    return tuple(found)


def _inodes(database: Database) -> dict[int, str]:
    return {one.inode: os.path.join(database.path, one.name) for one in database.files}


def _path_of(proc: ProcReader, lock: FileLock) -> str:
    """Return the path of a locked file by who has it open; empty where that cannot be seen."""
    for descriptor, target in proc.open_files(lock.pid) if lock.pid > 0 else ():
        try:
            if os.stat(f"{proc.folder}/{lock.pid}/fd/{descriptor}").st_ino == lock.inode:
                return target
        except OSError:
            continue
    return ""


def owners_of(proc: ProcReader, pids: Iterable[int], inode: int) -> list[int]:
    """Return who has an open-file-description lock on a file: ``/proc/PID/fdinfo`` lists the locks of each one."""
    return [pid for pid in pids if any(_has_lock(proc, pid, one, inode) for one, _ in proc.open_files(pid))]


def _has_lock(proc: ProcReader, pid: int, descriptor: int, inode: int) -> bool:
    try:
        with open(f"{proc.folder}/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as stream:
            rows = [line.partition("lock:")[2] for line in stream if line.startswith("lock:")]
    except OSError:
        return False
    locks = (parse(row) for row in rows)
    return any(lock is not None and lock.kind == "OFDLCK" and lock.inode == inode for lock in locks)


def way_of_no_return(graph: WaitGraph, top: int) -> list[Edge]:
    """Return the waits that lead from ``top`` round to itself, or to what can never end; none if it can go on."""
    way: list[Edge] = []
    seen: set[str] = set()
    key = process_key(top)
    while key in graph.hopeless and key not in seen:
        seen.add(key)
        edge = next((one for one in graph.after(key) if one.target in graph.hopeless), None)
        if edge is None:
            break
        way.append(edge)
        key = edge.target
    return way


def in_words(graph: WaitGraph, way: Iterable[Edge]) -> str:
    """Return some waits as a sentence, each part with who waits and for what."""
    nodes = graph.nodes
    return "; ".join(f"{nodes[one.source].label} {one.verb} {nodes[one.target].label}" for one in way)


def innermost(graph: WaitGraph, way: Iterable[Edge], lower: Iterable[int]) -> Optional[int]:
    """Return the process of a way that is furthest below; None where none of it is."""
    on_it = {graph.nodes[one.source].pid for one in way if graph.nodes[one.source].kind == "process"}
    found = [pid for pid in lower if pid in on_it]
    return found[-1] if found else None


def each_wait(facts: Facts, graph: WaitGraph, lower: Iterable[int]) -> list[str]:
    """Return what each process is, where it sleeps, and whom it waits for, for people."""
    return [_line(facts.processes, graph, pid) for pid in lower if pid in facts.processes]


def _line(processes: Mapping[int, Process], graph: WaitGraph, pid: int) -> str:
    process = processes[pid]
    asleep = f" in {process.channel}" if process.channel else ""
    text = f"{process.command or process.name} (pid {pid}, {process.state}{asleep})"
    waits = [one for one in graph.after(process_key(pid)) if "child" not in one.verb]
    return ", ".join([text, *(_wait(graph, one) for one in waits)])


def _wait(graph: WaitGraph, edge: Edge) -> str:
    node = graph.nodes[edge.target]
    owners = [graph.nodes[one.target].label for one in graph.after(edge.target)]
    return f"{edge.verb} {node.label}" + (f" (with {', '.join(owners[:3])})" if owners else "")

"""The edges of the wait graph, one kind of wait after the other. Pure functions of facts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Optional

from interlock.waits.facts import Facts, FileLock, Process
from interlock.waits.process_table import children_of, detailed

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# x86-64 and (where it differs) AArch64 numbers of the system calls that a waiter may sleep in.
WAIT_CALLS = frozenset({61, 247, 260, 95})
SLEEP_CALLS = frozenset({35, 230, 101, 115, 270, 271})
NAPS_EACH_SECOND = 1.0
SQLITE_WRITER = 120
SQLITE_PENDING = 0x40000000


class Node(NamedTuple):
    """A process or something that processes wait for. ``kind``: process, lock, mutex, job, pidfile, pipe, absent."""

    key: str
    kind: str
    label: str
    pid: int = 0


class Edge(NamedTuple):
    """``source`` waits for ``target``, or is held by it. ``age`` in seconds: it has waited for no longer than this.

    ``verb`` reads well between the two labels; ``proof`` says what shows it, and where it was read. ``sure`` is false
    where the wait is seen by its signs only, or may have ended while the look went on: it proves no deadlock.
    """

    source: str
    target: str
    verb: str
    proof: str
    age: Optional[float] = None
    any: bool = False
    sure: bool = True


Joined = tuple[Node, Node, Edge]


def process_key(pid: int) -> str:
    """Return the key of a process's node."""
    return f"process:{pid}"


def process_node(facts: Facts, pid: int) -> Node:
    """Return the node of a process. One that the look did not see may have come since: it is not called gone."""
    process = facts.processes.get(pid)
    return Node(process_key(pid), "process", f"pid {pid}" if process is None else label_of(process), pid)


def label_of(process: Process) -> str:
    """Return how a process is shown to people: its command, cut, its pid, and what a container calls it itself."""
    command = process.command if len(process.command) <= 60 else f"{process.command[:57]}..."
    inside = f", {process.inner} inside" if process.inner not in (0, process.pid) else ""
    return f"{command or process.name} (pid {process.pid}{inside})"


def _join(facts: Facts, ends: tuple[Node, Node], verb: str, proof: str, any_of: bool = False) -> Joined:
    source, target = ends
    process = facts.processes.get(source.pid) if source.kind == "process" else None
    age = None if process is None else (process.age if process.asleep is None else min(process.asleep, process.age))
    return source, target, Edge(source.key, target.key, verb, proof, age, any_of)


def all_edges(facts: Facts) -> Iterator[Joined]:
    """Yield every edge with its two nodes."""
    for kind in (_file_locks, _futexes, _children, _jobs, _pid_files, _pipes):
        yield from kind(facts)
    # Who sleeps for a moment with the database open may do so for reasons of its own.
    for source, target, edge in _sqlite_polls(facts):
        yield source, target, edge._replace(sure=edge.verb != "polls")


def _file_locks(facts: Facts) -> Iterator[Joined]:
    held = [lock for lock in facts.locks if not lock.waits and lock.pid > 0]
    for waiter in (lock for lock in facts.locks if lock.waits and lock.pid in facts.processes):
        node = _wanted_node(waiter, held)
        yield _join(facts, (process_node(facts, waiter.pid), node), "waits for", f"/proc/locks: -> {describe(waiter)}")
        for holder in (lock for lock in held if conflicts(lock, waiter)):
            ends, proof = (node, process_node(facts, holder.pid)), f"/proc/locks: {describe(holder)}"
            yield _join(facts, ends, "is held by", proof, _shared(holder, held))


def _wanted_node(waiter: FileLock, held: Iterable[FileLock]) -> Node:
    """Return what a process waits for: one node for all who want the same, but its own locks are not in its way."""
    node = lock_node(waiter)
    has = any(lock.pid == waiter.pid and lock.inode == waiter.inode for lock in held)
    return node._replace(key=f"{node.key}:{waiter.pid}") if has else node


def _shared(holder: FileLock, held: Iterable[FileLock]) -> bool:
    """Say whether several processes have the open file that the lock belongs to: any of them can give it back."""
    same = (holder.number, holder.kind, holder.inode, holder.first)
    return holder.kind != "POSIX" and len({
        lock.pid for lock in held if (lock.number, lock.kind, lock.inode, lock.first) == same
    }) > 1  # fmt: skip


def conflicts(holder: FileLock, waiter: FileLock) -> bool:
    """Say whether a held lock keeps a waiter waiting."""
    if holder.waits or (holder.inode, holder.device) != (waiter.inode, waiter.device) or holder.pid == waiter.pid:
        return False
    if (holder.kind == "FLOCK") != (waiter.kind == "FLOCK") or not (holder.write or waiter.write):
        return False
    return _overlap(holder, waiter)


def _overlap(one: FileLock, other: FileLock) -> bool:
    first, last = max(one.first, other.first), min(_end(one), _end(other))
    return first <= last


def _end(lock: FileLock) -> int:
    return 1 << 63 if lock.last is None else lock.last


def lock_node(lock: FileLock) -> Node:
    """Return the node of the file that is locked, with the byte range where it is not the whole file."""
    area = (
        ""
        if lock.first == 0 and lock.last is None
        else f" byte {lock.first}"
        + ("" if lock.last == lock.first else f" to {'the end' if lock.last is None else lock.last}")
    )
    mode = "write" if lock.write else "read"
    key = f"lock:{lock.kind == 'FLOCK'}:{lock.inode}:{lock.first}-{_end(lock)}:{mode}"
    return Node(key, "lock", f"the lock on {lock.path or f'inode {lock.inode}'}{area}")


def describe(lock: FileLock) -> str:
    """Return a lock as ``/proc/locks`` words it, with its path."""
    last = "EOF" if lock.last is None else lock.last
    major, minor = lock.device
    mode = "WRITE" if lock.write else "READ"
    return f"{lock.kind} {mode} {lock.pid} {major:02x}:{minor:02x}:{lock.inode} {lock.first} {last} ({lock.path})"


def _sqlite_polls(facts: Facts) -> Iterator[Joined]:
    """SQLite does not sleep in the lock: it asks, sleeps a moment, and asks again."""
    main = os.path.join(facts.database.path, "rpmdb.sqlite")
    writers = [lock for lock in facts.locks if _is_sqlite_write(lock, main)]
    pollers = {one.pid for one in facts.opened if one.path == main and _naps(facts.processes.get(one.pid))}
    for writer in writers:
        node = lock_node(writer)
        for pid in sorted(pollers - {writer.pid}):
            proof = (
                f"/proc/{pid}/syscall: sleeps for a moment, with {main} open, as SQLite does while the lock is taken"
            )
            yield _join(facts, (process_node(facts, pid), node), "polls", proof)
            yield _join(
                facts, (node, process_node(facts, writer.pid)), "is held by", f"/proc/locks: {describe(writer)}"
            )


def _is_sqlite_write(lock: FileLock, main: str) -> bool:
    if lock.waits or not lock.write or lock.pid <= 0:
        return False
    if lock.path == f"{main}-shm":
        return lock.first <= SQLITE_WRITER <= _end(lock)
    return lock.path == main and lock.first <= SQLITE_PENDING + 1 <= _end(lock)


def _naps(process: Optional[Process]) -> bool:
    """Say whether a process takes many short naps: SQLite never sleeps longer than a tenth of a second at a time."""
    if process is None or not process.call or process.call[0] not in SLEEP_CALLS:
        return False
    return process.switches >= NAPS_EACH_SECOND * process.age


def _futexes(facts: Facts) -> Iterator[Joined]:
    inner = {process.inner or pid: pid for pid, process in detailed(facts.processes).items()}
    for futex in facts.futexes:
        node = Node(f"mutex:{futex.file}:{futex.offset}", "mutex", f"a mutex in {futex.file} at byte {futex.offset}")
        proof = f"/proc/{futex.pid}/syscall: futex at byte {futex.offset} of {futex.file}"
        yield _join(facts, (process_node(facts, futex.pid), node), "waits for", proof)
        if futex.owner and futex.owner_alive:
            owner = process_node(facts, inner.get(futex.owner, futex.owner))
            yield _join(facts, (node, owner), "is held by", f"{futex.file}: the mutex names {futex.owner} as its owner")
        elif futex.owner and futex.confirmed:
            gone = Node(f"absent:{futex.owner}", "absent", f"pid {futex.owner}, which is gone", futex.owner)
            proof = f"{futex.file}: the mutex names {futex.owner} as its owner; no such process uses the environment"
            yield _join(facts, (node, gone), "is held by", proof)


def _children(facts: Facts) -> Iterator[Joined]:
    for pid, children in children_of(facts.processes).items():
        parent = facts.processes.get(pid)
        if parent is None or not parent.call or parent.call[0] not in WAIT_CALLS:
            continue
        awaited = _awaited(facts, parent, children)
        for child in awaited:
            proof = f"/proc/{pid}/syscall: wait; /proc/{child}/stat: its parent is {pid}"
            ends = process_node(facts, pid), process_node(facts, child)
            yield _join(facts, ends, "waits for its child", proof, len(awaited) > 1)


def _awaited(facts: Facts, process: Process, children: list[int]) -> list[int]:
    """Return the children that end the wait: the one that is named, or any."""
    wanted = process.call[1] if process.call[0] in (61, 260) and len(process.call) > 1 else 0
    named = [child for child in children if wanted and (facts.processes[child].inner or child) == wanted]
    return named or sorted(child for child in children if facts.processes[child].state != "Z")


def _jobs(facts: Facts) -> Iterator[Joined]:
    for job in facts.jobs:
        node = Node(f"job:{job.number}", "job", f"systemd job {job.number} ({job.kind} {job.unit})")
        for client in job.clients:
            proof = f"it asked systemd for the {job.kind} of {job.unit}; `systemctl list-jobs` has it as {job.state}"
            yield _join(facts, (process_node(facts, client), node), "waits for", proof)
        for pid in job.pids:
            if pid in facts.processes:
                proof = f"/proc/{pid}/cgroup: it is in the control group of {job.unit}"
                yield _join(facts, (node, process_node(facts, pid)), "waits for the end of", proof)


def _pid_files(facts: Facts) -> Iterator[Joined]:
    for one in facts.pid_files:
        node = Node(f"pidfile:{one.path}", "pidfile", f"the lock file {one.path}")
        for waiter in one.waiters:
            # It polls one of the files that it takes, and nothing says which: any of them may let it go on.
            several = sum(waiter in other.waiters for other in facts.pid_files) > 1
            proof = f"its command takes {one.path}, which has the pid {one.content.strip()[:40]!r}"
            yield _join(facts, (process_node(facts, waiter), node), "polls", proof, several)
        if one.waiters and one.pid and one.alive and one.pid not in one.waiters:
            proof = f"{one.path} has its pid"
            yield _join(facts, (node, process_node(facts, one.pid)), "names", proof)


def _pipes(facts: Facts) -> Iterator[Joined]:
    for pipe in facts.pipes:
        name = pipe.name or f"pipe:[{pipe.inode}]"
        node = Node(f"{'terminal' if pipe.name else 'pipe'}:{pipe.inode}", "pipe", pipe.name or f"pipe {pipe.inode}")
        verb = "reads from" if pipe.reading else "writes to"
        proof = f"/proc/{pipe.pid}/syscall: {verb} descriptor {pipe.descriptor}, which is {name}"
        yield _join(facts, (process_node(facts, pipe.pid), node), verb, proof)
        end = "can be written by" if pipe.reading else "can be read by"
        for other in pipe.others:
            seen = f"/proc/{other}/fd: it has the other end of {name} open"
            yield _join(facts, (node, process_node(facts, other)), end, seen, len(pipe.others) > 1)

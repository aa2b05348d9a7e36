"""Finds the catalogue's cases: Berkeley DB environments and their users."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

from interlock.waits import find_bdb_trial
from interlock.waits.bdb_region import CONDITION
from interlock.waits.edges import label_of
from interlock.waits.facts import Facts, FileLock, Futex, Process, Region
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import WaitGraph

DELETED = " (deleted)"
GATE = ".dbenv.lock"
STOPPED = frozenset({"T", "t"})
# Opening an environment takes milliseconds: who waits for it this long waits for somebody who does not go on.
QUEUE_SECONDS = 3.0
STILL_SECONDS = 0.5


def dead_owner(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """A lock that belongs to a process that is gone, with all who wait for it."""
    sleepers = [one for one in facts.futexes if one.confirmed and not one.free and _is_orphan(facts, one)]
    if sleepers:
        proof = [_why_dead(facts, one) for one in sleepers]
        logical = all(one.kind == CONDITION for one in sleepers)
        yield _of_sleepers(facts, "bdb-dead-owner", sleepers, proof, logical=logical)


def _is_orphan(facts: Facts, one: Futex) -> bool:
    return not one.owner_alive if one.owner else one.kind != "" and _all_stuck(facts)


def _all_stuck(facts: Facts) -> bool:
    """Say whether every user of the environment waits in it, or at its gate: none is left who could wake another."""
    stuck = {one.pid for one in facts.futexes if one.confirmed and not one.free}
    stuck.update(lock.pid for lock in _gate_locks(facts) if lock.waits)
    return {one.pid for one in facts.regions} <= stuck


def _why_dead(facts: Facts, one: Futex) -> str:
    place = f"{_label(facts, one.pid)} sleeps on the {one.kind} at byte {one.offset} of {one.file}"
    if one.owner:
        return f"{place}; it names pid {one.owner} as its owner, and no such process uses the environment"
    return f"{place}; it is taken, and every process that uses the environment sleeps in it too: its owner is gone"


def lost_wakeup(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """A lock that nobody holds, and somebody who sleeps on it all the same."""
    sleepers = [one for one in facts.futexes if one.confirmed and one.free]
    if sleepers:
        proof = [
            f"{_label(facts, one.pid)} sleeps on the {one.kind} at byte {one.offset} of {one.file}; it is free, "
            + ("and its word has changed since" if one.stale else "and nobody has woken it")
            for one in sleepers
        ]
        stale = all(one.stale for one in sleepers)
        yield _of_sleepers(facts, "bdb-lost-wakeup", sleepers, proof, stale=stale)


def stopped_reader(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Somebody waits for a lock of the environment, and a user of it is stopped or cannot write its output."""
    sleepers = [one for one in facts.futexes if one.confirmed and not one.free and not _is_orphan(facts, one)]
    waiting = {one.pid for one in sleepers} | {lock.pid for lock in _gate_locks(facts) if lock.waits}
    users = [facts.processes[one.pid] for one in facts.regions if one.pid in facts.processes]
    still = [one for one in users if one.pid not in waiting and _why_still(facts, one)]
    if not sleepers or not still:
        return
    everybody = {one.pid for one in users} <= waiting | {one.pid for one in still}
    proof = [f"{label_of(one)} has the environment mapped; {_why_still(facts, one)}" for one in still]
    proof += [
        f"{_label(facts, one.pid)} sleeps on the {one.kind} at byte {one.offset} of {one.file}" for one in sleepers
    ]
    data = {
        "stopped": _pids(facts, [one.pid for one in still if one.state in STOPPED]),
        "blocked": _pids(facts, [one.pid for one in still if one.state not in STOPPED]),
    }
    pids = (*(one.pid for one in still), *(one.pid for one in sleepers), *_queue(facts, sleepers))
    yield Finding(
        "bdb-stopped-reader", PROVEN if everybody else LIKELY, tuple(proof), tuple(dict.fromkeys(pids)),
        since=_since(facts, [one.pid for one in sleepers]), data=data,
    )  # fmt: skip


def _why_still(facts: Facts, process: Process) -> str:
    """Say why a process does not go on by itself; empty where it may."""
    if process.state in STOPPED:
        return f"it is stopped (/proc/{process.pid}/stat: state {process.state})"
    pipes = {one.pid for one in facts.pipes if not one.reading}
    writes = "pipe_write" in process.channel or process.pid in pipes
    slept = process.asleep is None or process.asleep >= STILL_SECONDS
    if writes and slept and process.pid not in facts.moving:
        return "it writes to a pipe that nobody empties"
    return ""


def queue(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Waiters at the gate of the environment, and a holder that does not go on."""
    locks = _gate_locks(facts)
    waiters = [lock.pid for lock in locks if lock.waits]
    holders = [lock.pid for lock in locks if not lock.waits and lock.pid in facts.processes]
    if not waiters or not holders:
        return
    holder = facts.processes[holders[0]]
    stopped = holder.state in STOPPED
    if not stopped and (holder.pid in facts.moving or max(_ages(facts, waiters)) < QUEUE_SECONDS):
        return
    does = f"is stopped (state {holder.state})" if stopped else f"sleeps in {holder.channel or 'the kernel'}"
    path = os.path.join(facts.database.path, GATE)
    proof = (
        f"/proc/locks: {label_of(holder)} holds {path} and {does}",
        f"/proc/locks: {len(waiters)} waiting for it: {', '.join(str(pid) for pid in waiters[:8])}",
    )
    data = {"stopped": _pids(facts, [holder.pid] if stopped else []), "holder": label_of(holder)}
    sure = PROVEN if stopped else WAITS
    pids = tuple(dict.fromkeys((holder.pid, *waiters)))
    yield Finding("bdb-queue", sure, proof, pids, (path,), since=max(_ages(facts, waiters)), data=data)


def region_removed(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Users of regions that have no name any more."""
    users = [one for one in facts.regions if _removed(one) and one.pid in facts.processes]
    if users:
        files = sorted({path[: -len(DELETED)] for one in users for path in _removed(one)})
        proof = tuple(
            f"/proc/{one.pid}/maps: {label_of(facts.processes[one.pid])} uses {_removed(one)[0]}" for one in users
        )
        pids = [one.pid for one in users]
        since = _since(facts, pids)
        yield Finding(
            "bdb-region-removed",
            PROVEN,
            proof,
            tuple(pids),
            tuple(files),
            since=since,
            data={"end": _pids(facts, pids)},
        )


def _removed(one: Region) -> list[str]:
    return [path for path in one.files if path.endswith(DELETED)]


def library_replaced(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """Users of the environment that run with a C library that is not on the disk any more."""
    old = [one for one in facts.regions if DELETED in one.libc and one.pid in facts.processes]
    if not old:
        return
    other = sorted({one.libc for one in facts.regions} - {one.libc for one in old})
    proof = [f"/proc/{one.pid}/maps: {label_of(facts.processes[one.pid])} runs with {one.libc}" for one in old]
    proof += [f"other users of the same environment run with {libc}" for libc in other]
    pids = [one.pid for one in old]
    alone = {one.pid for one in facts.regions} <= set(pids)
    yield Finding(
        "bdb-glibc-replaced", PROVEN if other else LIKELY, tuple(proof), tuple(pids), since=_since(facts, pids),
        data={"end": _pids(facts, pids), "alone": alone},
    )  # fmt: skip


def _of_sleepers(
    facts: Facts, name: str, sleepers: list[Futex], proof: Iterable[str], **more: Any
) -> Finding:  # fmt: skip
    """A finding about sleepers: who queues behind them is named too, and ended if he is in the environment already."""
    pids = list(dict.fromkeys(one.pid for one in sleepers))
    behind = [pid for pid in _queue(facts, sleepers) if pid not in pids]
    inside = {one.pid for one in facts.regions}
    queued = [f"/proc/locks: {_label(facts, pid)} waits for {GATE}, which one of them holds" for pid in behind]
    others = sorted(inside - set(pids) - set(behind))
    data = {"end": _pids(facts, pids + [pid for pid in behind if pid in inside]), "others": others, **more}
    files = tuple(sorted({one.file for one in sleepers}))
    return Finding(
        name, PROVEN, (*proof, *queued), (*pids, *behind), files, since=_since(facts, pids), data=data
    )  # fmt: skip


def _queue(facts: Facts, sleepers: Iterable[Futex]) -> list[int]:
    """Return who waits at the gate that one of the sleepers holds."""
    asleep = {one.pid for one in sleepers}
    locks = _gate_locks(facts)
    held = any(lock.pid in asleep for lock in locks if not lock.waits)
    return sorted({lock.pid for lock in locks if lock.waits}) if held else []


def _gate_locks(facts: Facts) -> list[FileLock]:
    path = os.path.join(facts.database.path, GATE)
    return [lock for lock in facts.locks if lock.path == path and lock.pid in facts.processes]


def _pids(facts: Facts, pids: Iterable[int]) -> dict[str, list[int]]:
    known = [pid for pid in pids if pid in facts.processes]
    return {"pids": known, "started": [facts.processes[pid].started for pid in known]}


def _label(facts: Facts, pid: int) -> str:
    return label_of(facts.processes[pid]) if pid in facts.processes else f"pid {pid}"


def _ages(facts: Facts, pids: Iterable[int]) -> list[float]:
    known = [facts.processes[pid] for pid in pids if pid in facts.processes]
    return [one.age if one.asleep is None else min(one.asleep, one.age) for one in known] or [0.0]


def _since(facts: Facts, pids: Iterable[int]) -> float:
    return max(_ages(facts, pids))


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (
    dead_owner, lost_wakeup, stopped_reader, queue, region_removed, library_replaced, *find_bdb_trial.DETECTORS
)  # fmt: skip

_WEDGE = frozenset({"bdb-queue", "transaction-waits"})
# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {
    "bdb-dead-reader": _WEDGE,
    "bdb-dead-owner": _WEDGE,
    "bdb-lost-wakeup": _WEDGE,
    "bdb-stopped-reader": _WEDGE,
    "bdb-glibc-replaced": frozenset({"bdb-lost-wakeup"}) | _WEDGE,
    "bdb-region-removed": frozenset({"bdb-dead-owner", "bdb-lost-wakeup", "bdb-stopped-reader"}) | _WEDGE,
}

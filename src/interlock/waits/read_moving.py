"""Says which transactions make progress: processor time, bytes, children that come and go.

Two samples of the holder of rpm's transaction lock, of the jobs that its scriptlets wait for, and of the descendants of
all these, a moment apart. Who only polls a pid file uses a little of everything, and does not get on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from interlock.system.proc import read_text
from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place

APART = 0.3
# Where the two samples are alike: some work comes in spells.
SAMPLES = 3
_CPU = slice(11, 15)
_STARTED, _PARENT = 19, 1
Sample = Mapping[int, tuple[str, ...]]


def read_moving(place: Place, facts: Facts) -> frozenset[int]:
    """Return the processes that moved between two samples, themselves or through a descendant."""
    holders = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits}
    holders &= set(facts.processes)
    if not holders or not place.live:
        return frozenset()
    roots = holders | {pid for job in facts.jobs for pid in job.pids}
    idle = {pid for one in facts.pid_files for pid in one.waiters}
    first = _sample(place, roots, idle)
    for _ in range(SAMPLES - 1):
        place.clock.sleep(APART)
        moved = _moved(first, _sample(place, roots, idle), roots)
        if moved:
            return moved
    return frozenset()


def _sample(place: Place, roots: set[int], idle: set[int]) -> dict[int, tuple[str, ...]]:
    """Return what each process of the transactions has used: its parent, start, processor time, bytes."""
    rows = {pid: _row(place, pid) for pid in place.proc.pids()}
    below: dict[int, list[int]] = {}
    for pid, row in rows.items():
        if row:
            below.setdefault(int(row[0]), []).append(pid)
    found: dict[int, tuple[str, ...]] = {}
    todo = [pid for pid in roots if rows.get(pid)]
    while todo:
        pid = todo.pop()
        if pid not in found and pid not in idle:
            found[pid] = (*rows[pid], read_text(f"{place.proc.folder}/{pid}/io", 4096))
            todo += below.get(pid, [])
    return found


def _row(place: Place, pid: int) -> tuple[str, ...]:
    fields = read_text(f"{place.proc.folder}/{pid}/stat", 4096).rpartition(")")[2].split()
    return (fields[_PARENT], fields[_STARTED], *fields[_CPU]) if len(fields) > _STARTED else ()


def _moved(before: Sample, after: Sample, roots: set[int]) -> frozenset[int]:
    """Return who changed, and whose ancestors they are."""
    changed = [pid for pid in {*before, *after} if before.get(pid) != after.get(pid)]
    found: set[int] = set()
    for start in changed:
        pid = start
        while pid not in found and (pid in before or pid in after):
            found.add(pid)
            if pid in roots:
                break
            pid = int((after.get(pid) or before[pid])[0])
    return frozenset(found)

"""Finds the catalogue's cases: transactions, scriptlets, package managers, and what they wait for.

Deadlocks are cycles of the wait graph, and only those. Everything else is a wait with an age: a young one is nothing
to speak of, for package tools queue behind each other every day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Callable, Optional

from interlock.waits.edges import label_of
from interlock.waits.facts import Facts, FileLock, Job, PidFile, Process
from interlock.waits.find_cycles import below, find_nested, find_own_stop
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import WaitGraph
from interlock.waits.read_pid_files import DNF, TOLERANCE, is_manager

# Whoever waits for less than this is not spoken of.
QUEUE_SECONDS = 3.0
# A job of systemd is of interest once nothing of what it waits for has run for as long as this.
JOB_SECONDS = 10.0
IDLE_JOB_SECONDS = 60.0


def label(facts: Facts, pid: int) -> str:
    """Return how a process is shown to people."""
    return label_of(facts.processes[pid]) if pid in facts.processes else f"pid {pid}"


def quiet(process: Optional[Process]) -> float:
    """Return for how long a process may not have run. It has for no longer: with stolen time the kernel says more."""
    if process is None:
        return 0.0
    return process.age if process.asleep is None else min(process.asleep, process.age)


def _holders(facts: Facts) -> list[FileLock]:
    return [lock for lock in facts.locks if lock.path == facts.database.lock and not lock.waits and lock.write]


def _waiters(facts: Facts, graph: WaitGraph) -> Iterator[int]:
    """Yield who waits for the transaction lock, for a while, with a holder that may give it back."""
    for lock in facts.locks:
        process = facts.processes.get(lock.pid)
        stuck = f"process:{lock.pid}" in graph.hopeless
        if lock.path == facts.database.lock and lock.waits and not stuck and quiet(process) >= QUEUE_SECONDS:
            yield lock.pid


def ancestors(facts: Facts, pid: int) -> list[int]:
    """Return the ancestors of a process, the nearest first."""
    found: list[int] = []
    process = facts.processes.get(pid)
    while process is not None and process.parent > 0 and process.parent not in (pid, *found):
        found.append(process.parent)
        process = facts.processes.get(process.parent)
    return found


def _dnf_of(facts: Facts, pid: int) -> int:
    """Return the package manager that a process is, or works for; 0 for a plain rpm."""
    for one in (pid, *ancestors(facts, pid)):
        process = facts.processes.get(one)
        if process is not None and is_manager(process.command) and not process.name.startswith(("sh", "bash", "dash")):
            return one
    return 0


def find_queue(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """12, 34: a transaction waits for another one; a plain rpm and a package manager meet."""
    waiters = tuple(_waiters(facts, graph))
    for holder in _holders(facts):
        behind = [pid for pid in waiters if pid != holder.pid]
        mixed = [pid for pid in behind if bool(_dnf_of(facts, pid)) != bool(_dnf_of(facts, holder.pid))]
        if behind:
            name = "rpm-beside-dnf" if mixed else "transaction-waits"
            yield _queue(facts, name, holder.pid, [*mixed, *(pid for pid in behind if pid not in mixed)])


def _queue(facts: Facts, name: str, holder: int, behind: list[int]) -> Finding:
    proof = [f"/proc/locks: {label(facts, holder)} holds the lock on {facts.database.lock}"]
    proof += [f"/proc/locks: {label(facts, pid)} waits for it" for pid in behind]
    proof += [_progress(facts, holder)]
    files = [facts.database.lock]
    for one in facts.pid_files:
        if name == "rpm-beside-dnf" and one.holder_matches and one.pid in (holder, *behind):
            proof.append(f"{one.path} names {label(facts, one.pid or 0)}: it is at work on the same database")
            files.append(one.path)
    since = max(quiet(facts.processes.get(pid)) for pid in behind)
    data = {"holder": holder, "waiters": behind}
    return Finding(name, WAITS, tuple(proof), (*behind, holder), tuple(files), (), since, data)


def _progress(facts: Facts, pid: int) -> str:
    scriptlets = [one.pid for one in facts.scriptlets if one.transaction == pid]
    what = f" in a scriptlet, {label(facts, scriptlets[0])}" if scriptlets else ""
    if pid in facts.moving:
        return f"{label(facts, pid)} makes progress{what}"
    return f"{label(facts, pid)} was not seen to make progress within a moment{what}; it may go on by itself"


def find_jobs(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """17: systemctl in a scriptlet waits for a job of which nothing moves."""
    for job in facts.jobs:
        proven = f"job:{job.number}" in graph.hopeless
        stop = set(job.pids) & _transactions_above(facts, job)
        if stop or not (proven or _stalled(facts, job)):
            continue
        yield _job(facts, job, proven)


def _job(facts: Facts, job: Job, proven: bool) -> Finding:
    proof = [f"{label(facts, pid)}, in a scriptlet, waits for job {job.number} of systemd" for pid in job.clients]
    proof.append(f"systemctl list-jobs: {job.number} {job.unit} {job.kind} {job.state}")
    for pid in job.pids:
        seconds = quiet(facts.processes.get(pid))
        proof.append(f"the job waits for {label(facts, pid)}, which has not run for {seconds:.0f} s")
    above = sorted(_transactions_above(facts, job))
    proof += [f"{label(facts, pid)} waits for that scriptlet" for pid in above]
    since = max((quiet(facts.processes.get(pid)) for pid in job.clients), default=0.0)
    data = {"number": job.number, "unit": job.unit, "transactions": above}
    pids = (*job.clients, *job.pids, *above)
    return Finding(
        "scriptlet-waits-for-job", PROVEN if proven else WAITS, tuple(proof), pids, since=since, data=data
    )  # fmt: skip


def _transactions_above(facts: Facts, job: Job) -> set[int]:
    """Return the transactions whose scriptlets ask for a job."""
    above = {one for pid in job.clients for one in ancestors(facts, pid)}
    return above & ({lock.pid for lock in _holders(facts)} | {one.transaction for one in facts.scriptlets})


def _stalled(facts: Facts, job: Job) -> bool:
    """Say whether nothing of a job moves, and the client has waited for it for a while."""
    waits = max((quiet(facts.processes.get(pid)) for pid in job.clients), default=0.0)
    if not job.pids:
        return waits >= IDLE_JOB_SECONDS
    old = min(waits, *(quiet(facts.processes.get(pid)) for pid in job.pids)) >= JOB_SECONDS
    return old and not facts.moving & set(job.pids)


def find_pid_files(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """25: a lock file that names a process of another program, or nothing at all."""
    for one in facts.pid_files:
        if one.pid is None and one.content.strip("\0") and one.path in DNF:
            proof = (f"{one.path} has {one.content.strip()[:40]!r} in it, which is no number: dnf refuses to run",)
            yield Finding("stale-pid-file", PROVEN, proof, (), (one.path,), (), one.age, {"content": one.content})
        elif one.pid is not None and one.alive and not one.holder_matches:
            yield _reused(facts, one)


def _reused(facts: Facts, one: PidFile) -> Finding:
    pid = one.pid or 0
    process = facts.processes.get(pid)
    later = process is not None and process.age < one.age - TOLERANCE
    proof = [f"{one.path} has the pid {pid}, which is {label(facts, pid)}: no program that takes this lock"]
    if process is not None and later:
        proof.append(f"that process was started {one.age - process.age:.0f} s after the file was written")
    proof += [
        f"{label(facts, waiter)} sleeps, looks whether pid {pid} is there, and sleeps again" for waiter in one.waiters
    ]
    data = {"content": one.content, "waiters": list(one.waiters)}
    sure = PROVEN if later else LIKELY
    return Finding("stale-pid-file", sure, tuple(proof), (pid, *one.waiters), (one.path,), (), one.age, data)


def find_lost(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """28: the terminal of a transaction is gone."""
    for one in facts.lost:
        if f"process:{one.pid}" in graph.hopeless:
            continue
        proof = (
            f"/proc/{one.pid}/fd/{one.descriptor}: {label(facts, one.pid)} was started on {one.output}",
            _progress(facts, one.pid),
        )
        family = [one.pid, *below(facts, one.pid)]
        since = min(quiet(facts.processes.get(pid)) for pid in family)
        yield Finding("front-end-lost", WAITS, proof, (one.pid,), since=since)


def find_held_output(facts: Facts, graph: WaitGraph) -> Iterator[Finding]:
    """33: somebody reads a pipe that only a process holds which a scriptlet left behind."""
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    for pipe in facts.pipes:
        if not pipe.reading or not pipe.left or quiet(facts.processes.get(pipe.pid)) < QUEUE_SECONDS:
            continue
        if set(pipe.others) <= {one for pid in pipe.left for one in (pid, *below(facts, pid))}:
            found[pipe.inode] = (pipe.pid, pipe.others)
    for inode, (reader, left) in found.items():
        proof = (
            f"/proc/{reader}/syscall: {label(facts, reader)} reads from pipe:[{inode}]",
            *(f"/proc/{pid}/fd: {label(facts, pid)} holds its other end, left behind by a scriptlet" for pid in left),
            "no transaction has it open any more",
        )
        since = quiet(facts.processes.get(reader))
        yield Finding("output-held", PROVEN, proof, (*left, reader), since=since, data={"left": list(left)})


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (
    find_queue, find_nested, find_own_stop, find_jobs, find_pid_files, find_lost, find_held_output,
)  # fmt: skip

# A case, and those that are only its consequences. Who queues behind a transaction that cannot end waits for the same.
_QUEUES = frozenset({"transaction-waits", "rpm-beside-dnf"})
BRINGS: Mapping[str, frozenset[str]] = {
    "nested-rpm-deadlock": _QUEUES,
    "nested-dnf-deadlock": _QUEUES,
    "transaction-stops-itself": _QUEUES,
    "scriptlet-waits-for-job": _QUEUES,
    "front-end-lost": _QUEUES,
}

"""From findings to cures. Pure: what is planned here is shown to people, and is what is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from interlock.waits import cure_bdb, cure_locks, cure_sqlite, cure_state, cure_system
from interlock.waits.catalogue import catalogue
from interlock.waits.cure import Cure, Step
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding

CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {
    **cure_bdb.CURES, **cure_sqlite.CURES, **cure_locks.CURES, **cure_state.CURES, **cure_system.CURES
}  # fmt: skip


def plan_cure(finding: Finding, facts: Facts) -> Cure:
    """Return the cure of a finding; where none is known, what a person has to decide."""
    planner = CURES.get(finding.id)
    cure = planner(finding, facts) if planner else Cure(finding.id, decide=catalogue()[finding.id].cure)
    refusal = _refusal(cure, facts)
    return Cure(finding.id, decide=refusal) if refusal else cure


def _refusal(cure: Cure, facts: Facts) -> str:
    """Say why a cure must not be tried: never against a transaction that makes progress."""
    holders = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits}
    busy = sorted(holders & facts.moving)
    touched = {int(pid) for step in cure.steps for pid in _pids(step)}
    hit = sorted(touched & facts.moving & (holders | {one.pid for one in facts.scriptlets}))
    if busy and any(step.writes for step in cure.steps):
        return f"a transaction makes progress (pid {busy[0]}); wait until it has ended, and look again"
    if hit:
        return f"pid {hit[0]} belongs to a transaction that makes progress; wait, and look again"
    return ""


def _pids(step: Step) -> list[int]:
    return [int(pid) for pid in step.data.get("pids", ())]

"""The diagnosis: from facts and wait graph to entries of the catalogue. Pure.

Each detector knows a family of cases. Where one case brings another with it (a dead lock's waiters queue behind
``.dbenv.lock``), only the cause is named: ``BRINGS`` says which.
"""

from __future__ import annotations

from collections.abc import Mapping

from interlock.waits import find_bdb, find_locks, find_sqlite, find_state, find_system
from interlock.waits.catalogue import catalogue
from interlock.waits.facts import Facts
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.graph import WaitGraph

DETECTORS = (
    *find_bdb.DETECTORS, *find_sqlite.DETECTORS, *find_locks.DETECTORS, *find_state.DETECTORS, *find_system.DETECTORS
)  # fmt: skip

# A case, and those that are only its consequences wherever it is found.
BRINGS: Mapping[str, frozenset[str]] = {
    **find_bdb.BRINGS, **find_sqlite.BRINGS, **find_locks.BRINGS, **find_state.BRINGS, **find_system.BRINGS
}  # fmt: skip


def diagnose(facts: Facts, graph: WaitGraph) -> tuple[Finding, ...]:
    """Return what is wrong, proven cases first, then in the catalogue's order."""
    found = [finding for detect in DETECTORS for finding in detect(facts, graph)]
    brought = {one for finding in found for one in BRINGS.get(finding.id, frozenset())}
    kept = [finding for finding in found if finding.id not in brought]
    numbers = {case.id: case.number for case in catalogue().values()}
    return tuple(sorted(kept, key=lambda one: (one.sure != PROVEN, numbers[one.id])))

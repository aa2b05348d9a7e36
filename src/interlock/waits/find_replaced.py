"""Finds the catalogue's case 23: a database, or its lock file, that was replaced under those who use it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from interlock.waits.conditions import Stray
from interlock.waits.facts import Facts
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.graph import WaitGraph
from interlock.waits.naming import is_stopped, label, missing_packages, package_files


def find_replaced(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """23: processes that go on with a database, or with a lock, that is not in place any more."""
    strays = [one for one in facts.strays if not one.lock or one.held or is_stopped(facts, one.pid)]
    if not strays:
        return
    pids = tuple(dict.fromkeys(one.pid for one in strays))
    missing = missing_packages(facts, package_files(facts, pids))
    proof = [
        f"/proc/{one.pid}/fd: {label(facts, one.pid)} {_does(one)} {one.path}, which is not the file in place"
        for one in strays
    ]
    proof += [f"{name} is meant to be installed by it, and is not in the database" for name in missing]
    paths = tuple(dict.fromkeys(one.path for one in strays))
    written = [one.pid for one in strays if not one.lock]
    yield Finding("database-replaced", PROVEN, tuple(proof), pids, paths, tuple(missing), data={"writes": written})


def _does(stray: Stray) -> str:
    return "holds or waits for the lock" if stray.lock else "writes to"


def find_lost_in_rebuild(facts: Facts, graph: WaitGraph) -> Iterable[Finding]:
    """23: a rebuild moved the database away, and another program made an empty one before the new one was there."""
    if facts.left:
        best = facts.left[0]
        proof = (
            f"{facts.database.path} has no packages at all",
            *(f"{one.path}, which a rebuild left beside it, has {len(one.packages)} packages" for one in facts.left),
        )
        files = (facts.database.path, *(one.path for one in facts.left))
        yield Finding("database-replaced", PROVEN, proof, (), files, data={"from": best.path})


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (find_replaced, find_lost_in_rebuild)

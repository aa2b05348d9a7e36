"""Finds the catalogue's cases: what is wrong with the content, without any process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Callable

from interlock.package import Nevra
from interlock.waits.conditions import State
from interlock.waits.facts import Facts, Process
from interlock.waits.finding import LIKELY, PROVEN, Finding
from interlock.waits.graph import WaitGraph

SCRIPTLET_FILE = "/rpm-tmp."
MOST_LINES = 8


def find_index(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """9: the index by name and the packages disagree."""
    state = _state(facts)
    if not (state.not_indexed or state.dangling):
        return
    place = facts.database.path
    proof = [
        f"a copy of {place}: {one} is among the packages, its name does not lead to it" for one in state.not_indexed
    ]
    proof += [f"a copy of {place}: the index by name has {one}, no such package is there" for one in state.dangling]
    yield Finding("bdb-index-disagrees", PROVEN, _some(proof), packages=state.not_indexed or state.dangling)


def find_damaged(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """22: the header of a package is damaged."""
    rows = _state(facts).damaged
    if rows:
        place = facts.database.path
        proof = _some(
            f"a copy of {place}: rpm skips record {number} ({name}): its digest is wrong" for number, name in rows
        )
        data = {"records": [[number, name] for number, name in rows]}
        yield Finding("header-damaged", PROVEN, proof, packages=tuple(name for _, name in rows), data=data)


def find_nested(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """13: a scriptlet installs packages by itself, and that came to nothing."""
    rows = _state(facts).nested
    if not rows:
        return
    proof = []
    for package, kind, command, other, path, verb in rows:
        wrong = f"{other} ({path}) is not in the database" if path else f"{other} is still there"
        condition = ", under a condition" if verb.endswith("condition") else ""
        proof.append(f"{kind} of {package} runs `{command}`{condition}; {wrong}")
    installs = [(other, path) for _, _, _, other, path, verb in rows if verb == "install"]
    names = tuple(dict.fromkeys(row[3] for row in rows)) + tuple(dict.fromkeys(row[0] for row in rows))
    files = tuple(dict.fromkeys(row[4] for row in rows if row[4]))
    data = {"install": [list(one) for one in dict.fromkeys(installs)]}
    yield Finding(
        "nested-rpm-lost", PROVEN if installs else LIKELY, _some(proof), files=files, packages=names, data=data
    )


def find_interrupted(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """26: a package is there in its old and its new version."""
    state = _state(facts)
    if not state.duplicates:
        return
    proof = [f"a copy of {facts.database.path}: {_pair(rows)} are both there" for rows in state.duplicates]
    proof += [f"{path} is not the file of {package}" for package, path in state.unlike]
    orphans = tuple(sorted(process.pid for process in facts.processes.values() if _orphaned(facts, process)))
    proof += [f"pid {pid} is a scriptlet whose rpm is gone: {facts.processes[pid].command}" for pid in orphans]
    packages = tuple(name for rows in state.duplicates for name in rows)
    data = {"pairs": [list(rows) for rows in state.duplicates], "unlike": [list(one) for one in state.unlike]}
    files = tuple(path for _, path in state.unlike)
    yield Finding("interrupted-transaction", PROVEN, _some(proof), orphans, files, packages, data=data)


def _pair(rows: tuple[str, ...]) -> str:
    return " and ".join(rows)


def _orphaned(facts: Facts, process: Process) -> bool:
    """Say whether a process runs a scriptlet of rpm's and its parent is not rpm any more."""
    parent = facts.processes.get(process.parent)
    lost = parent is None or parent.pid == 1 or parent.inner == 1
    return lost and SCRIPTLET_FILE in process.command


def find_empty(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """27: files of packages are empty on the disk."""
    rows = _state(facts).empty_files
    if rows:
        proof = _some(f"{path} is empty; {package} says that it has content" for package, path in rows)
        packages = tuple(dict.fromkeys(package for package, _ in rows))
        files = tuple(dict.fromkeys(path for _, path in rows))
        data = {"files": [list(row) for row in rows]}
        yield Finding("zero-byte-files", PROVEN, proof, files=files, packages=packages, data=data)


def find_partial(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """29: only a part of a transaction was installed."""
    state = _state(facts)
    if not (state.leftovers or state.unmet):
        return
    proof = [f"{path}: a transaction that began at {_began(path)} has not finished it" for path in state.leftovers]
    proof += [f"{package} came with the transaction {suffix}" for suffix, package in state.arrived]
    for package, requirement, instead in state.unmet:
        why = (
            f"{instead} came later, and not the version of {_name(package)} that goes with it"
            if instead
            else "nothing that is installed has it"
        )
        proof.append(f"a copy of {facts.database.path}: {package} requires {requirement}; {why}")
    proof += [f"the file system of {folder} is full" for folder in state.crowded]
    packages = dict.fromkeys([row[0] for row in state.unmet] + [row[2] for row in state.unmet if row[2]])
    packages.update(dict.fromkeys(package for _, package in state.arrived))
    data = {"leftovers": list(state.leftovers), "unmet": [list(row) for row in state.unmet]}
    sure = PROVEN if state.leftovers or state.crowded else LIKELY
    yield Finding("partial-transaction", sure, _some(proof), (), state.leftovers, tuple(packages), data=data)


def _name(nevra: str) -> str:
    return Nevra.parse(nevra).name


def _began(path: str) -> str:
    """Return the time in the name of an unfinished file, which is that of its transaction."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(path[-8:], 16)))


def _state(facts: Facts) -> State:
    return facts.state or State()


def _some(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the first lines, and how many more there are."""
    found = tuple(lines)
    more = len(found) - MOST_LINES
    return found if more <= 0 else (*found[:MOST_LINES], f"and {more} more of this kind")


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (
    find_index, find_damaged, find_nested, find_interrupted, find_empty, find_partial,
)  # fmt: skip

# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {
    # A package that rpm skips is missing for its index, and for those that require it.
    "header-damaged": frozenset({"bdb-index-disagrees", "partial-transaction"}),
    "interrupted-transaction": frozenset({"partial-transaction"}),
}

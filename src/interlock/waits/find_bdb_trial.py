"""Finds the cases of Berkeley DB that only its own library can tell: from what rpm said of a private copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Callable

from interlock.waits.edges import label_of
from interlock.waits.facts import Facts
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.graph import WaitGraph
from interlock.waits.read_trial import UNFINISHED

# What the library says, the most special first: a panic, a full table and a foreign version all end with RUNRECOVERY
# somewhere, and so does a dead reader.
SIGNS = (
    ("bdb-version-mismatch", ("DB_VERSION_MISMATCH", "BDB1538", "doesn't match environment version")),
    ("bdb-lockers-exhausted", ("Lock table is out of available", "BDB2034", "unable to allocate memory for mutex")),
    ("bdb-panic", ("PANIC", "BDB0060", "BDB0061")),
    ("bdb-dead-reader", ("Thread died in Berkeley DB library", "BDB1507", "DB_RUNRECOVERY")),
    # An environment whose maker died before it was ready: libdb tries again for some seconds and gives up.
    ("bdb-dead-reader", (UNFINISHED, "Resource temporarily unavailable")),
)


def tried(facts: Facts, _graph: WaitGraph) -> Iterator[Finding]:
    """What came of the trial: it failed in a way that the catalogue knows, or it hung."""
    state = facts.state
    if state is None or any(one.confirmed for one in facts.futexes):
        return
    if state.hung:
        yield _finding(facts, "bdb-dead-owner", "the host's own rpm hangs for ever on a private copy of the database")
        return
    for name, signs in SIGNS:
        if any(sign in state.trial for sign in signs):
            yield _finding(facts, name, f"the host's own rpm says of a private copy: {said(state.trial, signs)}")
            return


def said(text: str, signs: Iterable[str]) -> str:
    """Return the line that has one of some words, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if any(sign in line for sign in signs)), lines[0] if lines else "")


def _finding(facts: Facts, name: str, proof: str) -> Finding:
    names = [one.name for one in facts.database.files if one.name.startswith("__db.")]
    files = tuple(os.path.join(facts.database.path, one) for one in names)
    others = sorted({one.pid for one in facts.regions})
    still = f"{', '.join(names)} did not change while the copy was made"
    users = [f"{label_of(facts.processes[pid])} has the environment mapped" for pid in others if pid in facts.processes]
    end = {"pids": [], "started": [], "unfinished": facts.state is not None and facts.state.trial == UNFINISHED}
    data = {"end": end, "others": others}
    return Finding(name, PROVEN, (proof, still, *users), tuple(others), files, data=data)


DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = (tried,)

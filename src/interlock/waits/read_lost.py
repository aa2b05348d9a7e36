"""Finds transactions whose front end is gone: their terminal was closed, or nobody reads what they say any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.waits.conditions import Lost
from interlock.waits.facts import Facts
from interlock.waits.process_table import detailed
from interlock.waits.read_pid_files import is_manager

if TYPE_CHECKING:
    from interlock.waits.look import Place

TERMINALS = ("/dev/pts/", "/pts/")
GONE = " (deleted)"


def read_lost(place: Place, facts: Facts) -> tuple[Lost, ...]:
    """Return the transactions that have lost the terminal which they were started on, each once."""
    found = [next(_lost(place, pid), None) for pid in sorted(_transactions(facts))]
    return tuple(one for one in found if one is not None)


def _transactions(facts: Facts) -> set[int]:
    """Return who holds the transaction lock, and the programs of package managers above it."""
    known = detailed(facts.processes)
    found = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits and lock.write}
    found &= set(known)
    for pid in list(found):
        above = known.get(known[pid].parent)
        if above is not None and is_manager(above.command):
            found.add(above.pid)
    return found


def _lost(place: Place, pid: int) -> Iterator[Lost]:
    for descriptor in (0, 1, 2):
        try:
            target = os.readlink(f"{place.proc.folder}/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith(TERMINALS) and target.endswith(GONE):
            yield Lost(pid, descriptor, target)

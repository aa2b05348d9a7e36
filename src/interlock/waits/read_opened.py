"""Finds the processes that have files of the package database open or mapped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.waits.facts import Facts, Opened
from interlock.waits.process_table import detailed
from interlock.waits.read_locks import DELETED, prefixes
from interlock.waits.read_processes import shares_root

if TYPE_CHECKING:
    from interlock.waits.look import Place


def read_opened(place: Place, facts: Facts) -> tuple[Opened, ...]:
    """Return who has a file of the database open or mapped, among the processes that were looked at closely."""
    begins = prefixes(place, facts)
    pids = sorted(detailed(facts.processes))
    return tuple(dict.fromkeys(one for pid in pids for one in _opened(place, pid, begins)))


def _opened(place: Place, pid: int, begins: tuple[str, ...]) -> Iterator[Opened]:
    targets = [target for _, target in place.proc.open_files(pid)] + place.proc.mapped_files(pid)
    found = [target for target in targets if target.startswith(begins)]
    if found and shares_root(place, pid):
        for target in found:
            yield _without_mark(pid, target)


def _without_mark(pid: int, target: str) -> Opened:
    deleted = target.endswith(DELETED)
    return Opened(pid, target[: -len(DELETED)] if deleted else target, deleted)

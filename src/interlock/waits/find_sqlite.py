"""Finds the catalogue's cases: SQLite, its files, and who uses them beside rpm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable

from interlock.waits.facts import Facts
from interlock.waits.finding import Finding
from interlock.waits.graph import WaitGraph

DETECTORS: tuple[Callable[[Facts, WaitGraph], Iterable[Finding]], ...] = ()

# A case, and those that are only its consequences.
BRINGS: Mapping[str, frozenset[str]] = {}

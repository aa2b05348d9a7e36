"""Plans the cures of the catalogue's cases: the rest of the host, as far as packages depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from interlock.waits.cure import Cure
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding

CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {}

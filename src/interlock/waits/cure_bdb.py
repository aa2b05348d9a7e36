"""Plans the cures of the catalogue's cases: Berkeley DB environments and their users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from interlock.waits.cure import Cure
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding

CURES: Mapping[str, Callable[[Finding, Facts], Cure]] = {}

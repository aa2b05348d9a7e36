"""Says which transactions make progress: processor time, bytes, children that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place


def read_moving(place: Place, facts: Facts) -> frozenset[int]:
    """Return the processes that moved between two samples, themselves or through a descendant."""
    return frozenset()

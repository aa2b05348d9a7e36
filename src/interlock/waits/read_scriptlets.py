"""Finds the processes that run scriptlets of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.waits.facts import Facts, Scriptlet

if TYPE_CHECKING:
    from interlock.waits.look import Place


def read_scriptlets(place: Place, facts: Facts) -> tuple[Scriptlet, ...]:
    """Return the scriptlets that run below the transactions."""
    return ()

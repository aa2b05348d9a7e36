"""Finds the processes that have files of the package database open or mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.waits.facts import Facts, Opened

if TYPE_CHECKING:
    from interlock.waits.look import Place


def read_opened(place: Place, facts: Facts) -> tuple[Opened, ...]:
    """Return who has a file of the database open."""
    return ()

"""Says whether the SQLite database keeps a write-ahead log: only then do the two files beside it matter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place

# The file format's read and write version: 2 means a write-ahead log (fileformat2, section 1.3).
VERSIONS, WITH_LOG = slice(18, 20), b"\2\2"


def read_write_ahead(place: Place, facts: Facts) -> bool:
    """Return whether the database's head says so. Opened without the library, which would make the files anew."""
    if facts.database.backend != "sqlite":
        return False
    try:
        with open(os.path.join(place.path(facts.database.path), "rpmdb.sqlite"), "rb") as stream:
            return stream.read(32)[VERSIONS] == WITH_LOG
    except OSError:
        return False

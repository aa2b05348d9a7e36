"""The catalogue: how package databases break. The texts are data; the code that finds and cures each is beside it."""

from __future__ import annotations

import json
import pkgutil
from functools import lru_cache
from typing import NamedTuple


class Case(NamedTuple):
    """One way in which a package database, or who waits for it, is in trouble.

    ``means`` is for people who have never heard of it; ``made`` is ``real`` where the lab makes the real thing,
    ``made`` where only a captured or made tree exists, and ``needs`` says on what, or why not.
    """

    id: str
    number: int
    backends: tuple[str, ...]
    title: str
    means: str
    cure: str
    made: str
    needs: str


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Case]:
    """Return all cases by their id, in the catalogue's order."""
    # Read through the loader: in the zipapp there is no such file on the disk.
    content = pkgutil.get_data("interlock.waits", "data/catalogue.json") or b""
    rows = json.loads(content)["cases"]
    return {row["id"]: Case(**{**row, "backends": tuple(row["backends"])}) for row in rows}

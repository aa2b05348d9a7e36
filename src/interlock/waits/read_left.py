"""Finds the databases that ``rpm --rebuilddb`` left beside one that is empty.

A rebuild renames the directory away, and then the new one to its name. A program that opens the database between the
two makes an empty one there, which is in the way of the second rename: the host then has no packages.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.system import durable
from interlock.waits.conditions import LeftDatabase
from interlock.waits.facts import Facts
from interlock.waits.private_copy import copy_content
from interlock.waits.read_state import installed

if TYPE_CHECKING:
    from interlock.waits.look import Place

AT_WORK = re.compile(r"--rebuilddb")


def read_left(place: Place, facts: Facts) -> tuple[LeftDatabase, ...]:
    """Return what a rebuild left, the one with most packages first; nothing while the database has any package."""
    state = facts.state
    if not place.ours or state is None or state.packages or not facts.database.backend:
        return ()
    if any(AT_WORK.search(one.command) for one in facts.processes.values()):
        return ()
    found = (LeftDatabase(path, _packages(place, path)) for path in _folders(facts.database.path))
    return tuple(sorted((one for one in found if one.packages), key=lambda one: (-len(one.packages), one.path)))


def _folders(database: str) -> Iterator[str]:
    parent, name = os.path.split(database)
    with contextlib.suppress(OSError):
        for entry in sorted(os.listdir(parent)):
            if re.fullmatch(re.escape(name) + r"(old|rebuilddb)\.\d+", entry):
                yield os.path.join(parent, entry)


def _packages(place: Place, path: str) -> tuple[str, ...]:
    copy = f"{place.scratch}-left"
    try:
        os.makedirs(copy, mode=0o700)
        return installed(copy, place.runner) or () if copy_content(path, copy) else ()
    except OSError:
        return ()
    finally:
        durable.remove_trees([copy])

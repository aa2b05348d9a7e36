"""Finds what a private copy of the database says of its packages, and what of that is not so on the disk.

All of it is read in one forked process, which has rpm's library to itself, by one pass over the headers. What a
transaction that is at work leaves for moments (two versions, temporary files) is only reported when none was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

from interlock.errors import InterlockError
from interlock.rpmdb.backend import is_volatile
from interlock.rpmdb.reader import load_bindings
from interlock.system.child import call_in_child
from interlock.waits import content_disk, content_needs, content_nested, content_pass
from interlock.waits.conditions import State
from interlock.waits.content_pass import Records, Row
from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place

LIMIT = 120.0
SHARED_MEMORY = "rpmdb.sqlite-shm"
# Several versions of these stand beside one another.
FLAVOURS = "rt|debug|64k|PAE|uek|xen|default|preempt|azure|lt|ml|plus"
PARTS = "core|modules|modules-core|modules-extra|modules-internal|devel|source"
BESIDE = re.compile(rf"kernel(-({FLAVOURS}))*(-({PARTS}))?$")
BESIDE_PROVIDES = ("installonlypkg(", "multiversion(")
FIELDS = ("damaged", "not_indexed", "dangling", "nested")
AT_REST = ("duplicates", "unlike", "empty_files", "leftovers", "arrived", "unmet", "crowded")


def read_content(place: Place, facts: Facts, copy: str, state: State) -> State:
    """Return ``state`` with what the packages in ``copy`` were found to be."""
    if not state.readable or state.integrity or not place.ours:
        return state
    try:
        found = call_in_child("reading the copy of the database", lambda: _read(copy, facts.at), LIMIT)
    except InterlockError:
        return state
    settled = is_settled(place, facts)
    fields = (*FIELDS, *AT_REST) if settled else FIELDS
    seen: dict[str, Any] = {name: _frozen(found[name]) for name in fields}
    return state._replace(settled=settled, **seen)


def _frozen(rows: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(tuple(row) if isinstance(row, list) else row for row in rows)


def is_settled(place: Place, facts: Facts) -> bool:
    """Say whether no transaction was at work since the look began: nobody had the lock, and nothing was written."""
    if any(lock.path == facts.database.lock and not lock.waits for lock in facts.locks):
        return False
    for one in facts.database.files:
        try:
            found = os.lstat(place.path(os.path.join(facts.database.path, one.name)))
        except OSError:
            return False
        content = not is_volatile(one.name) and one.name != SHARED_MEMORY
        if content and (found.st_ino, found.st_size, found.st_mtime) != (one.inode, one.size, one.modified):
            return False
    return not _lock_is_held(place, facts)


def _lock_is_held(place: Place, facts: Facts) -> bool:
    try:
        inode = os.stat(place.path(facts.database.lock)).st_ino
    except OSError:
        return False
    return any(lock.inode == inode and not lock.waits for lock in place.proc.locks())


def _read(copy: str, at: float) -> dict[str, Any]:
    """Return all that is found, as JSON; runs in the child."""
    transaction = content_pass.open_copy(load_bindings(), copy)
    records = content_pass.read_records(transaction)
    doubled = duplicates(records.rows)
    return {
        "damaged": content_pass.damaged(transaction, records),
        "not_indexed": content_pass.not_indexed(records) if records.by_name else [],
        "dangling": content_pass.dangling(records),
        "nested": list(content_nested.nested(records.rows)),
        "duplicates": [[str(row.nevra) for row in rows] for rows in doubled],
        "unlike": [[str(rows[0].nevra), path] for rows in doubled for path in content_disk.unlike(rows[0])],
        "empty_files": content_disk.empty_files(records.rows),
        **_unfinished(records, at),
    }


def _unfinished(records: Records, at: float) -> dict[str, Any]:
    leftovers = content_disk.leftovers(records.rows, at)
    suffixes = {path[-8:] for path in leftovers}
    unmet = content_needs.unmet(records.rows)
    folders = [os.path.dirname(path) for path in leftovers]
    folders += [folder for one in unmet for folder in content_disk.folders_of(one.row)]
    return {
        "leftovers": leftovers,
        "arrived": [[f"{row.tid:08x}", str(row.nevra)] for row in records.rows if f"{row.tid:08x}" in suffixes],
        "unmet": [[str(one.row.nevra), one.requirement, one.instead] for one in unmet],
        "crowded": content_disk.crowded(folders),
    }


def duplicates(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the packages that are there in several versions although they share files, the last to come first."""
    named: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        named.setdefault((row.nevra.name, row.nevra.arch), []).append(row)
    several = [some for some in named.values() if len(some) > 1 and not any(map(_stands_beside, some))]
    return [sorted(some, key=cmp_to_key(_later_first)) for some in several if _share(some)]


def _stands_beside(row: Row) -> bool:
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in row.tag("providename")]
    return BESIDE.match(row.nevra.name) is not None or any(name.startswith(BESIDE_PROVIDES) for name in names)


def _share(rows: list[Row]) -> bool:
    """Say whether versions are in each other's way; two that have no file in common may be meant to be there."""
    files = [frozenset(content_disk.paths_of(row)) for row in rows]
    return not all(files) or any(files[0] & other for other in files[1:])


def _later_first(one: Row, other: Row) -> int:
    if one.tid != other.tid:
        return other.tid - one.tid
    return other.nevra.evr.compare(one.nevra.evr)

"""Requirements that a transaction broke when only a part of it was installed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from interlock.package import Evr, Relation
from interlock.waits.content_pass import Row

LESS, GREATER, EQUAL = 2, 4, 8
# Needed only for a while (at installation, or by a scriptlet that has long run), or met by rpm itself.
RPMLIB, CONFIG = 1 << 24, 1 << 28


class Unmet(NamedTuple):
    """A requirement of ``row`` that nothing meets; ``instead`` has the name in another version, or is None."""

    row: Row
    requirement: str
    instead: str


def unmet(rows: Sequence[Row]) -> list[Unmet]:
    """Return the requirements that a transaction left unmet; rpm allows that of no whole one.

    Either another version of what is required came later than who requires it; or nobody has it, and who requires
    it came with the last transaction of all. What is missing since long before may have been removed on purpose.
    """
    provided = _provided(rows)
    last = max((row.tid for row in rows), default=0)
    found = []
    for row in rows:
        for relation in _relations(row, "require"):
            having = provided.get(relation.name, [])
            if any(relation.matches(one) for one, _ in having) or (not having and _elsewhere(relation.name)):
                continue
            later = [other for _, other in having if other.tid > row.tid]
            if later or (not having and row.tid == last):
                found.append(Unmet(row, str(relation), str(later[0].nevra) if later else ""))
    return found


def _provided(rows: Sequence[Row]) -> dict[str, list[tuple[Relation, Row]]]:
    provided: dict[str, list[tuple[Relation, Row]]] = defaultdict(list)
    for row in rows:
        for relation in _relations(row, "provide"):
            provided[relation.name].append((relation, row))
    return provided


def _elsewhere(name: str) -> bool:
    """Say whether what nobody provides is there all the same: a file, or something that only rpm can judge."""
    return name.startswith(("(", "rpmlib(", "config(")) or (name.startswith("/") and os.path.lexists(name))


def _relations(row: Row, kind: str) -> Iterator[Relation]:
    names, flags, versions = row.tag(f"{kind}name"), row.tag(f"{kind}flags"), row.tag(f"{kind}version")
    for name, flag, version in zip(names, flags, versions):
        if not flag & (RPMLIB | CONFIG):
            marks = ((LESS, "<"), (GREATER, ">"), (EQUAL, "="))
            sense = "".join(mark for bit, mark in marks if flag & bit)
            yield Relation(_text(name), sense, Evr.parse(_text(version)))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

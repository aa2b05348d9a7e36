"""Baselines: which bulletins of a depot a host should have; fixed lists, dynamic ones by what bulletins say, groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Engine, delete, insert, select

from interlock.depot.bulletin import Bulletin
from interlock.manager.errors import BadBaseline, UnknownBaseline
from interlock.manager.tables import BASELINES

FIXED, DYNAMIC, GROUP = "fixed", "dynamic", "group"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True)
class Baseline:
    """One baseline. Of a dynamic one every condition that is given must hold; ``include`` and ``exclude`` are ids.

    ``after`` and ``before`` are days (YYYY-MM-DD) of issue, the first included. ``product`` are words of a product's
    name and version ("RHEL 9"); a host whose product is another is not measured by it. A group has ``baselines``.
    """

    name: str
    kind: str
    depot: str = ""
    bulletins: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    after: str = ""
    before: str = ""
    product: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise BadBaseline where it means nothing."""
        problem = self._problem()
        if problem:
            raise BadBaseline(baseline=self.name, detail=problem)

    def _problem(self) -> str:
        if not _NAME.match(self.name):
            return "its name has other signs than letters, digits, dots, dashes and underscores"
        if self.kind not in (FIXED, DYNAMIC, GROUP):
            return f"its kind is {self.kind!r}"
        if (self.kind == GROUP) != bool(self.baselines) or (self.kind == GROUP) == bool(self.depot):
            return "a group has baselines and no depot; the others have a depot and no baselines"
        if (self.kind == FIXED) != bool(self.bulletins):
            return "a fixed one names its bulletins, and only that"
        for day in (self.after, self.before):
            if day and not _DATE.match(day):
                return f"{day!r} is no day; write YYYY-MM-DD"
        return ""

    def select(self, bulletins: Iterable[Bulletin]) -> frozenset[str]:
        """Return the ids of the bulletins that it wants; what a fixed one names need not be there."""
        if self.kind == FIXED:
            return frozenset(self.bulletins) - frozenset(self.exclude)
        found = {one.id for one in bulletins if self._takes(one)}
        return frozenset((found | set(self.include)) - set(self.exclude))

    def _takes(self, one: Bulletin) -> bool:
        issued = one.issued[:10]
        return (
            (not self.severity or one.severity.lower() in {word.lower() for word in self.severity})
            and (not self.category or one.category.lower() in {word.lower() for word in self.category})
            and (not self.after or issued >= self.after)
            and (not self.before or (issued != "" and issued < self.before))
        )

    def measures(self, product: str) -> bool:
        """Say whether hosts of this product are measured by it."""
        return all(word in product.lower().split() for word in self.product.lower().split())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        rows = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in rows.items() if value}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Baseline:
        """Read what ``to_json`` wrote."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        return cls(**values)


def put(engine: Engine, baseline: Baseline) -> None:
    """Write a baseline down, in the place of what had its name. Raises BadBaseline, UnknownBaseline."""
    baseline.check()
    unfold({**read_all(engine), baseline.name: baseline}, [baseline.name])
    with engine.begin() as connection:
        connection.execute(delete(BASELINES).where(BASELINES.c.name == baseline.name))
        connection.execute(insert(BASELINES).values(name=baseline.name, definition=baseline.to_json()))


def remove(engine: Engine, name: str) -> None:
    """Remove a baseline. Raises UnknownBaseline; BadBaseline where a group has it."""
    known = read_all(engine)
    groups = [one.name for one in known.values() if name in one.baselines]
    if groups:
        raise BadBaseline(baseline=name, detail=f"it is part of the group {groups[0]}")
    with engine.begin() as connection:
        if not connection.execute(delete(BASELINES).where(BASELINES.c.name == name)).rowcount:
            raise UnknownBaseline(baseline=name)


def read_all(engine: Engine) -> dict[str, Baseline]:
    """Return every baseline by its name."""
    with engine.connect() as connection:
        rows = connection.execute(select(BASELINES).order_by(BASELINES.c.name)).all()
    return {str(row.name): Baseline.from_json(row.definition) for row in rows}


def unfold(known: Mapping[str, Baseline], names: Sequence[str]) -> list[Baseline]:
    """Return the baselines of these names, groups taken apart, each once. Raises UnknownBaseline."""
    found: dict[str, Baseline] = {}
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name not in known:
            raise UnknownBaseline(baseline=name)
        one = known[name]
        if one.kind == GROUP:
            waiting += one.baselines
        else:
            found[name] = one
    return list(found.values())

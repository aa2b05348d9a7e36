"""The catalogue of agents: programs that are known to use the package database on their own. Data, and its reader.

An administrator adds to it with files in ``/etc/interlock/agents.d/*.json`` of the same form; an entry of theirs takes
the place of ours for the same product. A list is never complete: ``agents.py`` finds others by what they do.
"""

from __future__ import annotations

import glob
import json
import os
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.host.paths import Paths

FORMAT = 1
KINDS = (".service", ".timer", ".socket", ".path")
LISTS = ("units", "processes", "scripts", "after")
TEXTS = ("uses", "cadence", "source", "note")


@dataclass(frozen=True)
class KnownAgent:
    """One product. ``units`` have their suffix; ``scripts`` are those in ``/etc/init.d``.

    ``after`` are units that its own start after, and so stop before. ``activated`` says that D-Bus starts it: to stop
    it is not enough. ``uses``, ``cadence``, ``source`` and ``note`` are for people.
    """

    product: str
    units: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    activated: bool = False
    uses: str = ""
    cadence: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Catalogue:
    """The known agents by product, and what was wrong with entries that were left out."""

    agents: Mapping[str, KnownAgent]
    defects: tuple[str, ...] = ()

    def by_unit(self) -> Mapping[str, KnownAgent]:
        """Return the agents by their units, in small letters."""
        return {unit.lower(): agent for agent in self.agents.values() for unit in agent.units}

    def by_process(self) -> Mapping[str, KnownAgent]:
        """Return the agents by the names of their processes."""
        return {name: agent for agent in self.agents.values() for name in agent.processes}


def read_catalogue(paths: Paths) -> Catalogue:
    """Return what is shipped, with what the administrator has added."""
    content = pkgutil.get_data("interlock.host", "data/agents.json") or b"{}"
    found, defects = _parse(json.loads(content), "the catalogue")
    for path in sorted(glob.glob(os.path.join(glob.escape(paths.agents), "*.json"))):
        try:
            with open(path, encoding="utf-8") as stream:
                more, wrong = _parse(json.load(stream), path)
        except (OSError, ValueError) as error:
            defects.append(f"{path} was left out: {error}")
            continue
        found.update(more)
        defects += wrong
    return Catalogue(found, tuple(defects))


def _parse(value: Any, name: str) -> tuple[dict[str, KnownAgent], list[str]]:
    rows: Any = value.get("agents") if isinstance(value, dict) and value.get("format") == FORMAT else None
    if not isinstance(rows, list):
        return {}, [f"{name} was left out: it is no object with `format` {FORMAT} and a list `agents`"]
    found: dict[str, KnownAgent] = {}
    defects = []
    for number, row in enumerate(rows, 1):
        try:
            agent = _agent(row)
        except ValueError as error:
            defects.append(f"{name}: entry {number} was left out: {error}")
            continue
        found[agent.product] = agent
    return found, defects


def _agent(row: Any) -> KnownAgent:
    if not isinstance(row, dict) or not isinstance(row.get("product"), str) or not row["product"].strip():
        raise ValueError("it has no `product`")
    unknown = sorted(set(row) - {"product", "activated", *LISTS, *TEXTS})
    if unknown:
        raise ValueError(f"{row['product']} has the unknown field {unknown[0]}")
    lists: dict[str, Any] = {name: tuple(_names(row.get(name, []), row["product"], name)) for name in LISTS}
    lists["units"] = tuple(map(with_suffix, lists["units"]))
    lists["after"] = tuple(map(with_suffix, lists["after"]))
    if not (lists["units"] or lists["processes"] or lists["scripts"]):
        raise ValueError(f"{row['product']} has no units, processes or scripts to know it by")
    texts: dict[str, Any] = {name: str(row.get(name, "")) for name in TEXTS}
    return KnownAgent(product=row["product"], activated=row.get("activated") is True, **lists, **texts)


def _names(value: Any, product: str, field: str) -> Iterator[str]:
    if not isinstance(value, list):
        raise ValueError(f"`{field}` of {product} is no list")
    for one in value:
        if not isinstance(one, str) or not one or "/" in one or one.startswith("-") or not one.isprintable():
            raise ValueError(f"`{field}` of {product} has {one!r}, which is no name")
        yield one


def with_suffix(unit: str) -> str:
    """Return a unit's name with the suffix that systemd takes for granted."""
    return unit if unit.endswith(KINDS) else f"{unit}.service"


def page(agents: Sequence[KnownAgent]) -> str:
    """Return the table of ``docs/agents.md``."""
    rows = [
        "| agent | units | processes | how it uses the database | how often | source |",
        "|---|---|---|---|---|---|",
    ]
    for one in agents:
        how = ", ".join(filter(None, (one.uses, "started by D-Bus" if one.activated else "", one.note)))
        cells = (one.product, ", ".join(one.units), ", ".join(one.processes), how, one.cadence, one.source)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"

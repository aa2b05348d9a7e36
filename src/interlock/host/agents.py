"""Finds programs that use the package database on their own: by unit, by process, and by what they do with it.

The catalogue of known ones is never complete, so evidence counts as well: a process that has a file of the database
open or librpm mapped, or that is rpm itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from interlock.host.catalogue import Catalogue, KnownAgent, read_catalogue
from interlock.host.paths import Paths
from interlock.system.proc import ProcReader

# The units of our own engine, interlock-<operation>.service.
OWN_UNIT = re.compile(r"interlock-(?:\d{8}-\d{6}-[0-9a-f]{4}|recover)\.service$")
RPM_PROGRAMS = (
    "rpm", "rpmquery", "rpmdb", "rpmkeys", "rpmverify", "dnf", "dnf5", "dnf-3", "yum", "zypper", "microdnf", "tdnf",
)  # fmt: skip
INTERPRETERS = re.compile(r"(?:python|perl|ruby|bash|dash|sh|ksh)[\d.]*$")
LIBRARY = re.compile(r"/librpm\.so[.\d]*(?: \(deleted\))?$")


@dataclass(frozen=True)
class Agent:
    """One agent that runs now, and why we think that it is one.

    ``units`` are those that it runs in, ``pids`` its processes; ``known`` is its entry in the catalogue.
    """

    name: str
    evidence: str
    units: tuple[str, ...] = field(default=(), compare=False)
    pids: tuple[int, ...] = field(default=(), compare=False)
    known: Optional[KnownAgent] = field(default=None, compare=False)


@dataclass
class _Found:
    evidence: str
    units: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    known: Optional[KnownAgent] = None

    def add(self, pid: int, unit: str) -> None:
        self.pids.append(pid)
        if unit and unit not in self.units:
            self.units.append(unit)


def running_agents(proc: ProcReader, database: str, catalogue: Optional[Catalogue] = None) -> list[Agent]:
    """Return the agents that run now, each once, known ones first. Never ourselves, or who started us."""
    known = catalogue or read_catalogue(Paths())
    by_unit, by_process = known.by_unit(), known.by_process()
    named: dict[str, _Found] = {}
    seen: dict[str, _Found] = {}
    ours = {os.getpid(), *ancestors(proc, os.getpid())}
    for pid in proc.pids():
        unit = proc.unit(pid)
        if pid in ours or OWN_UNIT.match(unit):
            continue
        agent, evidence = _known(proc, pid, unit, by_unit, by_process)
        if agent is not None:
            named.setdefault(agent.product, _Found(evidence, known=agent)).add(pid, unit)
        elif _uses_database(proc, pid, database):
            command = proc.command(pid)
            text = f"{command} (pid {pid}) uses the package database"
            seen.setdefault(unit or command, _Found(text)).add(pid, unit)
    return [*_agents(named), *_agents(seen)]


def _agents(found: Mapping[str, _Found]) -> Iterator[Agent]:
    for name, one in sorted(found.items()):
        yield Agent(name, one.evidence, tuple(one.units), tuple(one.pids), one.known)


def _known(
    proc: ProcReader, pid: int, unit: str, by_unit: Mapping[str, KnownAgent], by_process: Mapping[str, KnownAgent]
) -> tuple[Optional[KnownAgent], str]:
    agent = by_unit.get(unit.lower()) or by_unit.get(_template(unit).lower())
    if agent is not None:
        return agent, f"unit {unit}"
    name = program(proc.command(pid))
    agent = by_process.get(name)
    # In a session of a person it is that person's own command.
    if agent is not None and not unit.endswith(".scope"):
        return agent, f"process {name}"
    return None, ""


def _template(unit: str) -> str:
    """Return the template of an instance: ``a@b.service`` is one of ``a@.service``; of others, themselves."""
    stem, at, rest = unit.partition("@")
    return f"{stem}.{rest.rpartition('.')[2]}" if at else unit


def program(command: str) -> str:
    """Return the name of the program that a command line runs; of a script its own, not its interpreter's."""
    words = command.split()
    if not words:
        return ""
    name = os.path.basename(words[0].rstrip(":"))
    if INTERPRETERS.match(name):
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        return os.path.basename(script) or name
    return name


def ancestors(proc: ProcReader, pid: int) -> Iterator[int]:
    """Yield the parents of a process, the nearest first, without the first process of the system."""
    seen: set[int] = set()
    parent = proc.parent(pid)
    while parent is not None and parent > 1 and parent not in seen:
        seen.add(parent)
        yield parent
        parent = proc.parent(parent)


def _uses_database(proc: ProcReader, pid: int, database: str) -> bool:
    if program(proc.command(pid)) in RPM_PROGRAMS:
        return True
    return uses_files(proc, pid, database) or any(map(LIBRARY.search, proc.mapped_files(pid)))


def uses_files(proc: ProcReader, pid: int, database: str) -> bool:
    """Say whether a process has a file of the package database open or mapped at this instant."""
    prefix = database.rstrip("/") + "/"
    opened = (target for _, target in proc.open_files(pid))
    return any(path.startswith(prefix) for path in (*opened, *proc.mapped_files(pid)))

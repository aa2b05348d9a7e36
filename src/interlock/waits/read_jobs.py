"""Reads the jobs of systemd that a scriptlet's ``systemctl`` waits for.

systemd is asked only where such a ``systemctl`` is there, and only on our own host. A stop waits for the processes of
the unit that its kill mode means; a start or a reload for the one that systemd has started for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from interlock.errors import InterlockError
from interlock.waits.facts import Facts, Job, Process
from interlock.waits.process_table import detailed

if TYPE_CHECKING:
    from interlock.waits.look import Place

LIMIT = 5.0
CLIENT = "systemctl"
LIST = (CLIENT, "list-jobs", "--no-legend", "--plain", "--full", "--no-pager")
SHOW = (CLIENT, "show", "--no-pager", "--property=KillMode,MainPID,ControlPID,Type,SubState")
TRANSACTION = ("rpm", "dnf", "yum", "zypp", "microdnf", "tdnf")
# The verbs of systemctl that make a job, by the job's type.
VERBS = {
    "start": ("start", "restart", "try-restart", "reload-or-restart", "condrestart", "enable"),
    "stop": ("stop", "restart", "try-restart", "disable", "reload-or-restart", "condrestart", "mask"),
    "restart": ("restart", "try-restart", "reload-or-restart", "condrestart", "force-reload", "try-reload-or-restart"),
    "reload": ("reload", "reload-or-restart", "force-reload", "try-reload-or-restart", "reload-or-try-restart"),
}


def read_jobs(place: Place, facts: Facts) -> tuple[Job, ...]:
    """Return the unfinished jobs that a ``systemctl`` below a transaction waits for."""
    clients = list(_clients(facts)) if place.ours else []
    if not clients:
        return ()
    return tuple(_jobs(place, facts, clients))


def _clients(facts: Facts) -> Iterator[Process]:
    known = detailed(facts.processes)
    holders = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits}
    for process in known.values():
        if process.name == CLIENT and any(_is_transaction(one, holders) for one in ancestors(known, process.pid)):
            yield process


def ancestors(processes: Mapping[int, Process], pid: int) -> Iterator[Process]:
    """Yield the ancestors of a process, the nearest first."""
    seen = {pid}
    process = processes.get(pid)
    while process is not None and process.parent not in seen:
        seen.add(process.parent)
        process = processes.get(process.parent)
        if process is not None:
            yield process


def _is_transaction(process: Process, holders: set[int]) -> bool:
    return process.pid in holders or process.name.startswith(TRANSACTION)


def _jobs(place: Place, facts: Facts, clients: Sequence[Process]) -> Iterator[Job]:
    rows = [line.split() for line in _ask(place, LIST).splitlines()]
    jobs = [row for row in rows if len(row) == 4 and row[0].isdecimal()]
    for number, unit, kind, state in jobs:
        waiting = tuple(one.pid for one in clients if _asked_for(one, unit, kind, len(jobs)))
        if waiting:
            yield Job(int(number), unit, kind, state, _awaited(place, facts, unit, kind, state), waiting)


def _ask(place: Place, words: Sequence[str]) -> str:
    try:
        return place.runner.run(words, timeout=LIMIT, check=False).stdout
    except InterlockError:
        return ""


def _asked_for(client: Process, unit: str, kind: str, jobs: int) -> bool:
    """Say whether a client's words mean a job; a unit may have another name, but then there is only one job."""
    words = client.command.split()[1:]
    plain = [word for word in words if not word.startswith("-")]
    if not plain or "--no-block" in words or plain[0] not in VERBS.get(kind, (kind,)):
        return False
    return any(os.path.basename(word) in (unit, unit.rpartition(".")[0]) for word in plain[1:]) or jobs == 1


def _awaited(place: Place, facts: Facts, unit: str, kind: str, state: str) -> tuple[int, ...]:
    if state != "running":
        return ()
    rows = (line.partition("=") for line in _ask(place, (*SHOW, "--", unit)).splitlines())
    said = {name: value for name, _, value in rows}
    own = [int(said[name]) for name in ("ControlPID", "MainPID") if said.get(name, "").isdecimal()]
    named = tuple(pid for pid in dict.fromkeys(own) if pid > 0)
    if kind in ("stop", "restart"):
        everybody = said.get("KillMode", "control-group") in ("control-group", "mixed")
        return _members(place, facts, unit) if everybody else named
    return named[:1]


def _members(place: Place, facts: Facts, unit: str) -> tuple[int, ...]:
    return tuple(pid for pid in facts.processes if place.proc.unit(pid) == unit)

"""Stops agents, remembering exactly what ran, and starts exactly that again.

What is going to be stopped is written down by the caller before anything is (``intend``), so that ``restore`` works
from that record alone: after a kill of whoever stopped them, after a boot, twice in a row. Units that do not run are
left as they are. A unit that D-Bus could start again is forbidden for this boot; the link that does it is ours and
goes. Processes that belong to no service are frozen, and only while they hold nothing of the database.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from interlock.errors import InterlockError
from interlock.host.agents import Agent, ancestors, program, uses_files
from interlock.host.context import Host
from interlock.host.units import Unit, allow, forbid, read_units, start_order, stop_order
from interlock.system.proc import ProcessId

STOP_LIMIT = 100.0
START_LIMIT = 100.0
# How long a process may take to let the database go before it is left alone, in seconds.
PATIENCE = 5.0
# Never stopped: without them nobody gets in, or nothing works any more.
SPARED = (
    "ssh.service", "sshd.service", "dbus.service", "dbus-broker.service", "init.scope", "getty@", "serial-getty@",
    "systemd-", "user@", "interlock-2", "interlock-recover", "crond.service", "cron.service", "NetworkManager.service",
    "networking.service", "libvirtd.service", "auditd.service",
)  # fmt: skip
Note = Callable[[str], None]


@dataclass(frozen=True)
class Quiesced:
    """What is going to be stopped. ``frozen`` are processes; ``forbidden`` units that must not be started meanwhile."""

    units: tuple[Unit, ...] = ()
    order: tuple[tuple[str, ...], ...] = ()
    forbidden: tuple[str, ...] = ()
    frozen: tuple[ProcessId, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to stop."""
        return not (self.units or self.forbidden or self.frozen)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        return {
            "units": [one.to_json() for one in self.units], "order": [list(group) for group in self.order],
            "forbidden": list(self.forbidden), "frozen": [list(one) for one in self.frozen], "names": list(self.names),
        }  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Quiesced:
        """Read what ``to_json`` wrote."""
        return cls(
            tuple(map(Unit.from_json, row["units"])), tuple(map(tuple, row["order"])), tuple(row["forbidden"]),
            tuple(ProcessId(*one) for one in row["frozen"]), tuple(row["names"]),
        )  # fmt: skip


def is_spared(unit: str) -> bool:
    """Say whether a unit is never stopped."""
    return unit.startswith(SPARED)


def intend(host: Host, agents: Sequence[Agent]) -> Quiesced:
    """Look at what runs and decide what is to be stopped; nothing is changed."""
    wanted = dict.fromkeys(unit for agent in agents for unit in _units_of(agent) if not is_spared(unit))
    known = read_units(host, list(wanted))
    starters = dict.fromkeys(name for unit in known.values() for name in unit.triggers if name not in known)
    known.update(read_units(host, list(starters)))
    running = [unit for unit in known.values() if unit.runs and unit.loaded != "masked"]
    after = {unit: agent.known.after for agent in agents if agent.known for unit in _units_of(agent)}
    activated = {unit for agent in agents if agent.known and agent.known.activated for unit in agent.known.units}
    forbidden = [
        unit.name for unit in known.values()
        if unit.name.endswith(".service") and unit.loaded == "loaded" and (unit.bus_name or unit.name in activated)
    ]  # fmt: skip
    frozen, notes = _processes(host, agents)
    notes += [f"{unit.name} is masked and could not be started again: it goes on" for unit in known.values()
              if unit.runs and unit.loaded == "masked"]  # fmt: skip
    groups = tuple(tuple(group) for group in stop_order(running, after))
    names = tuple(agent.name for agent in agents)
    return Quiesced(tuple(running), groups, tuple(forbidden), tuple(frozen), names, tuple(notes))


def _units_of(agent: Agent) -> list[str]:
    mine = [unit for unit in agent.units if unit.endswith(".service")]
    return list(dict.fromkeys([*mine, *(agent.known.units if agent.known else ())]))


def _processes(host: Host, agents: Sequence[Agent]) -> tuple[list[ProcessId], list[str]]:
    """Return the processes of no service that can be frozen, and notes on those that are not."""
    ours = {os.getpid(), *ancestors(host.proc, os.getpid())}
    found: list[ProcessId] = []
    notes = []
    for agent in agents:
        for pid in agent.pids:
            unit = host.proc.unit(pid)
            if unit.endswith(".service") or pid in ours:
                if is_spared(unit):
                    notes.append(f"{agent.name} runs in {unit}, which is never stopped")
                continue
            identity = host.proc.identify(pid)
            if identity is not None and program(host.proc.command(pid)) not in ("sshd", "rpm", "rpmdb"):
                found.append(identity)
    return found, notes


def stop(host: Host, what: Quiesced, database: str, note: Note) -> None:
    """Stop what was decided. What does not stop in time is named and left: the upgrade does not need it."""
    forbid(host, what.forbidden)
    for group in what.order:
        _systemctl(host, "stop", list(group), STOP_LIMIT, note)
    for one in what.frozen:
        _freeze(host, one, database, note)


def _freeze(host: Host, one: ProcessId, database: str, note: Note) -> None:
    """Stop a process while it holds nothing of the database; looked at again once it has stopped."""
    deadline = host.clock.monotonic() + PATIENCE
    while host.proc.alive(one):
        if not uses_files(host.proc, one.pid, database):
            _signal(one, signal.SIGSTOP)
            if not uses_files(host.proc, one.pid, database):
                return
            _signal(one, signal.SIGCONT)
        if host.clock.monotonic() > deadline:
            note(f"{host.proc.command(one.pid)} (pid {one.pid}) goes on: it never let the package database go")
            return
        host.clock.sleep(0.02)


def _signal(one: ProcessId, number: int) -> None:
    try:
        os.kill(one.pid, number)
    except ProcessLookupError:
        pass


def restore(host: Host, what: Quiesced, note: Note, wait: bool = True) -> None:
    """Start exactly what ran again. May be done twice, and after a boot; without ``wait`` it is only asked for."""
    for one in what.frozen:
        if host.proc.alive(one):
            _signal(one, signal.SIGCONT)
    allow(host, what.forbidden)
    now = read_units(host, [unit.name for unit in what.units])
    options = [] if wait else ["--no-block"]
    _systemctl(host, "stop", _in_the_way(what, now), STOP_LIMIT, note, *options)
    for group in start_order(what.order):
        # Those that seem to run as well: a stop that was asked for may still be under way, and is taken back so.
        _systemctl(host, "start", [name for name in group if name in now], START_LIMIT, note, *options)
    if wait:
        _look_again(host, what, note)


def _in_the_way(what: Quiesced, now: Mapping[str, Unit]) -> list[str]:
    """Return services that were not stopped yet, and whose socket was: it cannot listen while they run."""
    closed = {unit.name for unit in what.units if unit.name.endswith(".socket") and not _runs(now, unit.name)}
    return [unit.name for unit in what.units if closed.intersection(unit.triggers) and _runs(now, unit.name)]


def _runs(now: Mapping[str, Unit], name: str) -> bool:
    return name in now and now[name].runs


def _look_again(host: Host, what: Quiesced, note: Note) -> None:
    now = read_units(host, [unit.name for unit in what.units])
    for unit in what.units:
        if unit.name not in now:
            note(f"{unit.name} is not there any more: the upgrade has removed it")
        elif now[unit.name].active in ("inactive", "failed"):
            note(f"{unit.name} ran before and is {now[unit.name].active} now: systemctl status {unit.name}")


def _systemctl(host: Host, verb: str, names: Sequence[str], limit: float, note: Note, *options: str) -> None:
    if not names:
        return
    try:
        done = host.runner.run(["systemctl", verb, *options, "--", *names], timeout=limit, check=False)
    except InterlockError as error:
        note(f"systemctl {verb} {' '.join(names)}: {error}")
        return
    if done.status != 0:
        note(f"systemctl {verb} {' '.join(names)}: {done.stderr.strip() or f'status {done.status}'}")

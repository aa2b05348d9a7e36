"""Agents of the lab: services on a host that use its package database on their own, well or badly.

They are stand-ins for real agents and say so. They lie outside all packages, so that an upgrade of the whole host
leaves them alone, and are one program, ``data/lab_agent.py``, that loads all it needs when it starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.lab import ssh, state
from interlock.lab.cache import Cache, locked
from interlock.lab.errors import UnknownAgent
from interlock.lab.state import HostRecord
from interlock.system.run import Runner

PROGRAM = "usr/local/lib/interlock-lab/lab_agent.py"
UNITS = "etc/systemd/system"
LOGS = "var/log/interlock-lab"
_SOURCE = Path(__file__).parent / "data" / "lab_agent.py"


@dataclass(frozen=True)
class Unit:
    """One service of an agent, and what real program it stands in for."""

    name: str
    stands_for: str


@dataclass(frozen=True)
class Agent:
    """One agent: its services all run the agent's program in the same mode."""

    name: str
    summary: str
    units: tuple[Unit, ...]


AGENTS: tuple[Agent, ...] = (
    Agent(
        "insight",
        "runs `rpm -qa` every second and is killed in it after 1 to 20 ms, in three services",
        (
            Unit("hp-health.service", "the HP system health agents"),
            Unit("hp-snmp-agents.service", "the HP Insight Management Agents for SNMP"),
            Unit("hpsmhd.service", "the HP System Management Homepage"),
        ),
    ),
    Agent(
        "storm",
        "runs `rpm -qa` without a pause and is killed in it after 1 to 20 ms",
        (Unit("interlock-lab-storm.service", "many agents at their worst"),),
    ),
    Agent(
        "reader",
        "runs `rpm -qa` again and again, is never killed, and records every answer",
        (Unit("interlock-lab-reader.service", "a well-behaved inventory agent"),),
    ),
)
NAMES = tuple(agent.name for agent in AGENTS)


def find_agent(name: str) -> Agent:
    """Return the agent called ``name``."""
    for agent in AGENTS:
        if agent.name == name:
            return agent
    raise UnknownAgent(name=name, known=", ".join(NAMES))


def unit_text(agent: Agent, unit: Unit) -> str:
    """Return the unit file of one service."""
    stem = unit.name.rpartition(".")[0]
    return (
        "[Unit]\n"
        f"Description=Interlock lab stand-in for {unit.stands_for}\n"
        "After=network.target\n\n"
        "[Service]\n"
        f"ExecStart=/usr/bin/python3 -S -E /{PROGRAM} {agent.name} /{LOGS}/{stem}\n"
        "Restart=always\nRestartSec=1\nTimeoutStopSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def files_of(agent: Agent) -> Mapping[str, str]:
    """Return the files of an agent, by their paths below a host's root directory."""
    units = {f"{UNITS}/{unit.name}": unit_text(agent, unit) for unit in agent.units}
    return {PROGRAM: _SOURCE.read_text(), **units}


def install(root: Path, name: str, enabled: bool) -> None:
    """Put an agent's files into the host at ``root``; enabled, it starts with the host."""
    agent = find_agent(name)
    (root / LOGS).mkdir(parents=True, exist_ok=True)
    for path, text in files_of(agent).items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    wants = root / UNITS / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    for unit in agent.units if enabled else ():
        link = wants / unit.name
        link.unlink(missing_ok=True)
        os.symlink(f"/{UNITS}/{unit.name}", link)


def switch(cache: Cache, record: HostRecord, root: Path, *, name: str, on: bool, runner: Runner) -> HostRecord:
    """Start or stop an agent on a running host; it stays so after a restart. Returns the host's record."""
    units = [unit.name for unit in find_agent(name).units]
    if on:
        install(root, name, enabled=False)
        ssh.run_on(cache, record, ["systemctl", "daemon-reload"], runner, timeout=90)
    verb = "enable" if on else "disable"
    if on or name in record.agents:
        ssh.run_on(cache, record, ["systemctl", verb, "--now", *units], runner, timeout=90)
    return _remember(cache, record, name, on)


def _remember(cache: Cache, record: HostRecord, name: str, on: bool) -> HostRecord:
    with locked(cache, "state.lock"):
        latest = state.load(cache, record.name)
        others: list[str] = [one for one in latest.agents if one != name]
        changed = replace(latest, agents=tuple([*others, name] if on else others))
        state.save(cache, changed)
    return changed

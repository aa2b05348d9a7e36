"""Finds programs that use the package database on their own: by known unit, and by what they have open.

The list of known units is never complete, so evidence counts as well: a process that has a file of the database
open or mapped, or that is rpm itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from interlock.system.proc import ProcReader

# Unit (without .service) -> the product it belongs to.
KNOWN_UNITS: Mapping[str, str] = {
    "hp-health": "HP Insight Management Agents",
    "hp-snmp-agents": "HP Insight Management Agents",
    "hpsmhd": "HP Insight Management Agents",
    "snmpd": "net-snmp",
    "amsd": "HPE Agentless Management",
    "smad": "HPE Agentless Management",
    "dsm_sa_datamgrd": "Dell OpenManage",
    "osqueryd": "osquery",
    "wazuh-agent": "Wazuh",
    "auditbeat": "Auditbeat",
    "newrelic-infra": "New Relic",
    "datadog-agent": "Datadog",
    "amazon-ssm-agent": "AWS Systems Manager",
    "google-osconfig-agent": "Google OS Config",
    "waagent": "Azure Linux agent",
    "qualys-cloud-agent": "Qualys",
    "ir_agent": "Rapid7",
    "taniumclient": "Tanium",
    "puppet": "Puppet",
    "chef-client": "Chef",
    "salt-minion": "Salt",
    "insights-client": "Red Hat Insights",
    "rhsmcertd": "Subscription Manager",
    "packagekit": "PackageKit",
    "dnf-automatic": "dnf-automatic",
    "dnf-makecache": "dnf",
    "dnf5daemon-server": "dnf5daemon",
    "fapolicyd": "fapolicyd",
    "abrtd": "ABRT",
    "fusioninventory-agent": "FusionInventory",
    "zabbix-agent": "Zabbix",
    "zabbix-agent2": "Zabbix",
    "akmods": "akmods",
    "monitorix": "Monitorix",
}
# The units of our own engine, interlock-<operation>.service.
OWN_UNIT = re.compile(r"interlock-\d{8}-\d{6}-[0-9a-f]{4}\.service$")
RPM_PROGRAMS = ("rpm", "rpmquery", "rpmdb", "rpmkeys", "dnf", "dnf5", "yum", "zypper", "microdnf")


@dataclass(frozen=True)
class Agent:
    """One agent that runs now, and why we think that it is one."""

    name: str
    evidence: str


def running_agents(proc: ProcReader, database: str) -> list[Agent]:
    """Return the agents that run now, each once, known ones first."""
    known: dict[str, str] = {}
    seen: dict[str, str] = {}
    for pid in proc.pids():
        unit = proc.unit(pid)
        name = unit.rpartition(".")[0]
        if name.lower() in KNOWN_UNITS:
            known.setdefault(KNOWN_UNITS[name.lower()], f"unit {unit}")
        elif pid != os.getpid() and not OWN_UNIT.match(unit) and _uses_database(proc, pid, database):
            seen.setdefault(unit or proc.command(pid), f"{proc.command(pid)} (pid {pid}) uses the package database")
    return [Agent(name, why) for name, why in sorted(known.items())] + [
        Agent(name, why) for name, why in sorted(seen.items())
    ]


def _uses_database(proc: ProcReader, pid: int, database: str) -> bool:
    words = proc.command(pid).split()
    if words and os.path.basename(words[0]) in RPM_PROGRAMS:
        return True
    prefix = database.rstrip("/") + "/"
    return any(target.startswith(prefix) for _, target in proc.open_files(pid))

"""Agents are known by their unit, or by what they do with the database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made import MadeProc

from interlock.host.agents import Agent, running_agents

DATABASE = "/var/lib/rpm"


@pytest.fixture
def made(tmp_path: Path) -> MadeProc:
    made = MadeProc(tmp_path / "proc")
    made.process(1, command="/sbin/init", cgroup="/init.scope", files=["/var/lib/rpmsomething/x"])
    return made


def found(made: MadeProc) -> list[Agent]:
    return running_agents(made.reader, DATABASE)


def test_a_host_without_agents(made: MadeProc) -> None:
    made.process(50, command="/usr/sbin/sshd -D", cgroup="/system.slice/sshd.service")
    assert found(made) == []


def test_known_units_are_named_once_by_product(made: MadeProc) -> None:
    made.process(50, command="hpasmlited", cgroup="/system.slice/hp-health.service")
    made.process(51, command="cmahealthd", cgroup="/system.slice/hp-snmp-agents.service")
    made.process(52, command="TaniumClient", cgroup="/system.slice/TaniumClient.service")
    assert found(made) == [
        Agent("HP Insight Management Agents", "unit hp-health.service"),
        Agent("Tanium", "unit TaniumClient.service"),
    ]


def test_an_unknown_unit_that_has_the_database_open(made: MadeProc) -> None:
    made.process(50, command="inventory --all", cgroup="/system.slice/own.service", files=["/x", f"{DATABASE}/Name"])
    assert found(made) == [Agent("own.service", "inventory --all (pid 50) uses the package database")]


@pytest.mark.parametrize("command", ["rpm -qa", "/usr/bin/dnf makecache", "/usr/bin/zypper lr"])
def test_rpm_itself_outside_of_any_unit(made: MadeProc, command: str) -> None:
    made.process(50, command=command)
    assert found(made) == [Agent(command, f"{command} (pid 50) uses the package database")]


def test_known_ones_come_first(made: MadeProc) -> None:
    made.process(50, command="rpm -qa", cgroup="/system.slice/a.service")
    made.process(51, command="osqueryd", cgroup="/system.slice/osqueryd.service", files=[f"{DATABASE}/Name"])
    assert [agent.name for agent in found(made)] == ["osquery", "a.service"]


def test_we_are_no_agent(made: MadeProc) -> None:
    made.process(os.getpid(), command="interlock check", files=[f"{DATABASE}/Name"])
    made.process(50, command="rpm -q x", cgroup="/system.slice/interlock-20260101-000000-abcd.service")
    assert found(made) == []


def test_a_process_that_vanished_is_passed_over(made: MadeProc) -> None:
    (made.root / "60").mkdir()
    assert found(made) == []

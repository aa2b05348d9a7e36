"""The engine dies where the matrix of test_recovery does not come: converting, behind the gate, while going back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.tree import Content, differences, tree

HostOf = Callable[..., Host]
DEPOT = "/srv/depots/current-updates-2"
CONTENT: Content = {}


def test_killed_before_the_conversion(host_of: HostOf) -> None:
    host = host_of("classic")
    old, packages, digest = tree(host.root, CONTENT), host.packages(), host.database()
    done = host.update("/srv/depots/classic-current", INTERLOCK_TRACE="migrate.begin=kill")
    assert done.status == 5, done.stderr
    assert "interlock resume" in done.stderr
    assert host.database() == digest
    host.run("interlock", "resume")
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert (host.database(), host.packages()) == (digest, packages)


def test_the_next_update_clears_up_first(host_of: HostOf) -> None:
    host = host_of("current")
    host.update(DEPOT, INTERLOCK_TRACE="applied=kill")
    again = host.update(DEPOT)
    assert again.status == 0, again.stdout + again.stderr
    assert "is rolled back" in again.stdout
    assert [row["state"] for row in host.json("history")] == ["rolled-back", "done"]


def test_killed_behind_the_gate(host_of: HostOf) -> None:
    host = host_of("current")
    done = host.update(DEPOT, "--isolation", "gate", INTERLOCK_TRACE="gate.raised=kill")
    assert done.status == 4, done.stderr
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-1-")
    assert host.update(DEPOT).status == 0


def test_killed_while_writing_behind_the_gate(host_of: HostOf) -> None:
    """Without a shadow the worker writes the original: what is half there is replaced by the copy from before."""
    host = host_of("current")
    old, packages = tree(host.root, CONTENT), host.packages()
    done = host.update(DEPOT, "--isolation", "gate", INTERLOCK_TRACE="applied=kill")
    assert done.status == 5, done.stderr
    host.run("interlock", "resume")
    assert host.packages() == packages
    assert differences(old, tree(host.root, CONTENT))[:5] == []


@pytest.mark.parametrize("point", ["undo.restore", "undo.restored"])
def test_killed_while_going_back(host_of: HostOf, point: str) -> None:
    """A scriptlet that fails sends the host back; the engine dies on the way, and so does who takes it up."""
    host = host_of("current")
    old = tree(host.root, CONTENT)
    host.update(DEPOT, INTERLOCK_TRACE=f"applied=raise,{point}=kill")
    died = host.run("env", f"INTERLOCK_TRACE={point}=kill", "interlock", "resume", check=False)
    assert died.status != 0
    host.run("interlock", "resume")
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert host.json("history")[-1]["state"] == "rolled-back"

"""The engine or its worker dies at each named trace point: the database is old or new, and the next command knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.system.trace import POINTS

HostOf = Callable[..., Host]
DEPOT = "/srv/depots/current-updates-2"
# What becomes of an operation that dies at a point: ``nothing`` was ever journalled, it is ``undone`` or ``done``,
# or files of packages have been changed and it is ``held``.
OUTCOMES = {
    "plan.made": "nothing",
    "stage.done": "nothing",
    "operation.created": "undone",
    "lease.taken": "undone",
    "lock.taken": "undone",
    "shadow.started": "undone",
    "shadow.copied": "undone",
    "worker.started": "undone",
    "prepared": "undone",
    "apply.begin": "undone",
    "apply.script": "undone",
    "apply.element": "held",
    "applied": "held",
    "verified": "held",
    "commit.intent": "held",
    "commit.linked": "held",
    "commit.exchanged": "done",
    "committed": "done",
    "done": "done",
}
# These are passed only where the isolation is the gate, or the format of the database changes.
ELSEWHERE = {"gate.raised", "migrate.begin"}


def test_every_point_is_killed_once() -> None:
    assert set(OUTCOMES) | ELSEWHERE == set(POINTS)


@pytest.mark.parametrize(("point", "outcome"), OUTCOMES.items())
def test_killed_at(host_of: HostOf, point: str, outcome: str) -> None:
    host = host_of("current")
    packages = host.packages()
    done = host.update(DEPOT, INTERLOCK_TRACE=f"{point}=kill")
    assert done.status != 0 or point == "done"
    again = host.update(DEPOT)
    after = host.packages()
    if outcome == "held":
        assert again.status == 5, again.stdout + again.stderr
        assert after == packages
        assert host.json("status")["hold"]["kept"]
        return
    assert again.status == 0, again.stdout + again.stderr
    assert any(name.startswith("lab-tool-01-2-") for name in after)
    assert len(after) == len(packages)
    states = [row["state"] for row in host.json("history")]
    assert states == {"nothing": ["done"], "undone": ["rolled-back", "done"], "done": ["done"]}[outcome]
    # One old database is kept by each operation that was committed; nothing else lies about.
    assert len(host.leftovers()) == 1
    assert host.run("interlock", "check").status == 0


def test_killed_before_the_conversion(host_of: HostOf) -> None:
    host = host_of("classic")
    packages, digest = host.packages(), host.database()
    done = host.update("/srv/depots/classic-current", INTERLOCK_TRACE="migrate.begin=kill")
    assert done.status == 5, done.stderr
    assert host.update("/srv/depots/classic-current").status == 5
    assert host.database() == digest
    assert len(packages) > 100


def test_killed_behind_the_gate(host_of: HostOf) -> None:
    host = host_of("current")
    done = host.update(DEPOT, "--isolation", "gate", INTERLOCK_TRACE="gate.raised=kill")
    assert done.status == 4, done.stderr
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-1-")
    assert host.update(DEPOT).status == 0


def test_killed_while_writing_behind_the_gate(host_of: HostOf) -> None:
    """Without a shadow the worker writes the original: what is half there is replaced by the copy from before."""
    host = host_of("current")
    packages = host.packages()
    done = host.update(DEPOT, "--isolation", "gate", INTERLOCK_TRACE="applied=kill")
    assert done.status == 5, done.stderr
    assert host.update(DEPOT).status == 5
    assert host.packages() == packages

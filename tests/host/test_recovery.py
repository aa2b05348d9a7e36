"""Everything dies at every named trace point, and after recovery the whole tree is old or new, and nothing is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.handle import HostHandle
from interlock.lab.tree import Content, Seen, differences, tree
from interlock.system.run import Completed
from interlock.system.trace import POINTS

HostOf = Callable[..., Host]
DEPOT = "/srv/depots/current-updates-2"
# Passed only behind the gate, when the format of the database changes, while a host goes back, or with agents stopped.
ELSEWHERE = {"gate.raised", "migrate.begin", "undo.restore", "undo.restored", "agents.stopped", "agents.restored"}
# Here a worker runs: elsewhere there is none to kill.
WITH_WORKER = (
    "worker.started", "undo.begin", "undo.kept", "prepared", "guard.raised", "apply.begin", "apply.script",
    "apply.element",
)  # fmt: skip
# A boot each: the durable steps.
POWER = (
    "lock.taken", "shadow.copied", "undo.begin", "undo.kept", "guard.raised", "apply.begin", "apply.element", "applied",
    "verified", "commit.intent", "commit.linked", "commit.exchanged", "committed", "done",
)  # fmt: skip
NEW = {"commit.exchanged", "committed", "guard.lowered", "done"}
ENGINE = "$(awk '/^PPid/{print $2}' /proc/$PPID/status)"
AT_WORKER = ("worker.started", "apply.begin", "apply.script", "apply.element")
CONTENT: Content = {}


def command(mode: str, point: str) -> str:
    """Return what is done at a point: who is there is killed, from inside.

    The engine alone has a standby, which goes on at once; together with the worker it takes that along.
    """
    engine = ENGINE if point in AT_WORKER else "$PPID"
    worker = "$PPID" if point in AT_WORKER else '$(pgrep -P $PPID | grep -v "^$$\\$")'
    standby = f"$(awk '/^PPid/{{print $2}}' /proc/{engine}/status)"
    killed = {"engine": engine, "worker": worker, "both": f"{standby} {worker} {engine}"}
    return f"run:kill -9 {killed[mode]}" if mode in killed else "run:touch /var/log/at-point; sleep 100"


def machine_dies(host: Host, point: str) -> None:
    """Begin an update, and cut the power when it is at a point."""
    marker = host.root / "var/log/at-point"
    marker.unlink(missing_ok=True)
    environment = f"INTERLOCK_TRACE='{point}={command('machine', point)}'"
    host.shell(f"{environment} setsid interlock update --yes --depot {DEPOT} >/dev/null 2>&1 </dev/null &")
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < deadline, f"{point} was not reached"
        time.sleep(0.05)
    assert HostHandle(host.lab, host.name).reset() is not None


def settled(host: Host, old: dict[str, Seen], new: bool) -> Completed:
    """Recover, and look at everything; take what was committed back, so that the next one begins as this one did."""
    done = host.run("interlock", "resume", check=False)
    assert done.status == 0, done.stdout + done.stderr
    assert host.json("status")["hold"] is None
    if new:
        assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-2-")
        assert differences(old, tree(host.root, CONTENT)) != []
        host.run("interlock", "rollback", "--yes")
    assert differences(old, tree(host.root, CONTENT))[:5] == []
    assert host.run("rpm", "-q", "lab-tool-01", timeout=20).stdout.startswith("lab-tool-01-1-")
    assert nothing_left(host) == []
    return done


def nothing_left(host: Host) -> list[str]:
    """Return what is still stopped, masked, gated, mounted or locked."""
    looks = {
        "shadows": "ls -d /var/lib/.rpm.interlock-* 2>/dev/null",
        "marker": "ls /var/lib/interlock/dirty.json /var/lib/interlock/hold.json 2>/dev/null",
        "guard": "ls /run/systemd/system.control 2>/dev/null | grep interlock",
        "mounts": "grep interlock /proc/self/mountinfo",
        "units": "systemctl list-units --no-legend --plain 'interlock-2*'",
        "processes": "pgrep -af 'interlock engine [0-9]'",
        "database": "rpmdb --verifydb 2>&1 | grep -v '^warning'",
    }
    script = "; ".join(f"({look}) | sed 's/^/{name}: /'" for name, look in looks.items())
    return host.shell(script, check=False).stdout.split("\n")[:-1]


def ended_by_itself(host: Host) -> list[str]:
    """Return the last event of the operation whose engine was killed: its standby has written it."""
    return [one["type"] for one in host.json_lines("events.jsonl") if "was killed" in one.get("message", "")]


def chosen(mode: str) -> list[str]:
    """Return the points of a mode: those that INTERLOCK_POINTS names, or `all`; else fewer where each takes long.

    `make soak` takes all of them.
    """
    wanted = os.environ.get("INTERLOCK_POINTS", "").split()
    points = [one for one in POINTS if one not in ELSEWHERE]
    if wanted and wanted != ["all"]:
        return [one for one in points if one in wanted]
    return [one for one in points if wanted or mode != "machine" or one in POWER]


def test_every_point_is_in_the_matrix() -> None:
    assert set(WITH_WORKER) | set(POWER) | NEW | ELSEWHERE <= set(POINTS)


@pytest.mark.parametrize("mode", ["engine", "worker", "both", "machine"])
def test_whatever_dies_the_host_is_old_or_new(host_of: HostOf, mode: str) -> None:
    host = host_of("current")
    old = tree(host.root, CONTENT)
    points = chosen(mode)
    if mode in ("worker", "both"):
        points = [one for one in points if one in WITH_WORKER]
    for point in points:
        print(f"{mode} dies at {point}", flush=True)
        if mode == "machine":
            machine_dies(host, point)
        else:
            host.update(DEPOT, INTERLOCK_TRACE=f"{point}={command(mode, point)}")
            # The standby of an engine that was killed may still be at work.
            host.shell("while systemctl list-units --no-legend --plain 'interlock-2*' | grep -q .; do sleep 0.1; done")
        if mode == "engine" and point in AT_WORKER:
            assert ended_by_itself(host) == ["operation.ended"]
        settled(host, old, point in NEW)
    print(f"{len(points)} points, {mode}: all old or new")

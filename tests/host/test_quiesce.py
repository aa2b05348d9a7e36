"""Agents are stopped, and exactly what ran runs again, whoever is killed in between."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator

import pytest
from conftest import Host

from interlock.lab import verbs

SEED = 20261123
# `make soak` takes 40.
SETS = int(os.environ.get("INTERLOCK_SETS", "6"))
DEPOT = "/srv/depots/current-updates-2"
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
INSTALL = "[Install]\nWantedBy=multi-user.target\n"
SHOW = "systemctl show --no-pager -p Id,LoadState,ActiveState,SubState,UnitFileState,Result"
UNITS = "/etc/systemd/system"


def service(body: str, unit: str = "") -> str:
    return f"[Unit]\nDescription=test\n{unit}[Service]\n{body}"


# What systemd's generator makes a service of, with the lines that it reads.
SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides: {u}
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: test
### END INIT INFO
case "$1" in
  start) setsid sleep infinity >/dev/null 2>&1 </dev/null & echo $! >/run/{u}.pid ;;
  stop) kill "$(cat /run/{u}.pid)" ;;
  status) kill -0 "$(cat /run/{u}.pid)" ;;
esac
"""
# What a unit can be: its files, and how it gets there. {u} is its name without the suffix.
SHAPES: dict[str, tuple[dict[str, str], str]] = {
    "running": ({"{u}.service": service("ExecStart=/bin/sleep infinity\n") + INSTALL}, "systemctl start {u}"),
    "enabled": ({"{u}.service": service("ExecStart=/bin/sleep infinity\n") + INSTALL}, "systemctl enable --now {u}"),
    "static": ({"{u}.service": service("ExecStart=/bin/sleep infinity\n")}, "systemctl start {u}"),
    "inactive": ({"{u}.service": service("ExecStart=/bin/sleep infinity\n") + INSTALL}, ":"),
    "exited": (
        {"{u}.service": service("Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")}, "systemctl start {u}"
    ),
    "failed": ({"{u}.service": service("Type=oneshot\nExecStart=/bin/false\n")}, "systemctl start {u} || :"),
    "sysv": ({"/etc/init.d/{u}": SCRIPT}, "systemctl start {u}"),
    "sysv-stopped": ({"/etc/init.d/{u}": SCRIPT}, ":"),
    "masked": ({}, "systemctl mask {u}"),
    "runtime-masked": (
        {"{u}.service": service("ExecStart=/bin/sleep infinity\n")}, "systemctl start {u}; systemctl mask --runtime {u}"
    ),
    "deaf": (
        {"{u}.service": service("TimeoutStopSec=1\nExecStart=/bin/sh -c 'trap \"\" TERM; sleep inf'\n")},
        "systemctl start {u}",
    ),
    "after": (
        {"{u}.service": service("ExecStart=/bin/sleep infinity\n", "After=q-alpha.service\nWants=q-alpha.service\n")},
        "systemctl start {u} || :",
    ),
    "timer": (
        {
            "{u}.timer": "[Timer]\nOnActiveSec=1h\nOnUnitActiveSec=1h\n[Install]\nWantedBy=timers.target\n",
            "{u}.service": service("ExecStart=/bin/sleep infinity\n"),
        },
        "systemctl start {u}.timer",
    ),
    "socket": (
        {
            "{u}.socket": "[Socket]\nListenStream=/run/{u}.sock\n",
            "{u}.service": service("ExecStart=/bin/sleep infinity\n"),
        },
        "systemctl start {u}.socket",
    ),
    "socket-and-service": (
        {
            "{u}.socket": "[Socket]\nListenStream=/run/{u}.sock\n",
            "{u}.service": service("ExecStart=/bin/sleep infinity\n"),
        },
        "systemctl start {u}.socket {u}.service",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def host(new_host: Callable[..., Host]) -> Iterator[Host]:
    made = new_host("current")
    agents = [{"product": f"Test {name}", "units": [f"q-{name}"], "processes": [f"q-{name}"]} for name in NAMES]
    # A catalogue knows a product by its running process; every unit of it is looked at then.
    agents[0]["units"] = [f"q-{name}" for name in NAMES]
    folder = made.root / "etc/interlock/agents.d"
    folder.mkdir(parents=True)
    (folder / "test.json").write_text(json.dumps({"format": 1, "agents": agents}))
    (folder / "bad.json").write_text(
        '{"format": 1, "agents": [{"units": ["x"]}, {"product": "Kept", "units": ["kept"]}]}'
    )
    made.shell("cp /bin/sleep /usr/local/bin/q-plain; cp /bin/sleep /usr/local/bin/q-alpha")
    yield made
    verbs.down(made.lab, [made.name], False)


def make(host: Host, chance: random.Random) -> list[str]:
    """Put units of random shapes onto the host and bring each into its state; return the units."""
    folder = host.root / UNITS.lstrip("/")
    commands, units = [], []
    for name in NAMES:
        files, command = SHAPES["running" if name == "alpha" else chance.choice(list(SHAPES))]
        unit = f"q-{name}"
        for file, text in files.items():
            path = host.root / file.format(u=unit).lstrip("/") if file.startswith("/") else folder / file.format(u=unit)
            path.write_text(text.replace("{u}", unit))
            path.chmod(0o755 if file.startswith("/") else 0o644)
            units += [] if file.startswith("/") else [file.format(u=unit)]
        commands.append(command.format(u=unit))
        units.append(f"{unit}.service")
    host.shell("systemctl daemon-reload; " + "; ".join(commands) + " 2>/dev/null")
    return sorted(set(units))


def clear(host: Host) -> None:
    host.shell(
        "systemctl kill -s KILL 'q-*' 2>/dev/null; systemctl stop 'q-*.timer' 'q-*.socket' 'q-*.service' 2>/dev/null;"
        " systemctl reset-failed 'q-*' 2>/dev/null;"
        " rm -rf /etc/init.d/q-*;"
        f" rm -rf {UNITS}/q-* {UNITS}/*.wants/q-* /run/systemd/system/q-* /run/systemd/system.control/q-*;"
        " systemctl daemon-reload",
        check=False,
    )


def seen(host: Host, units: list[str]) -> str:
    """Return all that systemd says of the units, the files that mask them, and how plain processes are."""
    return host.shell(
        f"{SHOW} -- {' '.join(units)}; ls -l --time-style=+ {UNITS} /run/systemd/system | grep ' q-';"
        " ls /run/systemd/system.control 2>/dev/null | grep q-;"
        " for p in $(pgrep -x q-plain); do echo plain $(cut -d' ' -f3 /proc/$p/stat); done;"
        " ls /run/q-*.sock 2>/dev/null",
        check=False,
    ).stdout


def test_random_sets_are_stopped_and_restored_whoever_is_killed(host: Host) -> None:
    print(f"seed {SEED}, {SETS} sets")
    chance = random.Random(SEED)
    for number in range(SETS):
        units = make(host, chance)
        before = seen(host, units)
        limit = chance.choice([0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 9.0])
        host.shell(f"timeout -s KILL {limit} interlock agents stop >/dev/null", check=False)
        during = seen(host, units)
        host.run("interlock", "agents", "start")
        assert seen(host, units) == before, f"set {number}, killed after {limit} s"
        assert host.run("interlock", "agents", "start", check=False).status == 0
        if limit == 9.0:
            # Nothing of it runs any more, but what could not be started again.
            assert during.count("SubState=running") == during.count("UnitFileState=masked-runtime")
            assert "SubState=waiting" not in during
            assert "SubState=listening" not in during
        clear(host)


@pytest.mark.parametrize("point", ["agents.stopped", "apply.element", "commit.exchanged", "agents.restored"])
def test_an_upgrade_restores_them_in_every_end(host: Host, point: str) -> None:
    chance = random.Random(f"{SEED} {point}")
    units = make(host, chance)
    before = seen(host, units)
    host.update(DEPOT, "--quiesce", INTERLOCK_TRACE=f"{point}=kill")
    assert host.run("interlock", "resume", check=False).status == 0
    assert seen(host, units) == before
    types = [one["type"] for one in host.json_lines("events.jsonl")]
    assert "agents.stopped" in types or point == "agents.stopped"
    host.run("interlock", "rollback", "--yes", check=False)
    clear(host)


def test_a_good_upgrade_stops_them_meanwhile_and_starts_them_again(host: Host) -> None:
    units = make(host, random.Random(SEED))
    before = seen(host, units)
    look = "systemctl is-active q-alpha > /var/log/alpha-meanwhile"
    done = host.update(DEPOT, "--quiesce", INTERLOCK_TRACE=f"applied=run:{look}")
    assert done.status == 0
    assert (host.root / "var/log/alpha-meanwhile").read_text() == "inactive\n"
    assert seen(host, units) == before
    host.run("interlock", "rollback", "--yes")
    clear(host)


def test_a_process_of_no_unit_is_frozen_and_goes_on(host: Host) -> None:
    (host.root / "etc/interlock/agents.d/plain.json").write_text(
        '{"format": 1, "agents": [{"product": "Plain", "processes": ["q-plain"]}]}'
    )
    # In no session of a person: the machine's own slice.
    host.shell("systemd-run --quiet --slice=system.slice --unit=holder sh -c 'exec sleep infinity'")
    host.shell(
        "setsid q-plain 1000 >/dev/null 2>&1 </dev/null & sleep 0.1;"
        " for p in $(pgrep -x q-plain); do echo $p > /sys/fs/cgroup/cgroup.procs 2>/dev/null ||"
        " echo $p > /sys/fs/cgroup/init.scope/cgroup.procs; done",
        check=False,
    )
    state = "for p in $(pgrep -x q-plain); do cut -d' ' -f3 /proc/$p/stat; done"
    assert host.shell(state).stdout.strip() == "S"
    host.run("interlock", "agents", "stop")
    assert host.shell(state).stdout.strip() == "T"
    host.run("interlock", "agents", "start")
    assert host.shell(state).stdout.strip() == "S"
    host.shell("pkill -x q-plain; systemctl stop holder", check=False)


def test_what_dbus_starts_is_not_started_meanwhile(host: Host) -> None:
    name = "org.example.Interlock"
    (host.root / "usr/share/dbus-1/system-services").mkdir(parents=True, exist_ok=True)
    (host.root / f"usr/share/dbus-1/system-services/{name}.service").write_text(
        f"[D-BUS Service]\nName={name}\nExec=/bin/false\nUser=root\nSystemdService=q-alpha.service\n"
    )
    (host.root / "usr/share/dbus-1/system.d").mkdir(exist_ok=True)
    (host.root / f"usr/share/dbus-1/system.d/{name}.conf").write_text(
        f'<busconfig><policy user="root"><allow own="{name}"/><allow send_destination="{name}"/></policy></busconfig>'
    )
    folder = host.root / UNITS.lstrip("/")
    (folder / "q-alpha.service").write_text(service(f"Type=simple\nBusName={name}\nExecStart=/bin/sleep infinity\n"))
    host.shell("systemctl daemon-reload; systemctl reload dbus; systemctl start q-alpha")
    call = f"busctl --timeout=1 call {name} / {name} Any >/dev/null 2>&1; systemctl is-active q-alpha"
    host.run("interlock", "agents", "stop")
    assert host.shell(call, check=False).stdout == "inactive\n"
    host.run("interlock", "agents", "start")
    assert host.shell("systemctl stop q-alpha; " + call, check=False).stdout != "inactive\n"
    clear(host)


def test_bad_entries_of_an_administrator_are_named_and_the_others_count(host: Host) -> None:
    found = host.json("agents")
    assert any("bad.json: entry 1 was left out: it has no `product`" in one for one in found["defects"])
    assert [row["name"] for row in found["agents"]] == []


def test_watch_sees_even_what_is_gone_at_once(host: Host) -> None:
    # The kernel says when it is being asked.
    script = (
        "interlock agents watch --seconds 6 --json & until grep -qs fanotify /proc/$!/fdinfo/*; do sleep 0.05; done;"
        " for i in 1 2 3; do rpm -q rpm >/dev/null; done; wait"
    )
    found = json.loads(host.shell(script).stdout)
    rpm = next(row for row in found["users"] if row["program"] == "rpm")
    assert (rpm["runs"], rpm["still_open"]) == (3, 0)
    assert rpm["opens"] >= rpm["runs"]

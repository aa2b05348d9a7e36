"""Scriptlets that wait: for their own transaction, for a unit, or for nothing. Named, and the upgrade comes through."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign
from interlock.system.run import Completed

RELEASES = ["classic", "current"]
HostOf = Callable[..., Host]
DepotOn = Callable[..., str]
UNIT = """[Service]
Type=exec
ExecStart=/usr/local/bin/interlock update --yes --depot {depot}
TimeoutStopSec=20
"""


@pytest.fixture
def inner_on(tmp_path: Path, lab_key: SigningKey) -> Callable[[Host], str]:
    """Return a function that puts a package onto a host which scriptlets want to install, and returns its path."""

    def make(host: Host) -> str:
        made = build([Recipe("inner", "1", {"/usr/share/inner": "i"})], host.root / "srv", tmp_path, host.lab.runner)
        sign(made, lab_key, host.lab.runner)
        return f"/srv/{made[0].name}"

    return make


def events(host: Host, kind: str) -> list[dict[str, Any]]:
    """Return the events of one type of the last operation."""
    folder = sorted((host.root / "var/lib/interlock/operations").iterdir())[-1]
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [row for row in rows if row["type"] == kind]


def update(host: Host, depot: str, *more: str, check: bool = False) -> Completed:
    """Upgrade the host; a scriptlet that hangs must not hold up the test for long."""
    return host.run("interlock", "update", "--depot", depot, "--yes", *more, check=check, timeout=60)


def tool(scripts: dict[str, str]) -> Recipe:
    return Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, scripts)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("isolation", ["shadow", "gate"])
def test_a_nested_rpm_that_waits_is_ended_and_named(
    host_of: HostOf, depot_on: DepotOn, inner_on: Callable[[Host], str], release: str, isolation: str
) -> None:
    host = host_of(release)
    inner = inner_on(host)
    command = f"script -qec {shlex.quote(f'rpm -i {inner}')} /dev/null; echo goes on; exit 0"
    done = update(host, depot_on(host, [tool({"post": command})]), "--isolation", isolation)
    assert done.status == 0, done.stdout + done.stderr
    (deadlock,), (ended,) = events(host, "script.deadlock"), events(host, "script.ended")
    assert f"rpm -i {inner}" in deadlock["ends"]
    assert "the lock on /var/lib/rpm/.rpm.lock" in deadlock["cycle"]
    assert ended["processes"] == deadlock["ends"]
    assert "could never end" in done.stdout
    assert "inner-1-1.noarch is not installed" in done.stdout
    assert "goes on" in events(host, "script.finished")[0]["output"]
    assert next(row["data"]["processes"] for row in host.journal() if row["name"] == "end-processes").startswith("rpm")
    assert "lab-tool-01-90-1.noarch" in host.packages()
    assert host.states()[-1] == "done"


@pytest.mark.parametrize("release", RELEASES)
def test_what_nested_commands_did_not_install_is_named(
    host_of: HostOf, depot_on: DepotOn, inner_on: Callable[[Host], str], release: str
) -> None:
    host = host_of(release)
    inner = inner_on(host)
    by_rpm = tool({"post": f"rpm -i {inner} >/dev/null 2>&1 || :"})
    by_dnf = Recipe("lab-tool-02", "90", {"/usr/share/y": "y"}, {"post": f"dnf -y install {inner} || :"})
    hidden = Recipe("lab-tool-03", "90", {"/usr/share/x": "x"}, {"post": f"what={inner}; rpm -i $what || :"})
    done = update(host, depot_on(host, [by_rpm, by_dnf, hidden]))
    assert done.status == 0, done.stdout + done.stderr
    named = {row["package"]: row for row in events(host, "nested.missing")}
    assert named["lab-tool-01-90-1.noarch"]["missing"] == ["inner-1-1.noarch"]
    assert named["lab-tool-02-90-1.noarch"]["missing"] == ["inner-1-1.noarch"]
    assert named["lab-tool-03-90-1.noarch"]["missing"] == []
    assert named["lab-tool-02-90-1.noarch"]["command"] == f"dnf -y install {inner}"
    assert done.stdout.count("inner-1-1.noarch is not installed") >= 2
    assert not any(name.startswith("inner-") for name in host.packages())


def test_an_agent_may_be_stopped_by_the_upgrade_that_it_began(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    depot = depot_on(host, [tool({"pre": "systemctl stop lab-self.service"})])
    (host.root / "etc/systemd/system/lab-self.service").write_text(UNIT.format(depot=depot))
    host.shell("systemctl daemon-reload && systemctl start lab-self.service")
    deadline = time.monotonic() + 60
    while not host.json("history") or host.json("history")[-1]["ended"] is None:
        assert time.monotonic() < deadline, host.shell("systemctl status lab-self", check=False).stdout
        time.sleep(0.2)
    assert host.states()[-1] == "done"
    assert events(host, "script.deadlock") == []
    assert host.run("systemctl", "is-active", "lab-self", check=False).stdout.strip() == "inactive"
    assert "lab-tool-01-90-1.noarch" in host.packages()


def test_a_scriptlet_that_stops_the_engines_own_unit(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    done = update(host, depot_on(host, [tool({"post": "systemctl stop 'interlock-*.service'; echo rc=$?"})]))
    assert done.status == 0, done.stdout + done.stderr
    (deadlock,) = events(host, "script.deadlock")
    assert deadlock["ends"].startswith("systemctl stop")
    assert "job" in deadlock["cycle"]
    assert host.states()[-1] == "done"


def test_a_service_that_is_held_back_at_the_gate(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'rpm -q lab-tool-02; touch /run/asked'\n"
    (host.root / "etc/systemd/system/lab-asks.service").write_text(unit)
    host.run("systemctl", "daemon-reload")
    depot = depot_on(host, [tool({"post": "systemctl start lab-asks.service; exit 0"})])
    done = update(host, depot, "--isolation", "gate")
    assert done.status == 0, done.stdout + done.stderr
    (deadlock,) = events(host, "script.deadlock")
    assert deadlock["ends"].startswith("systemctl start lab-asks.service")
    assert "the gate before the package database" in deadlock["cycle"]
    # The service went on by itself when the gate was lowered.
    host.shell("for i in $(seq 100); do test -e /run/asked && exit 0; sleep 0.1; done; exit 1")


def test_a_process_left_behind_is_named_and_nobody_waits_for_it(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    done = update(host, depot_on(host, [tool({"post": "sleep 321 & echo begun"})]))
    assert done.status == 0, done.stdout + done.stderr
    (left,) = events(host, "process.left")
    assert left["command"] == "sleep 321"
    assert left["script"] == "%post of lab-tool-01-90-1.noarch"
    # It was somebody's wish, and is nobody's to end.
    assert host.run("pgrep", "-x", "sleep").stdout.split() == [str(left["pid"])]
    assert "still runs, left behind by %post" in done.stdout


@pytest.mark.parametrize(("section", "release"), [("post", "current"), ("pre", "current"), ("post", "classic")])
def test_a_limit_ends_a_scriptlet_and_rpms_rules_decide(
    host_of: HostOf, depot_on: DepotOn, section: str, release: str
) -> None:
    host = host_of(release)
    packages = host.packages()
    depot = depot_on(host, [tool({section: "echo begun; sleep 654; echo goes on"})])
    done = update(host, depot, "--script-limit", "2")
    assert done.status == 4, done.stdout + done.stderr
    (ended,) = events(host, "script.ended")
    assert "sleep 654" in ended["processes"]
    assert ended["why"] == "the limit for a scriptlet is 2 s"
    assert "the limit for a scriptlet is 2 s" in done.stderr
    assert f"%{section} of lab-tool-01-90-1.noarch" in done.stderr
    assert host.run("pgrep", "-x", "sleep", check=False).status == 1
    assert "goes on" not in (events(host, "script.finished") or [{"output": ""}])[0]["output"]
    assert host.packages() == packages


def test_a_slow_scriptlet_is_left_alone_and_shown(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    depot = depot_on(host, [tool({"post": "while [ ! -e /run/go-on ]; do read -t 1 x < /dev/null; sleep 0.2; done"})])
    update(host, depot, "--detach", check=True)
    deadline = time.monotonic() + 60
    while "sleep 0.2" not in host.run("interlock", "status").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert events(host, "script.deadlock") == []
    (host.root / "run/go-on").touch()
    host.shell("touch /run/go-on")
    followed = host.run("interlock", "status", "--follow", check=False)
    assert followed.status == 0, followed.stdout
    assert host.states()[-1] == "done"


def test_a_reader_that_hangs_on_the_old_database_is_named_with_its_wait(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    host.run("systemd-run", "--quiet", "--unit=lab-reader", "sh", "-c", "rpm -qal | sleep 300")
    deadline = time.monotonic() + 60
    while "pipe_" not in host.shell("cat /proc/$(pgrep -x rpm)/wchan", check=False).stdout:
        assert time.monotonic() < deadline
    reader = host.run("pgrep", "-x", "rpm").stdout.strip()
    done = update(host, depot_on(host, [tool({})]))
    assert done.status == 0, done.stdout + done.stderr
    (note,) = [row["text"] for row in events(host, "note") if "from before" in row["text"]]
    assert note.startswith(f"rpm -qal (pid {reader}) still reads the database from before")
    assert "pipe" in note
    assert host.run("pgrep", "-x", "rpm").stdout.strip() == reader

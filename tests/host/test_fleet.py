"""A fleet of real hosts over real ssh: enrolled, asked, and each kind of trouble named at the one host that has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host
from fleet_tools import Fleet

from interlock.lab import verbs
from interlock.lab.hosts import Lab


@pytest.fixture(scope="module")
def fleet(lab: Lab, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    hosts = {release: new_host(release) for release in ("classic", "current", "next")}
    made = Fleet(lab, tmp_path_factory.mktemp("fleet"), hosts)
    made.enrol(*(made.row(name, groups=["lab"], labels={"release": name}) for name in hosts))
    yield made
    verbs.down(lab, [host.name for host in hosts.values()], False)


def test_hosts_are_enrolled_pinned_and_asked(fleet: Fleet) -> None:
    assert {row["state"] for row in fleet.json("hosts", "scan")} == {"failed"}
    pinned = fleet.json("hosts", "trust", "--yes")
    assert all(one["fingerprint"].startswith("SHA256:") and one["new"] for one in pinned.values())
    assert not any(one["new"] for one in fleet.json("hosts", "trust", "--yes").values())
    done = fleet.run("hosts", "scan")
    assert done.returncode == 0, done.stderr
    for name, host in fleet.hosts.items():
        shown = fleet.json("hosts", "show", name)
        assert (shown["state"], shown["status"]["hold"]) == ("reachable", None)
        assert f"{len(host.packages()) - 1} packages" in done.stdout
        assert shown["host_key"].split()[:2] == fleet.key(name).split()[:2]
    assert [row["name"] for row in fleet.json("hosts", "list", "--label", "release=next")] == ["next"]
    # Nothing is installed: one file of ours, and its cache of what it read.
    assert fleet.hosts["next"].run("rpm", "-qa", "interlock*").stdout == ""


def test_what_each_host_lacks_is_measured(fleet: Fleet) -> None:
    for name in fleet.hosts:
        done = fleet.run(
            "baselines", "add", f"tools-{name}", "--depot", depot_of(fleet, name), "--category", "security"
        )
        assert done.returncode == 0, done.stderr
    found = {(row["host"], row["baseline"]): row for row in fleet.json("compliance")}
    for name in fleet.hosts:
        row = found[name, f"tools-{name}"]
        assert (row["state"], row["missing"]) == ("non-compliant", ["LAB-2026-0002"])
    host = fleet.hosts["current"]
    assert host.update("/srv/depots/current-updates-2").status == 0
    assert fleet.json("hosts", "scan", "current")[0]["state"] == "reachable"
    done = fleet.run("compliance", "current", "--baseline", "tools-current")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 compliant" in done.stdout
    host.run("interlock", "rollback", "--yes")


def depot_of(fleet: Fleet, release: str) -> str:
    return str(fleet.lab.cache.depots / f"{release}-updates-2")


def test_each_trouble_is_named_and_stops_nobody(fleet: Fleet) -> None:
    current = fleet.hosts["current"]
    sudo = Path(current.root) / "usr/local/bin/sudo"
    # A stand-in: lab hosts have no sudo of their own.
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    fleet.enrol(
        fleet.row("good", "next", host_key=fleet.key("next")),
        # Not on `next`: its sshd keeps out, for a while, whoever breaks off or cannot log in.
        fleet.row("other-key", "classic", host_key=fleet.key("next")),
        fleet.row("unpinned", "next"),
        fleet.row("nobody", "classic", host_key=fleet.key("classic"), user="nobody"),
        fleet.row("no-sudo", "current", host_key=fleet.key("current"), sudo=True),
        fleet.row("sudo-missing", "next", host_key=fleet.key("next"), sudo=True),
        fleet.row("through", "next", host_key=fleet.key("next"), jump="good"),
        fleet.row("circle", "next", host_key=fleet.key("next"), jump="circle"),
        {**fleet.row("gone", "next", host_key=fleet.key("next")), "address": "198.51.100.1"},
        {**fleet.row("closed", "next", host_key=fleet.key("next")), "port": 9},
        {"name": "esxi", "product": "VMware ESXi 8.0"},
    )
    found = {row["name"]: row for row in fleet.json("hosts", "scan")}
    expected = {
        "other-key": "another ssh key", "unpinned": "is not known", "nobody": "does not let us in", "no-sudo": "sudo",
        "sudo-missing": "sudo", "circle": "circle", "gone": "cannot be reached", "closed": "refused",
    }  # fmt: skip
    for name, why in expected.items():
        assert found[name]["state"] == "failed"
        assert why in found[name]["reason"], found[name]["reason"]
    assert {name for name, row in found.items() if row["state"] == "reachable"} == {
        "good", "through", "classic", "current", "next"}  # fmt: skip
    assert found["esxi"]["state"] == "not-ours"


def test_a_host_without_space_or_bindings_says_so(fleet: Fleet) -> None:
    host = fleet.hosts["classic"]
    host.shell("rm -rf /var/lib/interlock/pushed; mkdir -p /var/lib/interlock/pushed;"
               " mount -t tmpfs -o size=64k tmpfs /var/lib/interlock/pushed")  # fmt: skip
    assert "no space" in fleet.json("hosts", "scan", "classic")[0]["reason"]
    host.shell("umount /var/lib/interlock/pushed")
    bindings = next((Path(host.root) / "usr/lib/python3/dist-packages").glob("rpm"))
    shutil.move(bindings, Path(host.root) / "root/rpm")
    assert "bindings are missing" in fleet.json("hosts", "scan", "classic")[0]["reason"]
    shutil.move(Path(host.root) / "root/rpm", bindings)
    assert fleet.json("hosts", "scan", "classic")[0]["state"] == "reachable"


def test_a_changed_key_is_refused_until_somebody_has_looked(fleet: Fleet) -> None:
    host = fleet.hosts["next"]
    host.shell("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key;"
               " systemctl reload ssh 2>/dev/null || systemctl restart ssh")  # fmt: skip
    (row,) = fleet.json("hosts", "scan", "next")
    assert "another ssh key" in row["reason"]
    shown = fleet.run("hosts", "trust", "next", "--yes")
    assert "(CHANGED)" in shown.stdout
    assert fleet.json("hosts", "scan", "next")[0]["state"] == "reachable"

"""The article that all of this comes from, on real hosts: who is refused, quiesced, held, and who is not affected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host

from interlock.lab import verbs
from interlock.lab.bulletins import LabBulletin
from interlock.lab.depots import make_depot, read_packages
from interlock.lab.dress import dress
from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign

# Nobody runs rpm any more, and what those who were killed have left in Berkeley DB's shared memory is gone.
CALM = "systemctl stop 'hp*'; rm -f /var/lib/rpm/__db.*"
HP = ("hp-health.service", "hp-snmp-agents.service", "hpsmhd.service")


def recipe(version: str) -> Recipe:
    return Recipe("esx-console-glibc", version, {"/opt/esx/console": version}, {"post": "rpm -q esx-console-glibc"})


@pytest.fixture(scope="module")
def host(
    new_host: Callable[..., Host], lab_key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """Return a host with Insight agents, the first release's package, and both updates in depots."""
    made = new_host("classic", "insight")
    work = tmp_path_factory.mktemp("article")
    for folder, version, bulletin in (
        ("u0", "1", ""),
        ("u1", "2", "ESX400-Update01"),
        ("u1a", "3", "ESX400-Update01a"),
    ):
        place = Path(made.root) / "srv" / folder
        sign(build([recipe(version)], place, work / folder, made.lab.runner), lab_key, made.lab.runner)
        found = read_packages(place, made.lab.runner)
        named = [LabBulletin(bulletin, bulletin, "bugfix", "Critical", "2009-11-20 00:00:00", "Update 1", found)]
        make_depot(place, named if bulletin else [], made.lab.runner, lab_key)
    made.shell(f"{CALM}; rpm -U /srv/u0/*.rpm && systemctl start {' '.join(HP)}")
    yield made
    verbs.down(made.lab, [made.name], False)


def version(host: Host) -> str:
    return (host.root / "opt/esx/console").read_text()


def test_update_1_is_refused_on_a_proliant_whose_insight_agents_run(host: Host) -> None:
    dress(host.root, "esx40-proliant")
    done = host.update("/srv/u1", "--bulletin", "ESX400-Update01")
    assert done.status == 3, done.stdout + done.stderr
    assert "esx40-update1-insight-agents" in done.stderr
    assert "Insight agents run rpm on a regular basis" in done.stderr
    assert "Install ESX 4.0 Update 1a instead" in done.stderr
    assert version(host) == "1"


def test_update_1_is_refused_on_any_vendors_machine_where_something_runs_rpm(host: Host) -> None:
    dress(host.root, "esx40")
    done = host.update("/srv/u1", "--bulletin", "ESX400-Update01", "--json")
    error = json.loads(done.stdout)
    assert (done.status, error["error"], error["fields"]["rule"]) == (3, "advisory-denies", "esx40-update1-rpm-users")
    assert version(host) == "1"


def test_esxi_is_not_affected(host: Host) -> None:
    dress(host.root, "esxi40")
    done = host.run("interlock", "advice", "check", "--depot", "/srv/u1", "--json", check=False)
    found = {one["id"]: one["state"] for one in json.loads(done.stdout)["advice"]}
    assert done.status == 0
    assert found["esxi40-update1-not-affected"] == "affected"
    assert {state for rule, state in found.items() if rule.startswith("esx40")} <= {"not-affected", "not-concerned"}


def test_update_1a_stops_the_agents_upgrades_and_starts_them_again(host: Host) -> None:
    dress(host.root, "esx40-proliant")
    machines = host.root / "vmfs/volumes/storage1/db"
    machines.mkdir(parents=True)
    (machines / "db.vmx").write_text('displayName = "payroll db"\nscsi0:0.fileName = "db.vmdk"\n')
    look = f"systemctl is-active {' '.join(HP)} > /var/log/meanwhile"
    done = host.update("/srv/u1a", INTERLOCK_TRACE=f"applied=run:{look}")
    assert done.status == 0, done.stdout + done.stderr
    assert (host.root / "var/log/meanwhile").read_text().split() == ["inactive"] * 3
    assert host.run("systemctl", "is-active", *HP).stdout.split() == ["active"] * 3
    assert version(host) == "3"
    assert "virtual machines on local storage" in done.stdout.lower()
    assert "payroll db" in done.stdout


def test_update_1_is_recalled_refused_flagged_and_its_replacement_offered(host: Host, lab_key: SigningKey) -> None:
    dress(host.root, "rhel8")
    host.run("interlock", "rollback", "--yes")
    assert host.update("/srv/u1").status == 0
    place = Path(host.root) / "srv/both"
    place.mkdir()
    for folder in ("u1", "u1a"):
        for package in (Path(host.root) / "srv" / folder).glob("*.rpm"):
            (place / package.name).write_bytes(package.read_bytes())
    old, new = (tuple(row for row in read_packages(place, host.lab.runner) if f"-{mark}-1." in row[1]) for mark in "23")
    make_depot(
        place,
        [
            LabBulletin("ESX400-Update01", "Update 1", "bugfix", "Critical", "2009-11-20", "", old,
                        recall="it can leave a lock in rpmdb", replacement="ESX400-Update01a"),
            LabBulletin("ESX400-Update01a", "Update 1a", "bugfix", "Critical", "2009-12-09", "", new),
        ],
        host.lab.runner,
        lab_key,
    )  # fmt: skip
    check = host.run("interlock", "check", "--depot", "/srv/both", check=False)
    assert "recalled bulletin ESX400-Update01" in check.stdout
    assert "interlock update --bulletin ESX400-Update01a" in check.stdout
    states = {row["id"]: row for row in host.json("scan", "--depot", "/srv/both")["bulletins"]}
    assert (states["ESX400-Update01"]["state"], states["ESX400-Update01a"]["state"]) == ("recalled", "staged")
    assert states["ESX400-Update01"]["installed_here"] == [str(old[0][0])]
    refused = host.update("/srv/both", "--bulletin", "ESX400-Update01", "--json")
    error = json.loads(refused.stdout)
    assert (refused.status, error["error"]) == (3, "recalled-bulletin")
    assert "ESX400-Update01a takes its place" in error["hint"]
    assert (
        host.json("info", "ESX400-Update01", "--depot", "/srv/both")["recall_reason"] == "it can leave a lock in rpmdb"
    )
    assert {row["id"]: row["state"] for row in host.json("query", "--depot", "/srv/both")} == {
        "ESX400-Update01": "recalled"
    }
    assert host.update("/srv/both").status == 0
    assert version(host) == "3"
    host.run("interlock", "rollback", "--yes")
    host.run("interlock", "rollback", "--yes")


def test_update_1_that_was_run_and_not_rebooted_is_held_and_no_reboot_is_allowed(host: Host) -> None:
    dress(host.root, "esx40-proliant")
    # What the original update did, by plain rpm: the C library's package is newer than this boot.
    host.shell(
        f"{CALM}; cd /srv/depots/classic-base; rpm -U --replacepkgs --replacefiles --nodeps --noscripts libc6-2*.rpm",
        timeout=100,
    )
    done = host.run("interlock", "check", check=False)
    assert done.status == 5, done.stdout
    assert "esx40-update1-not-rebooted" in done.stdout
    assert "support-bundle" in done.stdout
    reboot = host.run("interlock", "reboot", "--yes", check=False)
    assert reboot.status == 3
    assert host.run("systemctl", "reboot", check=False).status != 0
    assert host.update("/srv/u1a").status == 5
    assert "support-bundle" in host.run("interlock", "status", check=False).stdout

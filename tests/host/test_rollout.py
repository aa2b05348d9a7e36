"""Rollouts over real hosts: in waves, once on each host whoever is killed, and stopped before there is an outage."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Host
from fleet_tools import Fleet

from interlock.lab import verbs
from interlock.lab.bulletins import LabBulletin
from interlock.lab.depots import make_depot, read_packages
from interlock.lab.hosts import Lab
from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign

SEED = int(os.environ.get("INTERLOCK_SEED", "20261123"))
KILLS = int(os.environ.get("INTERLOCK_KILLS", "4"))
RELEASES = {"one": "current", "two": "next", "three": "current"}


@pytest.fixture(scope="module")
def fleet(lab: Lab, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(lab, tmp_path_factory.mktemp("rollout"), {name: new_host(of) for name, of in RELEASES.items()})
    for name, host in made.hosts.items():
        # One path on every host, for what each release has.
        host.shell(f"for n in 2 3 4 5; do ln -s /srv/depots/{RELEASES[name]}-updates-$n /srv/updates-$n; done")
    made.enrol(*(made.row(name, host_key=made.key(name), groups=["lab"]) for name in RELEASES))
    yield made
    verbs.down(lab, [host.name for host in made.hosts.values()], False)


def versions(fleet: Fleet) -> set[str]:
    found = {
        host.run("rpm", "-q", "--qf", "%{VERSION}", "lab-tool-01", timeout=20).stdout for host in fleet.hosts.values()
    }
    return {one.strip() for one in found}


def operations(fleet: Fleet) -> dict[str, int]:
    return {name: len(host.json("history")) for name, host in fleet.hosts.items()}


def outcomes(fleet: Fleet, rollout: str) -> dict[str, str]:
    return {row["host"]: row["outcome"] for row in fleet.json("rollouts", "show", rollout)["hosts"]}


def test_hosts_are_upgraded_in_waves_and_a_second_time_there_is_nothing_to_do(fleet: Fleet) -> None:
    done = fleet.run(
        "remediate", "first", "--depot", "/srv/updates-2", "--group", "lab", "--yes", "--health", "rpm -q rpm"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary: 1 host" in done.stdout
    assert versions(fleet) == {"2"}
    assert fleet.run("remediate", "again", "--depot", "/srv/updates-2", "--yes").returncode == 0
    assert set(outcomes(fleet, "again").values()) == {"nothing-to-do"}
    assert operations(fleet) == dict.fromkeys(RELEASES, 1)
    assert fleet.run("remediate", "first", "--depot", "/srv/updates-2", "--yes").returncode == 2


def test_a_manager_that_is_killed_upgrades_each_host_once(fleet: Fleet) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    chance, before = random.Random(SEED), operations(fleet)
    first = ("remediate", "killed", "--depot", "/srv/updates-3", "--yes", "--wave", "100%")
    fleet.killed(3.0, *first)
    for _ in range(KILLS):
        fleet.killed(chance.uniform(0.5, 4.0), "rollouts", "resume", "killed")
    if fleet.json("rollouts", "show", "killed")["state"] != "complete":
        done = fleet.run("rollouts", "resume", "killed")
        assert done.returncode == 0, done.stdout + done.stderr
    assert set(outcomes(fleet, "killed").values()) == {"done"}
    assert operations(fleet) == {name: number + 1 for name, number in before.items()}
    assert versions(fleet) == {"3"}


def test_a_bad_bulletin_stops_at_the_canary_which_goes_back(fleet: Fleet) -> None:
    before = operations(fleet)
    done = fleet.run(
        "remediate", "bad", "--depot", "/srv/updates-4", "--yes", "--health", "rpm -q lab-tool-01 | grep -q x"
    )
    assert (done.returncode, "failure budget of 1" in done.stdout) == (4, True)
    rows = {row["host"]: row for row in fleet.json("rollouts", "show", "bad")["hosts"]}
    canary = next(name for name, row in rows.items() if row["wave"] == 0)
    assert rows[canary]["outcome"] == "unhealthy"
    assert "taken-back" in rows[canary]["detail"]
    assert {row["outcome"] for name, row in rows.items() if name != canary} == {"skipped"}
    assert versions(fleet) == {"3"}
    assert {name for name, number in operations(fleet).items() if number != before[name]} == {canary}


def test_a_host_that_cannot_be_reached_has_failed_and_stops_nobody_within_the_budget(fleet: Fleet) -> None:
    fleet.enrol({**fleet.row("gone", "one", host_key=fleet.key("one")), "port": 9})
    words = ("--depot", "/srv/updates-4", "--yes", "--canary", "0", "--wave", "100%", "--patience", "1")
    done = fleet.run("remediate", "gone", *words, "--budget", "50%")
    assert done.returncode == 4
    found = outcomes(fleet, "gone")
    assert found.pop("gone") == "unreachable"
    assert set(found.values()) == {"done"}
    done = fleet.run("remediate", "stopped", "gone", "one", *words, "--canary", "1", "--budget", "50%")
    assert (
        "1 (0 failed, 1 could not be reached) of a failure budget of 50% of the 2 hosts of this rollout = 1"
        in done.stdout
    )
    assert outcomes(fleet, "stopped") == {"gone": "unreachable", "one": "skipped"}
    assert fleet.run("rollouts", "resume", "stopped").returncode == 2
    fleet.run("hosts", "remove", "gone")


def test_a_rollout_that_was_aborted_begins_no_further_host(fleet: Fleet) -> None:
    assert fleet.killed(2.0, "remediate", "ended", "--depot", "/srv/updates-5", "--yes", "--wave", "1")
    assert fleet.run("rollouts", "abort", "ended").returncode == 0
    assert fleet.run("rollouts", "resume", "ended").returncode == 2
    assert "skipped" not in outcomes(fleet, "ended").values()
    assert fleet.json("rollouts", "list")[-1]["state"] == "aborted"


def test_hosts_reboot_by_their_own_verdict_prove_themselves_and_can_be_taken_back(
    fleet: Fleet, lab_key: SigningKey, tmp_path: Path
) -> None:
    for host in fleet.hosts.values():
        place, runner = Path(host.root) / "srv/rebooting", host.lab.runner
        sign(build([Recipe("lab-tool-01", "91")], place, tmp_path / host.name, runner), lab_key, runner)
        found = read_packages(place, runner)
        row = LabBulletin("BOOT-1", "Needs a reboot", "bugfix", "Low", "2026-01-01", "x", found, reboot=True)
        make_depot(place, [row], runner, lab_key)
    boots = {name: boot(host) for name, host in fleet.hosts.items()}
    done = fleet.run("remediate", "boots", "--depot", "/srv/rebooting", "--yes", "--wave", "100%", "--reboot",
                     "--patience", "120", "--health", "rpm -q lab-tool-01 | grep -q -- -91-")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(outcomes(fleet, "boots").values()) == {"done"}
    assert all(boot(host) != boots[name] for name, host in fleet.hosts.items())
    assert fleet.run("rollouts", "take-back", "boots", "--wave", "0", "--yes").returncode == 0
    assert sorted(outcomes(fleet, "boots").values()) == ["done", "done", "taken-back"]
    assert fleet.run("rollouts", "take-back", "boots", "--yes").returncode == 0
    assert set(outcomes(fleet, "boots").values()) == {"taken-back"}
    assert "91" not in versions(fleet)
    assert fleet.run("rollouts", "take-back", "boots", "--yes").returncode == 2


def boot(host: Host) -> str:
    return host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout

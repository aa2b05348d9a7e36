"""A transaction that fails after its first file: the database stays, the host is on hold, and says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe

RELEASES = ["classic", "current", "next"]
HostOf = Callable[..., Host]
DepotOn = Callable[..., str]


@pytest.mark.parametrize("release", RELEASES)
def test_post_fails(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    packages, digest = host.packages(), host.database()
    bad = Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, {"post": "echo licence not found\nexit 1"})
    done = host.update(depot_on(host, [bad]))
    assert done.status == 5, done.stdout + done.stderr
    assert "%post of lab-tool-01-90-1.noarch failed: licence not found" in done.stdout
    assert "on hold" in done.stderr
    assert host.packages() == packages
    assert host.database() == digest
    assert host.states()[-1] == "held"
    # The hold is seen by everything that asks, and nothing goes on until a person has acted.
    status = host.run("interlock", "status", check=False)
    assert status.status == 5
    assert "Do not reboot" in status.stdout
    check = host.run("interlock", "check", check=False)
    assert check.status == 5
    assert "verdict: deny" in check.stdout
    again = host.update(f"/srv/depots/{release}-updates-2")
    assert again.status == 5
    assert "%post of lab-tool-01-90-1.noarch failed" in again.stderr
    # What rpm wrote is kept for a look: the new package is in there.
    kept = host.json("status")["hold"]["kept"]
    found = host.run("rpm", "--dbpath", kept, "-q", "lab-tool-01")
    assert "lab-tool-01-90-1.noarch" in found.stdout


@pytest.mark.parametrize("release", RELEASES)
def test_pre_of_a_later_package_fails(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    packages, digest = host.packages(), host.database()
    first = Recipe("lab-tool-01", "90", {"/usr/share/first": "1"})
    second = Recipe("lab-tool-02", "90", {"/usr/share/second": "2"}, {"pre": "exit 9"}, requires=["lab-tool-01 = 90"])
    done = host.update(depot_on(host, [first, second]))
    assert done.status == 5, done.stdout + done.stderr
    assert (host.root / "usr/share/first").exists()
    assert not (host.root / "usr/share/second").exists()
    assert host.packages() == packages
    assert host.database() == digest
    assert "%pre of lab-tool-02-90-1.noarch" in host.json("status")["hold"]["reason"]

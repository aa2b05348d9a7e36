"""A transaction that fails after its first file: the host goes back to what it was; where it cannot, it is on hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe
from interlock.lab.tree import differences, tree

RELEASES = ["classic", "current", "next"]
HostOf = Callable[..., Host]
DepotOn = Callable[..., str]
BAD = Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, {"post": "echo licence not found\nexit 1"})


@pytest.mark.parametrize("release", RELEASES)
def test_post_fails(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    packages, digest, old = host.packages(), host.database(), tree(host.root, {})
    done = host.update(depot_on(host, [BAD]))
    assert done.status == 4, done.stdout + done.stderr
    assert "%post of lab-tool-01-90-1.noarch failed: licence not found" in done.stdout
    assert "the host is as before" in done.stderr
    assert "paths were put back" in done.stderr
    assert (host.packages(), host.database()) == (packages, digest)
    assert differences(old, tree(host.root, {}))[:5] == []
    assert host.states()[-2:] == ["rolling-back", "rolled-back"]
    assert host.run("interlock", "status", check=False).status == 0
    assert host.leftovers() == []


def test_an_undo_store_with_a_hole_is_noticed_before_anything_is_changed(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    packages, digest = host.packages(), host.database()
    hole = "applied=run:rm -v /var/lib/interlock/undo/*/files/*/*1* > /root/removed"
    done = host.update(depot_on(host, [BAD]), INTERLOCK_TRACE=hole)
    assert done.status == 5, done.stdout + done.stderr
    assert "on hold" in done.stderr
    assert "is not there" in done.stderr
    assert "removed" in (host.root / "root/removed").read_text()
    # Nothing was put back by halves: what the package brought is still there, the database is the one from before.
    assert (host.root / "usr/share/z").read_text() == "z"
    assert (host.packages(), host.database()) == (packages, digest)
    # The hold is seen by everything that asks, and nothing goes on until a person has acted.
    status = host.run("interlock", "status", check=False)
    assert (status.status, "Do not reboot" in status.stdout) == (5, True)
    check = host.run("interlock", "check", check=False)
    assert (check.status, "verdict: deny" in check.stdout) == (5, True)
    again = host.update("/srv/depots/current-updates-2")
    assert again.status == 5
    assert "%post of lab-tool-01-90-1.noarch failed" in again.stderr
    resumed = host.run("interlock", "resume", check=False)
    assert (resumed.status, "is not there" in resumed.stdout) == (5, True)
    # What rpm wrote is kept for a look: the new package is in there.
    kept = host.json("status")["hold"]["kept"]
    assert "lab-tool-01-90-1.noarch" in host.run("rpm", "--dbpath", kept, "-q", "lab-tool-01").stdout


@pytest.mark.parametrize("release", RELEASES)
def test_pre_of_a_later_package_fails(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    packages, digest, old = host.packages(), host.database(), tree(host.root, {})
    first = Recipe("lab-tool-01", "90", {"/usr/share/first": "1"})
    second = Recipe("lab-tool-02", "90", {"/usr/share/second": "2"}, {"pre": "exit 9"}, requires=["lab-tool-01 = 90"])
    done = host.update(depot_on(host, [first, second]))
    assert done.status == 4, done.stdout + done.stderr
    assert "%pre of lab-tool-02-90-1.noarch" in done.stderr
    assert not (host.root / "usr/share/first").exists()
    assert (host.packages(), host.database()) == (packages, digest)
    assert differences(old, tree(host.root, {}))[:5] == []


def test_accounts_and_files_that_scriptlets_made_go_back_too(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    old = tree(host.root, {})
    script = """useradd -r fresh; echo new > /etc/fresh.conf; ln -s fresh.conf /etc/fresh.link; mkdir /usr/lib/fresh
echo made > /usr/lib/fresh/made; chmod 700 /etc/default; rm /etc/motd
mv /etc/services /etc/services.old; exit 1"""
    done = host.update(depot_on(host, [Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, {"post": script})]))
    assert done.status == 4, done.stdout + done.stderr
    assert differences(old, tree(host.root, {}))[:5] == []
    # What scriptlets made may be somebody else's, made at the same time: it was moved aside, not dropped.
    aside = list((host.root / "var/lib/interlock/undo").glob("*/aside/etc/fresh.conf"))
    assert [path.read_text() for path in aside] == ["new\n"]

"""Shadow and gate on all formats of the database, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Host
from test_concurrency import go_on, until

from interlock.lab.recipe import Recipe

HostOf = Callable[..., Host]
DepotOn = Callable[..., str]


def backend(host: Host) -> str:
    return str(host.json("check")["reasons"][5]["detail"])


def isolation_of(host: Host) -> str:
    return next(record["data"]["kind"] for record in host.journal() if record["name"] == "isolate")


@pytest.mark.parametrize("isolation", ["shadow", "gate"])
def test_ndb(host_of: HostOf, isolation: str) -> None:
    host = host_of("next")  # the one release whose rpm can make it
    host.shell(
        "mkdir -p /etc/rpm && echo '%_db_backend ndb' > /etc/rpm/macros.ndb && rpmdb --rebuilddb && "
        "test -e /var/lib/rpm/Packages.db"
    )
    assert "ndb" in backend(host)
    done = host.update("/srv/depots/next-updates-2", "--isolation", isolation)
    assert done.status == 0, done.stdout + done.stderr
    assert isolation_of(host) == isolation
    assert host.run("rpm", "-q", "lab-tool-12").stdout.startswith("lab-tool-12-2-")
    assert host.run("rpmdb", "--verifydb").status == 0


@pytest.mark.parametrize("release", ["classic", "current", "next"])
def test_behind_the_gate_others_wait_and_then_see_the_new_state(host_of: HostOf, release: str) -> None:
    host = host_of(release)
    host.update(f"/srv/depots/{release}-updates-2", "--dry-run")
    words = ["--isolation", "gate", "--detach"]
    trace = "apply.begin=run:touch /run/is-there; while ! [ -e /run/go-on ]; do sleep 0.02; done"
    host.update(f"/srv/depots/{release}-updates-2", *words, INTERLOCK_TRACE=trace)
    until(lambda: host.shell("test -e /run/is-there", check=False).status == 0)
    host.run("systemd-run", "--unit=reader", "sh", "-c", "rpm -q lab-tool-01 > /run/answer; touch /run/answered")
    until(lambda: "fanotify" in host.shell("cat /proc/$(pgrep -x rpm | head -1)/wchan", check=False).stdout)
    assert host.shell("test -e /run/answered", check=False).status != 0
    go_on(host)
    assert host.states()[-1] == "done"
    until(lambda: host.shell("test -e /run/answered", check=False).status == 0)
    assert "lab-tool-01-2-" in host.shell("cat /run/answer").stdout


def test_a_mount_point_gets_the_gate(host_of: HostOf) -> None:
    host = host_of("current")
    host.shell("mount --bind /var/lib/rpm /var/lib/rpm")
    refused = host.update("/srv/depots/current-updates-2", "--isolation", "shadow")
    assert refused.status == 3
    assert "mount point" in refused.stderr
    assert "--isolation gate" in refused.stderr
    done = host.update("/srv/depots/current-updates-2")
    assert done.status == 0, done.stdout + done.stderr
    assert isolation_of(host) == "gate"
    assert host.run("rpm", "-q", "lab-tool-01").stdout.startswith("lab-tool-01-2-")


def test_a_failure_behind_the_gate_restores_the_database(host_of: HostOf, depot_on: DepotOn) -> None:
    host = host_of("current")
    packages = host.packages()
    bad = Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, {"post": "exit 1"})
    done = host.update(depot_on(host, [bad]), "--isolation", "gate")
    assert done.status == 4, done.stderr
    assert not (host.root / "usr/share/z").exists()
    assert host.packages() == packages
    assert host.run("rpmdb", "--verifydb").status == 0


def test_an_open_database_that_nobody_closes_is_named(host_of: HostOf) -> None:
    host = host_of("current")
    host.run("systemd-run", "--unit=holder", "sh", "-c", "exec sleep 1000 3< /var/lib/rpm/rpmdb.sqlite")
    done = host.update("/srv/depots/current-updates-2", "--isolation", "gate")
    assert done.status == 3, done.stderr
    assert "sleep 1000" in done.stderr
    # The shadow does not mind.
    assert host.update("/srv/depots/current-updates-2").status == 0


def test_the_database_behind_a_link(host_of: HostOf) -> None:
    host = host_of("next")
    host.shell(
        "mkdir -p /usr/lib/sysimage && mv /var/lib/rpm /usr/lib/sysimage/rpm && "
        "ln -s /usr/lib/sysimage/rpm /var/lib/rpm"
    )
    done = host.update("/srv/depots/next-updates-2")
    assert done.status == 0, done.stdout + done.stderr
    assert (host.root / "var/lib/rpm").is_symlink()
    assert host.run("rpm", "-q", "lab-tool-01").stdout.startswith("lab-tool-01-2-")


def test_ordinary_users_can_query_afterwards(host_of: HostOf) -> None:
    host = host_of("current")
    assert host.update("/srv/depots/current-updates-2").status == 0
    found = host.run("su", "nobody", "-s", "/bin/sh", "-c", "rpm -q lab-tool-01")
    assert found.stdout.startswith("lab-tool-01-2-")

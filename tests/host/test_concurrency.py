"""Others at work on the same host: a second update, foreign transactions, readers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab import ssh, state
from interlock.lab.recipe import Recipe

RELEASES = ["classic", "current", "next"]
HostOf = Callable[..., Host]
DepotOn = Callable[..., str]
# The engine stands still at a trace point until the test has done its part.
WAIT = "run:while ! [ -e /run/go-on ]; do sleep 0.02; done"


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true; it is a failure if it does not."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def stopped_at(host: Host, point: str, depot: str) -> None:
    """Start an upgrade in the background and return when its engine stands at a trace point."""
    words = ["env", f"INTERLOCK_TRACE={point}=run:touch /run/is-there; {WAIT[4:]}", "interlock", "update"]
    host.run(*words, "--depot", depot, "--yes", "--detach")
    until(lambda: (host.root / "run").exists() and host.shell("test -e /run/is-there", check=False).status == 0)


def go_on(host: Host) -> None:
    """Let the engine go on and wait for its end."""
    host.shell("touch /run/go-on")
    host.run("interlock", "status", "--follow", check=False)
    until(lambda: host.states()[-1] in ("done", "rolled-back", "held"))


@pytest.mark.parametrize("release", RELEASES)
def test_second_update_names_the_owner(host_of: HostOf, release: str) -> None:
    host = host_of(release)
    depot = f"/srv/depots/{release}-updates-2"
    stopped_at(host, "apply.begin", depot)
    second = host.update(depot)
    assert second.status == 6
    owner = host.json("status")["owner"]
    assert owner["operation"] in second.stderr
    assert f"pid {owner['pid']}" in second.stderr
    assert "ago" in second.stderr
    check = host.run("interlock", "check", check=False)
    assert check.status == 6
    go_on(host)
    assert host.states()[-1] == "done"


@pytest.mark.parametrize("release", RELEASES)
def test_foreign_transaction_without_a_terminal_fails_at_once(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    foreign = depot_on(host, [Recipe("stranger", "1", {"/usr/share/stranger": "x"})])
    stopped_at(host, "apply.begin", f"/srv/depots/{release}-updates-2")
    done = host.shell(f"rpm -U {foreign}/*.rpm < /dev/null", timeout=30, check=False)
    assert done.status != 0
    assert "lock" in done.stderr
    assert host.run("rpm", "-q", "bash", timeout=30).status == 0
    go_on(host)
    assert host.states()[-1] == "done"
    # Afterwards it works, and nothing of the upgrade is lost.
    host.shell(f"rpm -U {foreign}/*.rpm < /dev/null", timeout=30)
    names = host.packages()
    assert any(name.startswith("stranger-1") for name in names)
    assert any(name.startswith("lab-tool-01-2") for name in names)


@pytest.mark.parametrize("release", RELEASES)
def test_foreign_transaction_on_a_terminal_waits_and_loses_nothing(
    host_of: HostOf, depot_on: DepotOn, release: str
) -> None:
    host = host_of(release)
    foreign = depot_on(host, [Recipe("stranger", "1", {"/usr/share/stranger": "x"})])
    stopped_at(host, "apply.begin", f"/srv/depots/{release}-updates-2")
    record = state.load(host.lab.cache, host.name)
    words = [*ssh.ssh_words(host.lab.cache, record, terminal=True), "-t", "--", f"rpm -U {foreign}/*.rpm"]
    waiter = host.lab.runner.start(words)
    until(lambda: "->" in host.shell("cat /proc/locks").stdout)
    go_on(host)
    assert waiter.wait(60) == 0
    names = host.packages()
    assert any(name.startswith("stranger-1") for name in names)
    assert any(name.startswith("lab-tool-01-2") for name in names)
    assert len({name.rsplit("-", 2)[0] for name in names}) == len(names)


@pytest.mark.parametrize("release", RELEASES)
def test_a_foreign_transaction_that_was_first_is_named(host_of: HostOf, depot_on: DepotOn, release: str) -> None:
    host = host_of(release)
    slow = Recipe("stranger", "1", {}, {"post": "touch /run/is-there; while ! [ -e /run/go-on ]; do sleep 0.02; done"})
    foreign = depot_on(host, [slow])
    host.run("systemd-run", "--unit=foreign", "sh", "-c", f"rpm -U {foreign}/*.rpm")
    until(lambda: host.shell("test -e /run/is-there", check=False).status == 0)
    done = host.update(f"/srv/depots/{release}-updates-2")
    assert done.status == 6, done.stderr
    assert f"rpm -U {foreign}/stranger" in done.stderr
    host.shell("touch /run/go-on")
    until(lambda: host.shell("systemctl is-active foreign", check=False).status != 0)
    assert host.update(f"/srv/depots/{release}-updates-2").status == 0


@pytest.mark.parametrize("release", ["current"])
def test_a_stop_of_the_unit_waits_for_the_end(host_of: HostOf, release: str) -> None:
    """``systemctl stop``, as at a shutdown, must not leave half a transaction behind."""
    host = host_of(release)
    stopped_at(host, "apply.begin", f"/srv/depots/{release}-updates-2")
    unit = f"interlock-{host.json('status')['owner']['operation']}.service"
    host.run("systemctl", "stop", "--no-block", unit)
    until(lambda: "deactivating" in host.run("systemctl", "is-active", unit, check=False).stdout)
    go_on(host)
    assert host.states()[-1] == "done"


def test_readers_do_not_notice(host_of: HostOf) -> None:
    """SQLite: queries while a transaction is complete and not committed; none fails, none sees half of it."""
    host = host_of("current")
    stopped_at(host, "applied", "/srv/depots/current-updates-2")
    query = "for i in $(seq 200); do rpm -q bash lab-tool-01 || echo failed; done"
    done = host.shell(query, timeout=120)
    assert "failed" not in done.stdout
    assert done.stdout.count("lab-tool-01-1-") == 200
    assert host.states()[-1] == "applied"
    go_on(host)
    assert host.states()[-1] == "done"


@pytest.mark.parametrize("rounds", [10])
def test_storm(host_of: HostOf, rounds: int) -> None:
    """Berkeley DB, readers killed at random without a pause: every transaction goes through."""
    host = host_of("classic", "storm")
    for number in range(2, rounds + 2):
        depot = host.lab.cache.depots / f"classic-updates-{number}"
        if not depot.exists():
            host.lab.runner.run([*interlock_lab(), "depot", depot.name], timeout=300)
        done = host.update(f"/srv/depots/{depot.name}")
        assert done.status == 0, done.stdout + done.stderr
        assert host.states()[-1] == "done"
    storm = host.json_file("var/log/interlock-lab/interlock-lab-storm.json")
    assert storm["kills"] > rounds


def interlock_lab() -> list[str]:
    import sys  # noqa: PLC0415

    return [sys.executable, "-m", "interlock", "lab"]


def test_scriptlets_have_their_usual_place(host_of: HostOf, depot_on: DepotOn) -> None:
    """What rpm itself does stands behind others; a daemon that a scriptlet starts must not inherit that."""
    host = host_of("current")
    script = "nice >> /root/nice"
    recipe = Recipe("lab-tool-01", "90", {"/usr/share/z": "z"}, {"pre": script, "post": script, "posttrans": script})
    done = host.update(depot_on(host, [recipe]))
    assert done.status == 0, done.stderr
    assert (host.root / "root/nice").read_text() == "0\n0\n0\n"

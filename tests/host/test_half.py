"""Plain ``rpm`` is killed in the middle of an upgrade: the host is found, held, guarded, and made whole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Host

from interlock.lab.handle import HostHandle
from interlock.lab.recipe import Recipe

HostOf = Callable[..., Host]
OUTPUT = "var/log/cut-off.out"
NEXT = {"classic": "/srv/depots/classic-current", "current": "/srv/depots/current-next"}
# Where rpm is killed, by the packages that it has begun. At 50 on classic its libraries are new, its bindings old; at
# 240 it removes old packages. Few, where each takes long; `make soak` takes all.
SOAK = os.environ.get("INTERLOCK_POINTS") == "all"
CUTS = [("classic", 50), ("current", 40), *([("classic", 20), ("classic", 240), ("classic", 300)] if SOAK else [])]


def start_rpm(host: Host, depot: str) -> int:
    """Begin a whole-system upgrade with plain rpm, and return its pid as this machine numbers it."""
    command = f"cd /; setsid rpm -Uvh {depot}/*.rpm >/{OUTPUT} 2>&1 </dev/null &"
    (host.root / OUTPUT).unlink(missing_ok=True)
    host.shell(command)
    return waited(lambda: next(iter(pids_of(host, "rpm")), 0))


def pids_of(host: Host, name: str) -> list[int]:
    """Return the host's processes of a name, as this machine numbers them."""
    found = []
    for pid in HostHandle(host.lab, host.name).pids():
        try:
            command = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        found += [pid] if command == name else []
    return sorted(found)


def waited(look: Callable[[], int]) -> int:
    """Return what a look finds as soon as it finds something."""
    deadline = time.monotonic() + 120
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.005)


def packages_said(host: Host) -> int:
    """Return how many packages rpm says that it has begun, from outside: inside, no program may run just now."""
    try:
        return (host.root / OUTPUT).read_text(errors="replace").count("#\n") - 1
    except OSError:
        return 0


def cut_off(host: Host, depot: str, packages: int) -> None:
    """Kill rpm when it has begun a number of packages; count the removals of old ones too."""
    pid = start_rpm(host, depot)
    waited(lambda: packages_said(host) >= packages)
    os.kill(pid, signal.SIGKILL)
    waited(lambda: not Path(f"/proc/{pid}").exists())


def held(host: Host, wanted: str) -> None:
    """Assert that the host is found, named, guarded, and not upgraded."""
    check = host.run("interlock", "check", check=False)
    assert check.status == 5, check.stdout + check.stderr
    assert "was cut off" in check.stdout
    assert wanted in check.stdout
    assert "`interlock resume --depot DIR`" in check.stdout
    assert host.run("systemctl", "reboot", check=False).status != 0
    assert host.run("interlock", "reboot", "--yes", check=False).status == 3
    for verb in (["update", "--yes"], ["stage"]):
        refused = host.run("interlock", *verb, "--depot", "/srv/depots/classic-base", check=False)
        assert (refused.status, "on hold" in refused.stderr) == (5, True), refused.stdout + refused.stderr


def whole(host: Host) -> None:
    """Assert that nothing is left of it."""
    check = host.run("interlock", "check", check=False)
    assert check.status == 0, check.stdout + check.stderr
    assert host.run("interlock", "guard", check=False).status == 0
    assert host.json("status")["hold"] is None
    # No file has another content, mode, owner or link than its package says, nor is one missing or a requirement unmet.
    assert host.shell("rpm -Va 2>/dev/null | grep -v ' c /' | grep -v '^.........  *g '", check=False).stdout == ""
    assert host.shell("rpm -qa --qf '%{NAME}\\n' | grep -v gpg-pubkey | sort | uniq -d").stdout == ""
    assert host.shell("find /usr /etc /opt -name '*;*'").stdout == ""


@pytest.mark.parametrize(("release", "packages"), CUTS)
def test_rpm_killed_in_the_middle_of_a_release_is_completed(host_of: HostOf, release: str, packages: int) -> None:
    host = host_of(release)
    cut_off(host, NEXT[release], packages)
    # When old packages are removed already, that of the release was among the first.
    held(host, "lab-release-" if packages < 240 else "packages are there in two versions")
    done = host.run("interlock", "resume", "--yes", "--depot", NEXT[release], check=False, timeout=200)
    assert done.status == 0, done.stdout + done.stderr
    assert "the host is whole" in done.stdout
    whole(host)
    wanted = host.shell(f"cd {NEXT[release]}; rpm -qp --nosignature --qf '%{{NAME}} %{{NEVRA}}\\n' *.rpm").stdout
    there = set(host.packages())
    newest = dict(line.split() for line in wanted.splitlines())
    assert {name for name, nevra in newest.items() if nevra in there} >= {"lab-release", "libc6", "rpm", "python3-rpm"}
    assert not [one for one in there if one.rsplit("-", 2)[0] in newest and one != newest[one.rsplit("-", 2)[0]]]
    assert HostHandle(host.lab, host.name).reboot() is not None
    assert host.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"


if SOAK:

    @pytest.mark.parametrize("packages", [5, 30])
    def test_rpm_killed_early_in_a_release_is_undone(host_of: HostOf, packages: int) -> None:
        host = host_of("classic")
        before = host.packages()
        cut_off(host, NEXT["classic"], packages)
        done = host.run("interlock", "resume", "--yes", "--depot", "/srv/depots/classic-base", check=False, timeout=200)
        assert done.status == 0, done.stdout + done.stderr
        assert host.packages() == before
        whole(host)


PATHS = {name: f"/opt/half/{name}" for name in ("one", "two")}
WAITS = "touch /run/in-pre; while [ ! -e /run/go-on ]; do sleep 0.02; done"


def recipes(version: str, script: str = ":") -> list[Recipe]:
    """Return two packages, the second of which comes after the first."""
    return [
        Recipe("one", version, {PATHS["one"]: f"one {version}"}),
        Recipe("two", version, {PATHS["two"]: f"two {version}"}, {"pre": script}, requires=[f"one = {version}-1"]),
    ]


@pytest.fixture
def small(host_of: HostOf, depot_on: Callable[..., str]) -> tuple[Host, str, str]:
    """Return a host with two packages whose upgrade stands in the middle, and the depots from before and after."""
    host = host_of("current")
    before, after = depot_on(host, recipes("1")), depot_on(host, recipes("2", WAITS))
    host.shell(f"rpm -U {before}/*.rpm && chmod 700 /usr/bin/cmp && echo mine >> /etc/issue")
    # rpm knows a transaction by the second in which it began.
    host.shell("begun=$(date +%s); while [ $(date +%s) = $begun ]; do sleep 0.05; done")
    host.shell(f"setsid rpm -U {after}/*.rpm >/dev/null 2>&1 </dev/null &")
    waited(lambda: int(host.run("test", "-e", "/run/in-pre", check=False).status == 0))
    return host, before, after


def killed(host: Host) -> None:
    """Kill rpm; its scriptlet goes on until it is told to end."""
    host.shell("kill -9 $(pgrep -x rpm)")


def test_a_transaction_that_runs_is_named_and_not_held(small: tuple[Host, str, str]) -> None:
    host, _, _ = small
    check = host.run("interlock", "check", check=False)
    assert (check.status, "rpm -U" in check.stdout) == (6, True), check.stdout
    assert host.json("status")["hold"] is None
    host.shell("touch /run/go-on")
    waited(lambda: int(host.run("pgrep", "-x", "rpm", check=False).status != 0))
    assert host.run("interlock", "check", check=False).status == 0
    assert host.run("interlock", "resume", check=False).status == 0
    assert host.json("status")["hold"] is None
    assert host.run("cat", *PATHS.values()).stdout == "one 2two 2"


def test_without_packages_the_host_stays_on_hold_and_what_is_missing_is_named(
    small: tuple[Host, str, str], depot_on: Callable[..., str]
) -> None:
    host, _, after = small
    killed(host)
    held(host, "one-2-1.noarch")
    host.shell("touch /run/go-on")
    there = host.packages()
    for words in ([], ["--depot", "/srv/depots/current-updates-2"]):
        done = host.run("interlock", "resume", "--yes", *words, check=False)
        assert done.status == 5, done.stdout + done.stderr
        assert "one-2-1.noarch" in done.stderr
        assert "one-1-1.noarch" in done.stderr
    fails = depot_on(host, recipes("3", "exit 1"))
    done = host.run("interlock", "resume", "--yes", "--depot", fails, check=False)
    assert done.status == 5, done.stdout + done.stderr
    assert host.packages() == there, done.stdout + done.stderr
    assert host.json("status")["hold"]["operation"] == "foreign"
    assert host.run("systemctl", "reboot", check=False).status != 0
    assert host.run("interlock", "resume", "--yes", "--depot", after).status == 0
    assert {"one-2-1.noarch", "two-2-1.noarch"} <= set(host.packages())
    assert host.run("cat", *PATHS.values()).stdout == "one 2two 2"
    assert host.run("interlock", "check", check=False).status == 0
    assert host.run("interlock", "guard", check=False).status == 0
    assert host.run("interlock", "rollback", "--yes", check=False).status == 2


def test_the_packages_from_before_undo_it(small: tuple[Host, str, str]) -> None:
    host, before, _ = small
    killed(host)
    host.shell("touch /run/go-on")
    done = host.run("interlock", "resume", "--yes", "--depot", before, check=False)
    assert done.status == 0, done.stdout + done.stderr
    assert {"one-1-1.noarch", "two-1-1.noarch"} <= set(host.packages())
    assert "one-2-1.noarch" not in host.packages()
    assert host.run("cat", *PATHS.values()).stdout == "one 1two 1"
    assert host.run("interlock", "check", check=False).status == 0

"""A whole operating system in one update, in a storm, the connection cut, the interpreter's library gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from conftest import Host

from interlock.lab import ssh, state, verbs

HostOf = Callable[..., Host]
STEPS = {"classic": "current", "current": "next"}


def until(what: Callable[[], bool], seconds: float) -> None:
    """Wait for something to become true; it is a failure if it does not."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def answers(host: Host) -> bool:
    return ssh.answers(host.lab.cache, state.load(host.lab.cache, host.name), host.lab.runner)


def reboot(host: Host) -> None:
    """Reboot over ssh and wait for the new boot."""
    before = host.run("cat", "/proc/1/stat").stdout.split()[21]
    host.run("systemctl", "reboot", check=False)

    def is_new() -> bool:
        return answers(host) and host.run("cat", "/proc/1/stat", check=False).stdout.split()[21:22] != [before]

    until(is_new, 180)


def planned(host: Host, depot: str) -> list[str]:
    """Return the packages that the host must have afterwards, from its own plan and what it has now."""
    plan = host.json("update", "--depot", depot, "--dry-run", "--yes")["plan"]
    gone = {old for upgrade in plan["upgrades"] for old in upgrade["from"]}
    gone |= {removal["package"] for removal in plan["removals"]}
    new = {upgrade["to"] for upgrade in plan["upgrades"]} | set(plan["installs"])
    return sorted((set(host.packages()) - gone) | new)


@pytest.mark.parametrize("release", list(STEPS))
def test_connection_cut_in_the_middle(host_of: HostOf, release: str) -> None:
    """The terminal dies with its whole session while rpm is at work; the upgrade does not notice."""
    host = host_of(release)
    depot = f"/srv/depots/{release}-{STEPS[release]}"
    expected = planned(host, depot)
    record = state.load(host.lab.cache, host.name)
    verbs.switch_agent(host.lab, host.name, "storm", True)
    words = [*ssh.ssh_words(host.lab.cache, record), "--", f"interlock update --depot {depot} --yes"]
    client = host.lab.runner.start(words)
    folder = host.root / "var/lib/interlock/operations"
    until(lambda: any("element.started" in path.read_text() for path in folder.glob("*/events.jsonl")), 60)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    until(lambda: host.states()[-1] in ("done", "held", "rolled-back"), 180)
    assert host.states()[-1] == "done"
    reboot(host)
    wanted = [name for name in expected if not name.startswith("gpg-pubkey")]
    assert [name for name in host.packages() if not name.startswith("gpg-pubkey")] == wanted
    assert f'VERSION_ID="{13 if release == "current" else 12}"' in host.run("cat", "/etc/os-release").stdout
    assert (host.root / "var/lib/rpm/rpmdb.sqlite").exists()
    assert host.run("interlock", "check", check=False).status == 0
    assert host.run("rpm", "-Va", "--noconfig", timeout=300, check=False).stdout == ""


def test_the_interpreter_loses_its_library(host_of: HostOf) -> None:
    """At the point of no return Python's whole library is deleted; the engine has all it needs."""
    host = host_of("current")
    before = host.run("sh", "-c", "echo /usr/lib/python3*").stdout.split()
    done = host.update(
        "/srv/depots/current-updates-2", INTERLOCK_TRACE="apply.begin=run:mv /usr/lib/python3.11 /usr/lib/gone"
    )
    # The front end, a separate process that waits, has loaded what it needs as well.
    assert done.status == 0, done.stdout + done.stderr
    assert host.states()[-1] == "done"
    assert before
    assert host.shell("test -e /usr/lib/python3.11", check=False).status != 0
    assert host.run("rpm", "-q", "lab-tool-01").stdout.startswith("lab-tool-01-2")

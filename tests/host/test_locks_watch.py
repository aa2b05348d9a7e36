"""`interlock locks --watch` on a real host: a proven deadlock is told within a second, and Ctrl-C ends it cleanly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Host

from interlock.lab.recipe import Recipe, build
from interlock.lab.signing import SigningKey, sign

WITHIN_SECONDS = 1.0
INNER = Recipe("watched-inner")
OUTER = Recipe("watched-outer", scripts={"pre": "rpm -i /srv/case/watched-inner-1-1.noarch.rpm </dev/tty"})
OUTPUT = "/run/watch.jsonl"

# Notes when the host's own kernel last had nobody waiting for a lock of the host, and when it first had.
SAMPLER = """\
import sys, time
last = time.time()
while True:
    now = time.time()
    with open("/proc/locks") as stream:
        waits = [line.split()[5] for line in stream if " -> " in line]
    if any(pid not in ("0", "-1") for pid in waits):
        print(last)
        sys.exit()
    last = now
    time.sleep(0.002)
"""


@pytest.fixture
def deadlocking(host_of: Callable[..., Host], tmp_path: Path, lab_key: SigningKey) -> Callable[[str], Host]:
    """Return a function that boots a host with a package on it whose installation waits for itself."""

    def make(release: str) -> Host:
        host = host_of(release)
        made = build((INNER, OUTER), host.root / "srv/case", tmp_path, host.lab.runner)
        sign(made, lab_key, host.lab.runner)
        (host.root / "srv/case/sampler.py").write_text(SAMPLER)
        return host

    return make


def start_deadlock(host: Host, number: int) -> float:
    """Start the transaction on a terminal; return the last moment at which there was no circle yet."""
    install = "script -qec 'rpm -i /srv/case/watched-outer-1-1.noarch.rpm' /dev/null"
    host.run("systemd-run", "--quiet", f"--unit=watched-{number}", "--", "sh", "-c", f"sleep 0.5; exec {install}")
    return float(host.run("python3", "/srv/case/sampler.py", timeout=30).stdout)


def events(host: Host) -> list[dict[str, Any]]:
    path = host.root / OUTPUT.lstrip("/")
    text = host.run("cat", OUTPUT).stdout if not path.exists() else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def wait_for(host: Host, event: str, times: int) -> dict[str, Any]:
    """Return an event of a deadlock, the one that makes it so many."""
    count = f'grep -c \'"event": "{event}".*"kind": "deadlock"\' {OUTPUT}'
    host.shell(f'until test "$({count})" -ge {times}; do sleep 0.05; done', timeout=20)
    return [one for one in events(host) if (one["event"], one["kind"]) == (event, "deadlock")][times - 1]


@pytest.mark.parametrize("release", ["classic", "current"])
def test_a_deadlock_is_proven_within_a_second_of_its_existence(
    deadlocking: Callable[[str], Host], release: str
) -> None:
    host = deadlocking(release)
    host.run(
        "systemd-run", "--quiet", "--unit=watch", f"--property=StandardOutput=file:{OUTPUT}",
        "--setenv=PYTHONUNBUFFERED=1", "--", "interlock", "locks", "--watch", "--json",
    )  # fmt: skip
    host.shell("sleep 1; systemctl is-active watch")
    for number in (1, 2, 3):
        existed = start_deadlock(host, number)
        told = wait_for(host, "appeared", number)
        assert told["at"] - existed <= WITHIN_SECONDS
        commands = host.run("ps", "-o", "args=", "-p", ",".join(map(str, told["pids"]))).stdout
        assert "watched-inner" in commands
        assert "watched-outer" in commands
        assert host.run("interlock", "locks", check=False).status == 3
        host.run("systemctl", "kill", "--signal=KILL", f"watched-{number}")
        assert wait_for(host, "ended", number)["pids"] == told["pids"]
        # Killed inside of a Berkeley DB environment, it may have left every later rpm to fail: not what is tried here.
        host.shell("rm -f /var/lib/rpm/__db.*")
    host.run("systemctl", "kill", "--signal=INT", "watch")
    host.shell("while systemctl is-active --quiet watch; do sleep 0.05; done", timeout=20)
    assert "watch.service: Failed" not in host.run("journalctl", "--unit=watch", "--no-pager").stdout


def test_ctrl_c_ends_it_cleanly_and_the_status_says_whether_anybody_is_left(
    deadlocking: Callable[[str], Host],
) -> None:
    host = deadlocking("current")
    for arguments in ([], ["--json"]):
        done = host.run("timeout", "--preserve-status", "-s", "INT", "2", "interlock", "locks", "--watch", *arguments,
                        check=False)  # fmt: skip
        assert (done.status, done.stdout, done.stderr) == (0, "", "")
    start_deadlock(host, 1)
    done = host.run("timeout", "--preserve-status", "-s", "INT", "2", "interlock", "locks", "--watch", check=False)
    assert (done.status, done.stderr) == (3, "")
    assert done.stdout.count("+ deadlock, proven") == 1


def test_a_look_from_outside_shows_both_pids(deadlocking: Callable[[str], Host]) -> None:
    host = deadlocking("current")
    start_deadlock(host, 1)
    inside = host.json("locks")
    program = str(Path(__file__).resolve().parents[2] / ".venv/bin/interlock")
    done = host.lab.runner.run([program, "locks", "--json", "--root", str(host.root)], check=False)
    assert done.status == 3
    outside = json.loads(done.stdout)
    theirs = {lock["inner"]: lock["pid"] for lock in outside["locks"]}
    assert set(theirs) == {lock["pid"] for lock in inside["locks"]}
    assert all(inner != outer for inner, outer in theirs.items())
    assert len(outside["cycles"]) == len(inside["cycles"]) == 1
    waiter = next(lock for lock in outside["locks"] if lock["waits"])
    assert any(f"(pid {waiter['pid']}, {waiter['inner']} inside)" in node["label"] for node in outside["nodes"])

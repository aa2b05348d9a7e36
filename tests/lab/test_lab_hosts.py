"""The lab for real: a host is made, used, broken and removed, and nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.lab import groups
from interlock.lab.cache import Cache, default_home

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("systemd-nspawn"), reason="needs root and nspawn"),
]
CACHE = Cache(default_home(os.environ))
NAME = "test-lab"


def lab_words(*words: str) -> list[str]:
    return [sys.executable, "-m", "interlock.cli.lab", *words]


def lab(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(lab_words(*words), input=given, capture_output=True, text=True, timeout=600, check=False)


def lab_json(*words: str) -> Any:
    done = lab(*words, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def row_of(name: str) -> Any:
    return next((row for row in lab_json("list") if row["name"] == name), None)


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    lab("down", NAME)
    (row,) = lab_json("up", NAME, "--release", "classic")
    yield row
    lab("down", NAME)
    assert not Path(row["root"]).exists()
    assert NAME not in groups.host_groups(CACHE)


def test_the_exit_status_and_the_input_are_passed_through(host: Any) -> None:
    done = lab("exec", NAME, "--", "sh", "-c", 'read word; echo "$word  $1"; exit 7', "sh", "two  words", given="one\n")
    assert (done.returncode, done.stdout) == (7, "one  two  words\n")


def test_every_file_is_as_its_package_says_and_the_database_is_the_release_s(host: Any) -> None:
    assert lab("exec", NAME, "--", "rpm", "-Va").stdout == ""
    assert (Path(host["root"]) / "var/lib/rpm/Packages").exists()
    assert lab("exec", NAME, "--", "systemctl", "is-system-running", "--wait").stdout == "running\n"


def test_no_path_of_the_system_is_without_an_owner(host: Any) -> None:
    script = "rpm -qal | sort -u > /tmp/owned; find /usr /boot -xdev | sort | comm -23 - /tmp/owned"
    unowned = lab("exec", NAME, "--", "sh", "-c", script).stdout.split()
    assert [path for path in unowned if not path.startswith("/usr/local/")] == []


def test_all_depots_are_there_and_signed_by_a_key_that_the_host_knows(host: Any) -> None:
    depot = Path(lab_json("depot", "classic-updates-2")[0])
    assert (depot / "repodata/repomd.xml").exists()
    checked = lab("exec", NAME, "--", "sh", "-c", "rpmkeys -K /srv/depots/classic-base/*.rpm").stdout.splitlines()
    assert len(checked) > 200
    assert [line for line in checked if not line.endswith(": digests signatures OK")] == []


def test_an_update_installs_with_its_scriptlets(host: Any) -> None:
    assert lab("exec", NAME, "--", "sh", "-c", "rpm -U /srv/depots/classic-updates-2/*.rpm").returncode == 0
    assert lab("exec", NAME, "--", "rpm", "-q", "lab-tool-07").stdout == "lab-tool-07-2-lab1.noarch\n"


def test_the_release_can_be_upgraded_in_one_transaction(host: Any) -> None:
    lab_json("depot", "classic-current")
    done = lab("exec", NAME, "--", "sh", "-c", "rpm -U --test /srv/depots/classic-current/*.rpm")
    assert done.returncode == 0, done.stderr


def test_a_second_host_of_that_name_is_refused(host: Any) -> None:
    done = lab("up", NAME, "--release", "classic")
    assert done.returncode == 2
    assert f"has a host {NAME} already; it is up" in done.stderr


def test_a_restart_inside_keeps_the_address(host: Any) -> None:
    before = lab("exec", NAME, "--", "cat", "/proc/1/stat").stdout.split()[21]
    lab("exec", NAME, "--", "systemctl", "reboot")
    limit = time.monotonic() + 30
    after = before
    while after in ("", before) and time.monotonic() < limit:
        words = lab("exec", NAME, "--", "cat", "/proc/1/stat").stdout.split()
        after = words[21] if words else ""
    assert after not in ("", before)
    assert row_of(NAME)["address"] == host["address"]


def test_after_a_power_cut_the_host_is_off_and_boots_again(host: Any) -> None:
    assert lab_json("power-cut", NAME)["state"] == "off"
    assert groups.members(CACHE, NAME) == []
    refused = lab("exec", NAME, "--", "true")
    assert (refused.returncode, "does not run" in refused.stderr) == (2, True)
    assert lab_json("boot", NAME)["state"] == "up"


def test_agents_start_and_stop(host: Any) -> None:
    assert lab_json("agent", NAME, "start", "insight")["agents"] == ["insight"]
    active = lab("exec", NAME, "--", "systemctl", "is-active", "hp-health.service", "hpsmhd.service").stdout
    assert active == "active\nactive\n"
    assert lab_json("agent", NAME, "stop", "insight")["agents"] == []
    lab("exec", NAME, "--", "sh", "-c", "rm -f /var/lib/rpm/__db.*")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("seconds", [0.35, 0.6, 1.0])
def test_what_a_killed_command_leaves_is_removed_by_the_next(seconds: float) -> None:
    name = "test-lab-killed"
    child = subprocess.Popen(lab_words("up", name, "--release", "classic"), stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    row = row_of(name)
    if row is not None:
        # It was up already: then it is a whole host, and not a leftover.
        assert row["state"] == "up"
        lab("down", name)
    assert not (CACHE.roots / name).exists()
    assert not (CACHE.state / f"{name}.json").exists()
    assert name not in groups.host_groups(CACHE)


@pytest.mark.usefixtures("host")
def test_a_host_whose_keeper_was_killed_is_off_and_all_its_processes_are_ended() -> None:
    keeper = json.loads((CACHE.state / f"{NAME}.json").read_text())["keeper"]["pid"]
    os.kill(keeper, signal.SIGKILL)
    listed = lab("list")
    assert f"of the host {NAME}, which is off" in listed.stderr
    assert groups.members(CACHE, NAME) == []
    assert lab_json("boot", NAME)["state"] == "up"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "x", "--release", "old"], "classic, current, next"),
        (["up", "x", "--release", "classic", "--agent", "thunder"], "insight, storm, reader"),
        (["up", "X", "--release", "classic"], "cannot be the name"),
        (["exec", "nobody", "--", "true"], "no host nobody"),
        (["down", "nobody"], "no host nobody"),
        (["depot", "nowhere"], "classic-current"),
        (["down"], "--all"),
    ],
)
def test_wrong_names_are_usage_errors_that_say_what_there_is(words: list[str], said: str) -> None:
    done = lab(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_without_root_nothing_is_made(tmp_path: Path) -> None:
    home = tmp_path / "cache"
    environment = {**os.environ, "INTERLOCK_CACHE": str(home)}
    script = "import os, sys; os.geteuid = lambda: 1000; from interlock.cli.lab import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "up", "a", "--release", "classic"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "not root" in done.stderr
    assert not home.exists()

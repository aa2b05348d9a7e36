"""Rehearsal in a container: costs little more than the boot, sees what is broken, touches and leaves nothing."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Host

from interlock.lab import verbs
from interlock.lab.cache import delete_subvolume, snapshot

RELEASES = ("classic", "current", "next")
OVERHEAD_SECONDS = 5.0
REHEARSE = """
import json, sys
sys.path.insert(0, "/usr/local/bin/interlock")
from interlock.boot.rehearse import rehearse
from interlock.host.context import this_host
from interlock.system import linux
root, limit, snapshots = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "yes"
def refuse(*words):
    raise OSError(95, "no snapshots here")
if not snapshots:
    linux.snapshot_subvolume = refuse
print(json.dumps(rehearse(this_host(), "container", root, limit).to_json()))
"""
LEFT = (
    "grep -c interlock-rehearsal /proc/mounts; "
    "systemctl list-units --all --no-legend 'interlock-rehearsal-*'; "
    "pgrep -xl unshare; "
    "find /var/lib/interlock/rehearsals -mindepth 2 ! -name console.log"
)
HANGS = (
    "[Unit]\nDescription=Never ends\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n"
)
PROBES = """#!/bin/sh
touch /root/written-in-the-rehearsal
mknod /tmp/disk b 7 0 2>/dev/null && echo "probe: device made"
date -s "$(date)" >/dev/null 2>&1 && echo "probe: clock set"
setting=/proc/sys/kernel/panic_on_oops
cat $setting > /tmp/setting
cp /tmp/setting $setting 2>/dev/null && echo "probe: kernel setting written"
[ -e /run/marker-of-the-host ] && echo "probe: sees /run"
[ "$(ls /sys/class/net)" = lo ] || echo "probe: has a network: $(ls /sys/class/net)"
pgrep -f marker-process-of-the-host >/dev/null && echo "probe: sees processes"
echo "probe: over, as process 1 of $(cat /proc/1/comm)"
"""


def rehearse(host: Host, root: str = "/", limit: float = 60.0, snapshots: bool = True) -> dict[str, Any]:
    """Rehearse on the host itself; return what `--json` would print."""
    words = ["python3", "-c", REHEARSE, root, str(limit), "yes" if snapshots else "no"]
    found: dict[str, Any] = json.loads(host.run(*words, timeout=limit + 60).stdout)
    return found


def nothing_left(host: Host) -> bool:
    """Say whether no mount, unit, process or file of a rehearsal is there; a unit needs a moment to be forgotten."""
    for _ in range(50):
        left = host.shell(LEFT, check=False).stdout.split("\n", 1)
        if left[0] == "0" and not left[1].strip():
            return True
        time.sleep(0.1)
    print(left)
    return False


@pytest.fixture(scope="module")
def current(lab: Any, new_host: Callable[..., Host]) -> Iterator[Host]:
    """Return one host for all tests that break copies of it and not the host."""
    host = new_host("current")
    yield host
    verbs.down(lab, [host.name], False)


@pytest.fixture
def copy(current: Host) -> Iterator[Path]:
    """Return a copy of the host's root that it sees as /srv/copy."""
    path = current.root / "srv/copy"
    snapshot(current.root, path, current.lab.runner)
    yield path
    delete_subvolume(path, current.lab.runner)


def add_unit(root: Path, name: str, text: str) -> None:
    """Add a unit that multi-user.target waits for."""
    (root / "etc/systemd/system" / name).write_text(text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / name).symlink_to(f"../{name}")


@pytest.mark.parametrize("release", RELEASES)
def test_a_healthy_host_passes_at_little_more_than_its_boot(host_of: Callable[..., Host], release: str) -> None:
    host = host_of(release)
    with_snapshot, without = rehearse(host), rehearse(host, snapshots=False)
    for done, kind in ((with_snapshot, "btrfs snapshot"), (without, "overlay")):
        beyond = done["seconds"] - done["boot_seconds"]
        print(f"{release}, {kind}: {done['seconds']} s, {beyond:.2f} s beyond the boot")
        assert done["passed"], done
        assert kind in done["notes"][0]
        assert 0 < done["boot_seconds"] < done["seconds"]
        assert beyond <= OVERHEAD_SECONDS
        assert "Multi-User System" in (host.root / done["console"].lstrip("/")).read_text()
    assert nothing_left(host)


def test_a_user_space_that_hangs_is_caught_by_the_silence(current: Host, copy: Path) -> None:
    add_unit(copy, "never-ends.service", HANGS)
    done = rehearse(current, "/srv/copy", limit=4.0)
    assert [reason["id"] for reason in done["reasons"]] == ["rehearsal-hung"]
    assert "it waited for: never-ends.service" in done["reasons"][0]["detail"]
    assert not done["passed"]
    assert done["seconds"] < 4.0 + OVERHEAD_SECONDS
    assert nothing_left(current)


def _empty_libc(root: Path) -> None:
    next((root / "usr/lib").glob("*/libc.so.6")).write_bytes(b"")


def _half_libc(root: Path) -> None:
    path = next((root / "usr/lib").glob("*/libc.so.6"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _no_libcrypto(root: Path) -> None:
    next((root / "usr/lib").glob("*/libcrypto.so.3")).unlink()


def _no_init(root: Path) -> None:
    (root / "usr/sbin/init").unlink()


def _no_target(root: Path) -> None:
    (root / "usr/lib/systemd/system/multi-user.target").unlink()


def _bad_sshd(root: Path) -> None:
    (root / "etc/ssh/sshd_config").write_text("Nonsense yes\n")


@pytest.mark.parametrize(
    ("damage", "identity", "word"),
    [
        (_empty_libc, "rehearsal-panic", "libc.so.6"),
        (_half_libc, "rehearsal-no-init", "status"),
        (_no_libcrypto, "rehearsal-panic", "libcrypto.so.3"),
        (_no_init, "rehearsal-no-init", "init"),
        (_no_target, "rehearsal-panic", "target"),
        (_bad_sshd, "rehearsal-unit-failed", "Nonsense"),
    ],
)
def test_a_broken_system_is_denied(
    current: Host, copy: Path, damage: Callable[[Path], None], identity: str, word: str
) -> None:
    damage(copy)
    done = rehearse(current, "/srv/copy", limit=12.0)
    assert not done["passed"]
    assert identity in [reason["id"] for reason in done["reasons"]], done
    assert any(word in reason["detail"] and reason["advice"] for reason in done["reasons"]), done
    assert nothing_left(current)


def test_a_unit_that_fails_on_the_running_host_too_does_not_deny(current: Host, copy: Path) -> None:
    failing = "[Unit]\nDescription=Fails\n[Service]\nType=oneshot\nExecStart=/bin/false\n"
    add_unit(copy, "fails.service", failing)
    assert [reason["subject"] for reason in rehearse(current, "/srv/copy")["reasons"]] == ["fails.service"]
    current.shell("systemd-run --unit=fails /bin/false; while systemctl -q is-active fails; do :; done")
    done = rehearse(current, "/srv/copy")
    current.run("systemctl", "reset-failed", "fails.service")
    assert done["passed"], done
    assert any("as on the running host" in note for note in done["notes"])


def test_reboot_with_a_rehearsal_refuses_after_a_failed_one(current: Host) -> None:
    add_unit(
        current.root, "fails.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no such luck; exit 3'\n"
    )
    booted = current.shell("cat /proc/1/stat").stdout.split()[21]
    done = current.run("interlock", "reboot", "--rehearse", "--yes", "--json", check=False)
    (current.root / "etc/systemd/system/multi-user.target.wants/fails.service").unlink()
    said = json.loads(done.stdout)
    assert done.status == 3
    assert [reason["subject"] for reason in said["reasons"]] == ["fails.service"]
    assert "no such luck" in said["reasons"][0]["detail"]
    assert current.shell("cat /proc/1/stat").stdout.split()[21] == booted


def test_the_copy_reaches_nothing_of_the_host(current: Host, copy: Path) -> None:
    current.shell("touch /run/marker-of-the-host; systemd-run --unit=marker sh -c 'exec -a marker-process-of-the-host"
                  " sleep 300 || exec sleep 300'")  # fmt: skip
    (copy / "usr/bin/probes").write_text(PROBES)
    (copy / "usr/bin/probes").chmod(0o755)
    unit = "[Service]\nType=oneshot\nExecStart=/usr/bin/probes\nStandardOutput=journal+console\n"
    add_unit(copy, "probes.service", unit)
    done = rehearse(current, "/srv/copy")
    console = (current.root / done["console"].lstrip("/")).read_text()
    said = [line[line.index("probe:") :].strip() for line in console.splitlines() if "probe:" in line]
    assert said == ["probe: over, as process 1 of systemd"], console
    assert not (copy / "root/written-in-the-rehearsal").exists()
    current.run("systemctl", "stop", "marker")
    assert done["passed"], done


def test_what_a_killed_rehearsal_leaves_is_removed_by_the_next(current: Host, copy: Path) -> None:
    add_unit(copy, "never-ends.service", HANGS)
    start = ["systemd-run", "--unit=killed", "python3", "-c", REHEARSE.replace("%", "%%"), "/srv/copy", "60", "yes"]
    current.run(*start)
    base = current.root / "var/lib/interlock/rehearsals"
    current.shell("until grep -qs 'Never ends\\|never-ends' /var/lib/interlock/rehearsals/*/console.log; do sleep 0.1;"
                  " done", timeout=30)  # fmt: skip
    current.run("systemctl", "kill", "--kill-who=main", f"--signal={int(signal.SIGKILL)}", "killed")
    assert list(base.glob("*/picture"))
    assert rehearse(current)["passed"]
    assert nothing_left(current)
    shutil.rmtree(base)

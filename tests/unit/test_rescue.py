"""The rescue of the initramfs: its script is run by two shells on a real tree, cut off at any line, and run again."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_undo import BROUGHT, REPLACED, linked_apart, manifest, owned, put, replace, upgrade

from interlock.boot import rescue, rescue_install
from interlock.boot.rescue_mounts import Mount, mounts_of
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace
from interlock.upgrade.undo_entry import Entry, read_manifest
from interlock.upgrade.undo_keep import Concern, Keeper
from interlock.upgrade.undo_restore import Restorer

DATA = Path(rescue.__file__).parent / "data"
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}
OPERATION = "20260101T000000-1"
ODD = "etc/odd \\t na\tme\n"
SEED = 4


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[request.param]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    root = tmp_path / "root"
    put(root / "usr/bin/tool", "tool 1", 0o4755)
    put(root / "usr/bin/plain", "plain 1", 0o755)
    put(root / "usr/lib/libc-1.so", "libc 1", 0o755)
    put(root / "usr/lib/cache", "made by a scriptlet")
    put(root / "usr/lib/old/only", "goes away")
    put(root / "usr/share/doc/file", "a directory that becomes a link")
    put(root / "etc/passwd", "root:x:0:0\n")
    put(root / "etc/shadow", "root:!\n", 0o600)
    put(root / ODD, "an odd name")
    put(root / "boot/vmlinuz", "kernel 1")
    put(root / "usr/share/theme/1/file", "theme 1")
    os.symlink("usr/lib", root / "lib")
    os.symlink("libc-1.so", root / "usr/lib/libc.so.6")
    os.symlink("libc.so.6", root / "usr/lib/libc.so")
    os.symlink("1", root / "usr/share/theme/default")
    os.link(root / "usr/bin/plain", root / "usr/bin/twin")
    return Host(Paths(str(root)), Runner(), SystemClock(), ProcReader(tmp_path / "proc"), Trace({}))


MORE = (
    "/usr/lib/libc-1.so", "/lib/libc.so.6", "/usr/share/doc", "/usr/share/doc/file", "/usr/share/theme/default",
)  # fmt: skip
NEW = ("/usr/lib/libc-2.so", "/usr/share/other", "/usr/share/other/file")


def store_of(host: Host) -> str:
    return os.path.join(host.paths.undo, OPERATION)


@pytest.fixture
def ready(host: Host) -> Host:
    """Make a host whose upgrade has begun: store, plan and marker are there."""
    root = Path(host.paths.root)
    replaced = (*REPLACED, *MORE)
    concern = Concern(owned(root, *replaced), frozenset((*BROUGHT, *replaced, *NEW)))
    os.makedirs(host.paths.undo)
    Keeper(store_of(host), concern, host.paths.root).keep()
    prepare(host)
    Path(host.paths.dirty).write_text(f'{{\n "operation": "{OPERATION}",\n "reason": "x"\n}}\n')
    return host


def prepare(host: Host) -> None:
    rescue.prepare_rescue(host, OPERATION, store_of(host), read_manifest(f"{store_of(host)}/manifest.jsonl"))


def change(root: Path) -> None:
    """Do what an upgrade does, and what a scriptlet may do."""
    upgrade(root)
    put(root / "usr/lib/libc-2.so", "libc 2")
    (root / "usr/lib/libc-1.so").unlink()
    (root / "usr/lib/libc.so.6").unlink()
    os.symlink("libc-2.so", root / "usr/lib/libc.so.6")
    shutil.rmtree(root / "usr/share/doc")
    put(root / "usr/share/other/file", "must go, and not through the link")
    os.symlink("other", root / "usr/share/doc")
    (root / "usr/share/theme/default").unlink()
    (root / "usr/share/theme/default").mkdir()
    (root / ODD).write_text("altered")
    replace(root / "usr/bin/tool", "tool 2", 0o755)


def run(shell: list[str], host: Host) -> tuple[int, str]:
    memory = Path(host.paths.root).parent / "run"
    memory.mkdir(exist_ok=True)
    (memory / "interlock-rescue.log").unlink(missing_ok=True)
    argv = [*shell, str(DATA / "rescue.sh"), host.paths.root, str(memory)]
    done = subprocess.run(argv, timeout=60, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def system(host: Host) -> dict[str, object]:
    """Return everything of the tree but Interlock's own state.

    Times of directories and links are left to the recovery; busybox copies those of files in whole seconds.
    """
    rows: dict[str, tuple[Any, ...]] = linked_apart(manifest(Path(host.paths.root)))  # type: ignore[assignment]
    return {path: (_less_time(row[0]), *row[1:]) for path, row in rows.items()}


def _less_time(entry: Entry) -> Entry:
    return entry._replace(modified=entry.modified // 10**9 if entry.kind == "file" else 0)


def test_every_file_is_as_before(shell: list[str], ready: Host) -> None:
    before = system(ready)
    change(Path(ready.paths.root))
    assert system(ready) != before
    status, said = run(shell, ready)
    assert status == 0, said
    assert system(ready) == before
    assert os.path.samefile(f"{ready.paths.root}/usr/bin/plain", f"{ready.paths.root}/usr/bin/twin")
    found = rescue.read_rescued(ready.paths)
    assert found is not None
    assert (found.operation, found.changed > 10) == (OPERATION, True)
    assert "put back" in found.log


def test_a_store_with_the_hosts_own_names(shell: list[str], ready: Host) -> None:
    """Links are then put back a directory at a time, where it is the same."""
    before = system(ready)
    files, entries, places = Path(store_of(ready), "files"), [], {}
    for one in read_manifest(f"{store_of(ready)}/manifest.jsonl"):
        parent, base = os.path.split(one.path)
        entry = one
        if entry.name and "\n" not in base:
            name = f"{places.setdefault(parent, len(places))}-/{base}"
            (files / name).parent.mkdir(exist_ok=True)
            (files / entry.name).rename(files / name)
            entry = entry._replace(name=name)
        entries.append(entry)
    rescue.prepare_rescue(ready, OPERATION, store_of(ready), entries)
    change(Path(ready.paths.root))
    status, said = run(shell, ready)
    assert (status, "could not" in said) == (0, False), said
    assert system(ready) == before


def test_nothing_is_left_for_the_recovery_but_times(shell: list[str], ready: Host) -> None:
    change(Path(ready.paths.root))
    run(shell, ready)
    restorer = Restorer(store_of(ready), ready.paths.root)
    left = [restorer.by_path[one.path] for one in restorer.differences() if one.what != "metadata"]
    # A copy with another time counts as another content.
    assert all(entry.how == "copy" for entry in left)
    assert restorer.restore() is not None
    assert restorer.differences() == []


@pytest.mark.parametrize("part", range(12))
def test_cut_off_at_any_line_and_begun_again(shell: list[str], ready: Host, part: int) -> None:
    seed = SEED * 1000 + part
    print("seed", seed)
    before = system(ready)
    change(Path(ready.paths.root))
    for _ in range(2):
        cut(shell, ready, random.Random(seed).randrange(20, 900))
    status, said = run(shell, ready)
    assert status == 0, said
    assert system(ready) == before


def cut(shell: list[str], host: Host, lines: int) -> None:
    """Kill the script when it has traced so many lines."""
    argv = [*shell, "-x", str(DATA / "rescue.sh"), host.paths.root, str(Path(host.paths.root).parent)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    assert child.stderr is not None
    with child.stderr as stream:
        for _ in range(lines):
            if not stream.readline():
                break
        child.kill()
    child.wait()


def unmark(host: Host) -> None:
    os.unlink(host.paths.dirty)


def other_operation(host: Host) -> None:
    Path(host.paths.dirty).write_text('{"operation": "another"}')


def proven(host: Host) -> None:
    rescue.mark_proven(store_of(host))


def restored_before(host: Host) -> None:
    Path(host.paths.rescue, "done").write_text(f'{{"operation": "{OPERATION}", "changed": 3}}\n')


def without_plan(host: Host) -> None:
    rescue.forget_rescue(host.paths)


def half_a_plan(host: Host) -> None:
    path = Path(host.paths.rescue, "plan")
    path.write_text(path.read_text().replace("end\n", ""))


@pytest.mark.parametrize("state", [unmark, other_operation, proven, restored_before, without_plan, half_a_plan])
def test_nothing_is_touched(shell: list[str], ready: Host, state: Callable[[Host], None]) -> None:
    change(Path(ready.paths.root))
    state(ready)
    after = system(ready)
    status, said = run(shell, ready)
    assert (status, system(ready)) == (0, after), said


def flip_content(host: Host) -> str:
    entry = next(one for one in read_manifest(f"{store_of(host)}/manifest.jsonl") if one.path == "/usr/bin/tool")
    path = Path(store_of(host), "files", entry.name)
    path.write_text("fool 1")
    return f"files/{entry.name}"


def lose_content(host: Host) -> str:
    name = flip_content(host)
    Path(store_of(host), name).unlink()
    return name


def cut_list(host: Host) -> str:
    path = Path(store_of(host), "rescue.list")
    path.write_bytes(path.read_bytes()[:-40])
    return "rescue.list"


def cut_sums(host: Host) -> str:
    path = Path(store_of(host), "rescue.sums")
    path.write_bytes(path.read_bytes()[:-80])
    return "rescue.sums"


def unfinished(host: Host) -> str:
    Path(store_of(host), "complete").unlink()
    return "not finished"


@pytest.mark.parametrize("damage", [flip_content, lose_content, cut_list, cut_sums, unfinished])
def test_a_damaged_store_changes_nothing(shell: list[str], ready: Host, damage: Callable[[Host], str]) -> None:
    change(Path(ready.paths.root))
    named = damage(ready)
    after = system(ready)
    status, said = run(shell, ready)
    assert (status, system(ready)) == (1, after)
    assert named in said
    assert "Nothing was changed" in said


def test_a_rollback_makes_the_plan_anew(shell: list[str], ready: Host) -> None:
    before = system(ready)
    change(Path(ready.paths.root))
    proven(ready)
    prepare(ready)
    assert run(shell, ready)[0] == 0
    assert system(ready) == before


def test_what_is_not_the_upgrades_is_kept_aside(shell: list[str], ready: Host) -> None:
    change(Path(ready.paths.root))
    theirs = Path(ready.paths.root, "usr/share/theme/default/theirs")
    theirs.write_text("somebody else's")
    assert run(shell, ready)[0] == 0
    assert os.readlink(theirs.parent) == "1"
    assert (theirs.parent.parent / "default.interlock-undo-aside/theirs").read_text() == "somebody else's"


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 8:2 / /var rw - xfs /dev/sda2 rw
23 21 0:5 /@boot /boot rw - btrfs /dev/sda3 rw,subvol=/@boot
24 21 8:4 / /home rw - ext4 /dev/sda4 rw
25 22 0:6 / /var/run rw - tmpfs tmpfs rw
26 21 8:5 / /opt/a\\040b rw - ext4 /dev/sda5 rw
27 21 8:6 / /us rw - ext4 /dev/sda6 rw
"""


def test_the_plan_names_the_file_systems_that_it_needs(tmp_path: Path) -> None:
    put(tmp_path / "self/mountinfo", MOUNTS)
    found = mounts_of(ProcReader(tmp_path), ["/var/lib/interlock/undo/1", "/boot/vmlinuz", "/usr/bin/x", "/opt/a b/x"])
    assert found == [Mount("/boot", "/dev/sda3", "btrfs", "subvol=/@boot"), Mount("/var", "/dev/sda2", "xfs", "-")]


def test_put_in_place_once(host: Host) -> None:
    root = Path(host.paths.root)
    (root / "etc/initramfs-tools").mkdir()
    (root / "usr/lib/dracut/modules.d").mkdir(parents=True)
    made = rescue.install_rescue(host)
    assert {f"/{Path(path).relative_to(root)}" for path in made} <= set(rescue.own_paths())
    assert len(made) == 8
    assert (root / "etc/systemd/system/sysinit.target.wants/interlock-recover.service").resolve().is_file()
    assert "resume --boot" in (root / "etc/systemd/system/interlock-recover.service").read_text()
    assert rescue.install_rescue(host) == []


def test_what_is_covered(host: Host) -> None:
    (Path(host.paths.root) / "etc/initramfs-tools").mkdir()
    assert rescue_install.cover(host) == (False, False, False)
    rescue.install_rescue(host)
    assert rescue_install.cover(host) == (True, True, False)


def test_hooks_only_for_the_makers_that_are_there(host: Host) -> None:
    assert len(rescue.install_rescue(host)) == 2


@pytest.mark.parametrize("name", ["rescue.sh", "dracut/pre-pivot.sh", "initramfs-tools/hook"])
def test_every_shell_can_read_it(shell: list[str], name: str) -> None:
    done = subprocess.run([*shell, "-n", str(DATA / name)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_data_travels() -> None:
    assert rescue_install.read_data("rescue.sh").startswith("#!/bin/sh\n")

"""The rescue where /var has a file system of its own and the root is mounted for reading only, as in an initramfs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.boot import rescue
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace
from interlock.upgrade.undo_entry import Entry
from interlock.upgrade.undo_keep import Concern, Keeper

pytestmark = pytest.mark.host
SCRIPT = Path(rescue.__file__).parent / "data/rescue.sh"
OPERATION = "20260101T000000-1"
MOUNTED = """set -e
mount -o ro "$1" "$2"
sh "$3" "$2" "$4"
while read -r _ point _ options _; do
    case $point in "$2"*) echo "left: ${point#"$2"}/ ${options%%,*}" ;; esac
done </proc/mounts
mount -o remount,ro "$2"
cat "$2/etc/file" "$2/usr/lib/file"
ls -A "$2/var"
"""


def image(tree: Path, path: Path) -> str:
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, path, "16M"], check=True, timeout=60)
    found = subprocess.run(["losetup", "-f", "--show", path], check=True, timeout=60, capture_output=True, text=True)
    return found.stdout.strip()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[str]]:
    made: list[str] = []
    yield made
    for device in made:
        subprocess.run(["losetup", "-d", device], check=True, timeout=60)


def test_var_is_mounted_and_everything_is_left_as_it_was(tmp_path: Path, devices: list[str]) -> None:
    root, var = tmp_path / "root", tmp_path / "var.img"
    host = Host(Paths(str(root)), Runner(), SystemClock(), ProcReader(tmp_path), Trace({}))
    for name in ("etc/file", "usr/lib/file"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("old\n")
    store = os.path.join(host.paths.undo, OPERATION)
    os.makedirs(host.paths.undo)
    keeper = Keeper(store, Concern({}, frozenset()), str(root))
    keeper.keep()
    rescue.prepare_rescue(host, OPERATION, store, [one for one in keeper.entries if isinstance(one, Entry)])
    Path(host.paths.dirty).write_text(json.dumps({"operation": OPERATION}))
    shutil.move(root / "var", tmp_path / "var")
    (root / "var").mkdir()
    devices.append(image(tmp_path / "var", var))
    (root / "etc/fstab").write_text(f"# a comment\n{devices[0]} /var ext4 defaults,nofail 0 2\n")
    for name in ("etc/file", "usr/lib/file"):
        (root / name).write_text("new\n")
    devices.append(image(root, tmp_path / "root.img"))
    point = tmp_path / "mounted"
    point.mkdir()
    argv = ["unshare", "-m", "sh", "-c", MOUNTED, "sh", devices[1], str(point), str(SCRIPT), str(tmp_path / "run")]
    done = subprocess.run(argv, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("interlock-rescue:")]
    # /var is not mounted any more, the root is for reading only; the content came back.
    assert lines == ["left: / ro", "old", "old"], done.stdout + done.stderr

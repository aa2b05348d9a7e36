"""One power cut from beginning to end: upgrade, cut, loss of the disk's cache, boot, and a look at every file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import DEPOT, Cut, Lost, Machine, copy_disk, lose_cache, make_disk, prepare_tree, value

from interlock.cli.lab import make_lab
from interlock.lab import verbs
from interlock.lab.tree import Seen, differences, tree

UPGRADE_LIMIT, BOOT_LIMIT = 900.0, 900.0
OLD, NEW = "libc6-2.31", "libc6-2.36"
# The upgrade's own effects that no state has to undo: files of the machine itself.
MACHINE = ("/etc/fstab", "/lost+found", "/var/lib/systemd", "/root/.cache")


@dataclass(frozen=True)
class Outcome:
    """What a machine was after a power cut and one boot. ``progress`` is the last that it said before the cut."""

    state: str
    progress: str
    lost: Lost
    rescued: int
    differences: tuple[str, ...]
    status: dict[str, Any]
    said: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"cut at [{self.progress}], {self.lost.writes} writes after flush {self.lost.flushes}, "
            f"{self.lost.sectors} sectors lost; "
            f"{self.rescued} paths put back before the boot; it came up {self.state}"
        )


class PowerCuts:
    """A machine, and the disk that every cut begins with."""

    def __init__(self, folder: Path, host_tree: Path, depot: Path, maker: str) -> None:
        self.folder, self.machine, self.first = folder, Machine(folder, maker), folder / "first.img"
        self.machine.make()
        copy = folder / "tree"
        subprocess.run(["cp", "-a", "--reflink=auto", host_tree, copy], check=True, timeout=300)
        shutil.copytree(depot, copy / DEPOT.lstrip("/"))
        prepare_tree(copy)
        make_disk(copy, self.first)
        shutil.rmtree(copy)
        self.before = self._look(self.first)

    def run(self, cut: Cut, seed: int, delay: float = 0.0) -> Outcome:
        """Upgrade the whole system, cut the power, boot. The host must be old to the last byte, or new."""
        disk = self.folder / "disk.img"
        copy_disk(self.first, disk)
        said = self.machine.run(disk, "update", UPGRADE_LIMIT, cut, delay)
        progress = next((line for line in reversed(said) if line.strip()), "")
        lost = lose_cache(disk, seed)
        assert lost.flushes, "the disk's cache has seen no flush: what it loses is not what a disk loses"
        after = self.machine.run(disk, "look", BOOT_LIMIT)
        return self._judge(disk, progress, lost, after)

    def _judge(self, disk: Path, progress: str, lost: Lost, said: list[str]) -> Outcome:
        assert value(said, "runs") == "42"
        libc = value(said, "libc")
        different = differences(self.before, self._look(disk)) if libc.startswith(OLD) else []
        status = json.loads(value(said, "status"))
        state = "new" if libc.startswith(NEW) else "old" if not different else "between"
        last = status["last"]["state"] if status["last"] else "rolled-back"
        if status["hold"] or status["interrupted"] or last != {"new": "done", "old": "rolled-back"}.get(state):
            state = "between"
        rescued = next((line for line in said if "paths were put back" in line), "")
        number = int(rescued.split("interlock-rescue:")[1].split()[0]) if rescued else 0
        return Outcome(state, progress.strip(), lost, number, tuple(different), status, tuple(said))

    def _look(self, disk: Path) -> dict[str, Seen]:
        with _mounted(disk, self.folder / "mounted") as root:
            found = tree(root, {})
        return {path: seen for path, seen in found.items() if not path.startswith(MACHINE)}


def power_cuts(folder: Path, maker: str = "initramfs-tools") -> PowerCuts:
    """Make a machine of a fresh lab host, `classic`, which is to become `current`."""
    lab, name = make_lab(), f"power-{os.getpid()}"
    depot = verbs.depot_paths(lab, "classic-current")[0]
    verbs.up(lab, name, "classic", None, [])
    try:
        return PowerCuts(folder, lab.root_of(name), depot, maker)
    finally:
        verbs.down(lab, [name], False)


@contextmanager
def _mounted(disk: Path, point: Path) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,noatime", disk, point], check=True, timeout=60)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True, timeout=60)


def replaced_of_glibc(line: str) -> tuple[int, int] | None:
    """Return how many of glibc's files are replaced, and of how many, where a line of the console says so."""
    _, found, rest = line.partition("POWER glibc ")
    if not found:
        return None
    first, _, second = rest.strip().partition("/")
    return int(first), int(second)


def inside_glibc(share: float) -> Cut:
    """Cut when that share of glibc's files has been replaced: 0.0 is the first of them."""

    def cut(line: str) -> bool:
        found = replaced_of_glibc(line)
        return found is not None and found[0] >= max(1.0, share * found[1])

    return cut

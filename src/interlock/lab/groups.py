"""Control groups of hosts: every process of a host is in one, so that all of them can be ended and none other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Optional

from interlock.lab.cache import Cache
from interlock.lab.network import tag


def folder_name(cache: Cache) -> str:
    """Return the lab's control group below the mount point of cgroup2."""
    return f"interlock-lab-{tag(cache)}"


def find_mount(mountinfo: Optional[str] = None) -> Optional[Path]:
    """Return where this machine has cgroup2 mounted, if it has."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[:1] == ["cgroup2"] and left.split()[3] == "/":
            return Path(left.split()[4])
    return None


def host_groups(cache: Cache) -> list[str]:
    """Return the hosts that have a control group."""
    base = _base(cache)
    return sorted(path.name for path in base.iterdir() if path.is_dir()) if base and base.exists() else []


def _base(cache: Cache) -> Optional[Path]:
    mount = find_mount()
    return mount / folder_name(cache) if mount else None


def members(cache: Cache, name: str) -> list[int]:
    """Return the processes of a host, as this machine numbers them."""
    base = _base(cache)
    if base is None:
        return []
    return [pid for folder, _, _ in os.walk(base / name) for pid in _read_pids(Path(folder) / "cgroup.procs")]


def _read_pids(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def end(cache: Cache, name: str, seconds: float = 10.0) -> bool:
    """End every process of a host, as a power cut would, and remove its control group."""
    base = _base(cache)
    if base is None or not (base / name).exists():
        return False
    (base / name / "cgroup.kill").write_text("1")
    limit = time.monotonic() + seconds
    while members(cache, name) and time.monotonic() < limit:
        time.sleep(0.02)
    _remove(base / name)
    return True


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue
    try:
        os.rmdir(group.parent)
    except OSError:
        return

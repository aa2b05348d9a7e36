"""Reads the file systems that the package database and /boot lie on, as the host itself has them mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Optional

from interlock.system.proc import read_text
from interlock.waits.conditions import Mount
from interlock.waits.facts import Facts

if TYPE_CHECKING:
    from interlock.waits.look import Place


class Row(NamedTuple):
    """One line of ``mountinfo`` (proc_pid_mountinfo(5)), as far as it is used here."""

    device: str
    path: str
    options: frozenset[str]
    kind: str
    above: frozenset[str]


def read_mounts(place: Place, facts: Facts) -> tuple[Mount, ...]:
    """Return the file systems of the package database and of /boot; none where the host cannot be asked."""
    rows = mount_rows(place, facts)
    wanted = [facts.database.path] if facts.database.backend else []
    found = [_mount_of(place, rows, path) for path in (*wanted, "/boot")]
    return tuple(dict.fromkeys(mount for mount in found if mount is not None))


def mount_rows(place: Place, facts: Facts) -> list[Row]:
    """Return the mounts of the host: our own, or those of its first process."""
    if not place.live:
        return []
    pids = ["self"] if place.ours else [str(pid) for pid in sorted(facts.processes)[:1]]
    rows = (parse(line) for pid in pids for line in read_text(f"{place.proc.folder}/{pid}/mountinfo").splitlines())
    return [row for row in rows if row is not None]


def parse(line: str) -> Optional[Row]:
    """Return one line, or None where it is not understood."""
    left, _, right = line.partition(" - ")
    first, last = left.split(" "), right.split(" ")
    if len(first) < 6 or len(last) < 3:
        return None
    return Row(first[2], _plain(first[4]), frozenset(first[5].split(",")), last[0], frozenset(last[2].split(",")))


def _plain(path: str) -> str:
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, sign)
    return path


def mounted_at(rows: list[Row], path: str) -> Optional[Row]:
    """Return the mount that a path lies on: the longest that leads there, of several on one place the last."""
    found: Optional[Row] = None
    for row in rows:
        inside = path == row.path or path.startswith(row.path.rstrip("/") + "/")
        if inside and (found is None or len(row.path) >= len(found.path)):
            found = row
    return found


def _mount_of(place: Place, rows: list[Row], path: str) -> Optional[Mount]:
    row = mounted_at(rows, path)
    if row is None:
        return None
    try:
        found = os.statvfs(place.path(path))
    except OSError:
        return None
    writable, bound = not {"ro"} & (row.options | row.above), "ro" not in row.above
    return Mount(
        row.path, row.kind, writable, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize,
        bound=bound and not writable, meant=not writable and _is_meant(place, row.path), faults=_faults(row),
    )  # fmt: skip


def _is_meant(place: Place, path: str) -> bool:
    """Say whether a host wants this mount read-only: it is one whose system is an image, or its fstab says so."""
    if os.path.exists(place.path("/run/ostree-booted")):
        return True
    words = (line.split("#")[0].split() for line in read_text(place.path("/etc/fstab")).splitlines())
    return any(len(row) > 3 and row[1] == path and "ro" in row[3].split(",") for row in words)


def _faults(row: Row) -> str:
    """Return what the kernel has against a file system, as far as it counts: ext4 does."""
    if "emergency_ro" in row.above or "shutdown" in row.above:
        return "the kernel has shut it down after an error"
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{row.device}"))
    count = read_text(f"/sys/fs/ext4/{name}/errors_count").strip()
    return f"ext4 has counted {count} errors on {name}" if count.isdecimal() and int(count) else ""

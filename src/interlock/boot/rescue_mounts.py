"""Which file systems a restore plan needs beside the root, and how they were mounted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import ProcReader, read_text

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# Nothing of an upgrade is kept in memory.
_NOT_ON_DISK = frozenset({"autofs", "proc", "sysfs", "tmpfs", "devtmpfs", "ramfs", "cgroup2", "overlay"})
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One file system: where, what, its type, and the options without which it would be another tree."""

    point: str
    device: str
    kind: str
    options: str


def mounts_of(proc: ProcReader, paths: Iterable[str]) -> list[Mount]:
    """Return the mounts that some of the paths lie on, from the top; the root itself is not among them."""
    found = {one.point: one for one in map(_parse, read_text(f"{proc.folder}/self/mountinfo").splitlines()) if one}
    # Thousands of paths in hundreds of directories, but a handful of mounts.
    folders = {f"{os.path.dirname(path)}/" for path in paths}
    return [found[point] for point in sorted(found) if any(one.startswith(f"{point}/") for one in folders)]


def _parse(line: str) -> Optional[Mount]:
    left, _, right = line.partition(" - ")
    words, more = left.split(), right.split()
    if len(words) < 6 or len(more) < 2 or words[4] == "/" or more[0] in _NOT_ON_DISK:
        return None
    point = _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), words[4])
    # A name that the script could not read back as one word belongs to no file system of a system.
    plain = not set(point) & set("\t\n\\ ")
    options = f"subvol={words[3]}" if more[0] == "btrfs" else "-"
    return Mount(point, more[1], more[0], options) if plain else None

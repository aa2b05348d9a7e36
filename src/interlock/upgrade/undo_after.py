"""How a host was right after an upgrade had been proven: what later tells the upgrade's changes from somebody else's.

``after.jsonl`` has a line ``[path, stamp]`` for each path that the upgrade changed or brought; a stamp is what
``lstat`` says of it, empty where nothing is there.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from interlock.system import durable
from interlock.upgrade.undo_entry import lstat
from interlock.upgrade.undo_walk import watched

if TYPE_CHECKING:
    from interlock.upgrade.undo_restore import Restorer


def stamp_of(path: str) -> str:
    """Return what tells a file from every other one and from itself changed; empty where there is none."""
    found = lstat(path)
    if found is None:
        return ""
    # The time of change of a directory is that of any entry in it.
    size, when = (0, 0) if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns)
    return f"{found.st_ino}:{found.st_mode:o}:{found.st_uid}:{found.st_gid}:{size}:{when}"


def strangers(restorer: Restorer) -> list[str]:
    """Return the paths in the trees of the system that were not there before, and that no package is known to bring."""
    found = watched(restorer.root)
    return sorted(path for path in found if path not in restorer.by_path and path not in restorer.skipped)


def write_after(path: str, restorer: Restorer) -> int:
    """Write down what is not as before; return how many paths that is."""
    changed = [change.path for change in restorer.differences()] + strangers(restorer)
    lines = [json.dumps([one, stamp_of(restorer.real(one))]) for one in sorted(changed)]
    durable.write_file(path, "".join(f"{line}\n" for line in [*lines, json.dumps(len(lines))]))
    return len(lines)


def read_after(path: str) -> Mapping[str, str]:
    """Return the stamps by path; ValueError where the list was cut short."""
    with open(path, "rb") as stream:
        rows = json.loads(b"[" + b",".join(stream.read().splitlines()) + b"]")
    if not rows or rows.pop() != len(rows):
        raise ValueError(f"{path} was cut short")
    return dict(rows)

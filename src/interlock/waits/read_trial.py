"""Lets the host's own rpm try a private copy of a Berkeley DB database, its shared regions included.

Whether an environment is still good only the library itself can say, and it may hang while it finds out: so it is
asked in a copy. A copy of shared memory is of one moment only if nobody used it meanwhile; so it is made again and
again until nothing changed, and a bad answer counts only if a second copy gives it too. That rpm hangs in the copy
counts only if nobody had the environment mapped: whoever has may hold a lock for a moment.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import tempfile
from typing import IO, TYPE_CHECKING, Optional, Protocol

from interlock.errors import InterlockError
from interlock.system import durable
from interlock.system.proc import read_text
from interlock.waits.facts import Facts
from interlock.waits.process_table import TICKS
from interlock.waits.read_futexes import FUTEX_CALLS, MARK
from interlock.waits.read_processes import read_process

if TYPE_CHECKING:
    from interlock.waits.look import Place

TRIES, PAUSE = 6, 0.1
UNFINISHED = (
    "the environment was begun and never finished: __db.001 has no magic number, and nobody is at work on it; "
    "every rpm tries for some seconds and ends with Resource temporarily unavailable"
)
LIMIT, LOOK_AFTER, STEP = 20.0, 0.4, 0.02
GATE = ".dbenv.lock"
# The file system's clock goes in steps of up to ten milliseconds, and so do start times.
_ROUNDING = 0.03
_KEPT = 4000
_MAGIC = 0x120897


class Child(Protocol):
    """What is used of a process that we started."""

    pid: int

    def poll(self) -> Optional[int]:
        """Return its status, None while it runs."""


def read_trial(place: Place, facts: Facts) -> tuple[str, bool]:
    """Return what rpm said of the copy when it failed (empty where it answered), and whether it hung."""
    names = [one.name for one in facts.database.files if one.name.startswith("__db.")]
    if not (place.ours and os.geteuid() == 0 and facts.database.backend == "bdb" and names):
        return "", False
    first = _one_trial(place, facts)
    if first in (None, ("", False)):
        return "", False
    second = _one_trial(place, facts)
    return second if second is not None else ("", False)


def _one_trial(place: Place, facts: Facts) -> Optional[tuple[str, bool]]:
    """Copy and ask; None where the environment never rested for as long as a copy takes."""
    target = f"{place.scratch}-trial"
    try:
        for _ in range(TRIES):
            before = in_use(place, facts.database.path)
            if _copy_if_idle(facts.database.path, target) and in_use(place, facts.database.path) == before:
                if not unfinished(target):
                    said, hung = _ask(place, target)
                    return said, hung and not before
                if not before and not makers(place, facts.database.path):
                    return UNFINISHED, False
            place.clock.sleep(PAUSE)
    except (OSError, InterlockError):
        return None
    finally:
        durable.remove_trees([target])
    return None


def _copy_if_idle(source: str, target: str) -> bool:
    """Copy every file as it is; say whether the regions did not change meanwhile."""
    durable.remove_trees([target])
    os.makedirs(target, mode=0o700)
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        if os.path.isfile(path) and not os.path.islink(path):
            shutil.copyfile(path, os.path.join(target, name))
    return _regions(source) == _regions(target)


def in_use(place: Place, path: str) -> tuple[int, ...]:
    """Return every process that has a region of the environment mapped, deleted ones left out."""
    found = []
    for pid in place.proc.pids():
        lines = read_text(f"{place.proc.folder}/{pid}/maps").splitlines()
        if any(path + MARK in line and not line.endswith(" (deleted)") for line in lines):
            found.append(pid)
    return tuple(found)


def makers(place: Place, folder: str) -> list[int]:
    """Return who may be making the environment at this moment, before it has any region mapped.

    Whoever makes it holds ``.dbenv.lock`` until it is ready. Those who found it unfinished hold that lock too while
    they try again; but they started after ``__db.001`` was last changed.
    """
    gate = os.path.join(folder, GATE)
    try:
        inode = os.stat(gate).st_ino
        age = place.clock.now() - os.stat(os.path.join(folder, "__db.001")).st_mtime
    except OSError:
        return []
    ticks = ((place.proc.uptime() or 0.0) - age + _ROUNDING) * TICKS
    holders = {one.pid for one in place.proc.locks() if one.inode == inode and not one.waits and one.pid > 0}
    open_there = (pid for pid in sorted(holders) if any(path == gate for _, path in place.proc.open_files(pid)))
    return [pid for pid in open_there if (place.proc.start_time(pid) or 0) <= ticks]


def _regions(folder: str) -> dict[str, bytes]:
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("__db."):
            with open(os.path.join(folder, name), "rb") as stream:
                found[name] = stream.read()
    return found


def _ask(place: Place, copy: str) -> tuple[str, bool]:
    """Query the copy, and open it for writing: a reader gets by without an environment that it cannot use."""
    for argv in (["rpm", "--dbpath", copy, "-qa"], ["rpmdb", "--dbpath", copy, "--initdb"]):
        with tempfile.TemporaryFile() as errors:
            marked = _mark(copy)
            status = await_child(place, place.runner.start(argv, stderr=errors, alarm=LIMIT))
            if status is None:
                return "", True
            if status != 0:
                return marked + _said(errors), False
    return "", False


def _mark(copy: str) -> str:
    """Say whether the environment is marked as damaged: rpm says no word of it."""
    panic = _head(copy)[1]
    return "PANIC: the panic mark is set at byte 4 of __db.001\n" if panic and not unfinished(copy) else ""


def unfinished(folder: str) -> bool:
    """Say whether an environment was begun and not finished: its first word is set last of all."""
    return _head(folder)[0] != _MAGIC


def _head(folder: str) -> tuple[int, int]:
    """Return the first two words of the environment (REGENV: magic number, panic mark)."""
    try:
        with open(os.path.join(folder, "__db.001"), "rb") as stream:
            head = stream.read(8)
    except OSError:
        head = b""
    magic, panic = struct.unpack("=II", head) if len(head) == 8 else (0, 0)
    return magic, panic


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read(_KEPT).decode("utf-8", "replace").strip() or "it ended with an error and said nothing"


def await_child(place: Place, child: Child) -> Optional[int]:
    """Return a child's status; None where it hangs. It is not ended by us: its alarm does that, or our own end."""
    begun = place.clock.monotonic()
    before: object = None
    while place.clock.monotonic() - begun < LIMIT + 1:
        status = child.poll()
        if status is not None:
            return None if status == -signal.SIGALRM else status
        if place.clock.monotonic() - begun > LOOK_AFTER:
            now = read_process(place, child.pid, 0.0)
            asleep = now is not None and bool(now.call) and now.call[0] in FUTEX_CALLS
            if now is not None and asleep and before == (now.call, now.switches):
                return None
            before = (now.call, now.switches) if now is not None and asleep else None
            place.clock.sleep(LOOK_AFTER / 2)
        place.clock.sleep(STEP)
    return None

"""Reads the pid files of dnf 4, yum and zypp, and finds who polls them.

Such a program opens the file, reads a number, and if a process with that number is there, sleeps for a moment and
asks again: dnf and yum for ever, zypp only if it is told to. Nothing but ``/proc`` says that the number belongs to
somebody else by now. The files are read only, with no lock; an empty one is free, as is one of a process that is gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import read_bytes, read_text
from interlock.waits.facts import Facts, PidFile, Process
from interlock.waits.process_table import detailed
from interlock.waits.read_processes import read_status

if TYPE_CHECKING:
    from interlock.waits.look import Place

DNF = ("/var/cache/dnf/metadata_lock.pid", "/var/cache/dnf/download_lock.pid", "/var/lib/dnf/rpmdb_lock.pid",
       "/var/log/log_lock.pid")  # fmt: skip
YUM = ("/run/yum.pid",)
ZYPP = ("/run/zypp.pid", "/run/zypp-rpm.pid")
# nanosleep, clock_nanosleep; select, pselect6, which only sleep where they are given no descriptors.
_X86 = (frozenset({35, 230}), frozenset({23, 270}))
_ARM = (frozenset({101, 115}), frozenset({72}))
# How much younger than its file a process may seem: clocks are set, and a start is counted in ticks.
TOLERANCE = 60.0
# What a program that takes such a lock may be called, or has loaded, whatever its name (an agent's, Ansible's).
LIBRARIES = ("libdnf", "hawkey", "librpm", "libzypp", "/rpm/_rpm")
_DNF_NAME = re.compile(r"(^|[/\s])(dnf(-[\w.]+|4)?|yum|microdnf|tdnf)(\s|$)")
_ZYPP_NAME = re.compile(r"(^|[/\s])(zypper|[Zz]ypp[-\w]*|y2base|yast2?|packagekitd|PackageKit)(\s|$)")
_SIZE = 64


def read_pid_files(place: Place, facts: Facts) -> tuple[PidFile, ...]:
    """Return the lock files that hold a pid, with the state of the process that they name."""
    if not place.live and str(place.root) == "/":
        return ()
    found = [one for path in (*DNF, *YUM, *ZYPP) for one in _read(place, facts, path)]
    return tuple(one._replace(waiters=_waiters(facts, one)) for one in found)


def _read(place: Place, facts: Facts, path: str) -> Iterable[PidFile]:
    seen = place.path(path)
    content = read_bytes(seen, _SIZE)
    if content is None:
        return
    try:
        age = place.clock.now() - os.stat(seen).st_mtime
    except OSError:
        return
    number = _number(content)
    pid = None if number is None else _outer(place, facts, number)
    process = None if pid is None else facts.processes.get(pid)
    text = content.decode("utf-8", "backslashreplace")
    matches = process is not None and _matches(place, process) and process.age >= age - TOLERANCE
    yield PidFile(path, text, number if pid is None else pid, process is not None, matches, max(0.0, round(age, 2)))


def _number(content: bytes) -> Optional[int]:
    """Return what Python's ``int`` makes of it, for that is what dnf asks."""
    try:
        return int(content)
    except ValueError:
        return None


def _outer(place: Place, facts: Facts, number: int) -> Optional[int]:
    """Return the process that a host calls ``number``, as we number it; None if there is none.

    A process that has ended and was not fetched by its parent is there, for the programs that ask.
    """
    if number <= 0:
        return None
    if str(place.root) == "/":
        return number if number in facts.processes else None
    folder = place.proc.folder
    return next((pid for pid in facts.processes if _inner(folder, facts.processes, pid) == number), None)


def _inner(folder: str, processes: Mapping[int, Process], pid: int) -> int:
    known = detailed(processes).get(pid)
    return known.inner if known is not None and known.inner else read_status(f"{folder}/{pid}", pid)[0]


def _matches(place: Place, process: Process) -> bool:
    """Say whether a process may be the owner: by its name, or by what it has loaded. In doubt it is."""
    line = read_text(f"{place.proc.folder}/{process.pid}/cmdline", 8192).replace("\0", " ")
    if is_manager(line):
        return True
    maps = read_text(f"{place.proc.folder}/{process.pid}/maps")
    if not maps and line and os.geteuid() != 0:
        return True
    return any(name in maps for name in LIBRARIES)


def is_manager(command: str) -> bool:
    """Say whether a command is a program that takes one of these locks."""
    return bool(_DNF_NAME.search(command) or _ZYPP_NAME.search(command))


def _waiters(facts: Facts, file: PidFile) -> tuple[int, ...]:
    """Return the programs that sleep for a moment while a file that they take names somebody else.

    One of dnf's that works does not sleep by the clock; one that waits does so nearly all of the time.
    """
    if not file.alive or file.pid is None:
        return ()
    name = _ZYPP_NAME if file.path in ZYPP else _DNF_NAME
    return tuple(
        process.pid
        for process in detailed(facts.processes).values()
        if process.pid != file.pid and name.search(process.command) and _naps(process)
    )


def _naps(process: Process) -> bool:
    if not process.call:
        return False
    sleeps, selects = _X86 if os.uname().machine == "x86_64" else _ARM
    return process.call[0] in sleeps or (process.call[0] in selects and process.call[1:2] == (0,))

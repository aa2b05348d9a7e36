"""Finds processes that a scriptlet left in the background: no transaction is above them, rpm's marks are on them.

rpm gives a scriptlet the search path of its own configuration, and its interpreter the script's name. Only of processes
that nobody but init is above, and whose output is a pipe, is more read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from interlock.system.proc import read_text
from interlock.waits.facts import Facts
from interlock.waits.process_table import ProcessTable
from interlock.waits.read_scriptlets import SCRIPT

if TYPE_CHECKING:
    from interlock.waits.look import Place

# The default of %_install_script_path in every release of rpm; nobody else has just this one.
SEARCH_PATH = "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin"
INIT = (b"systemd", b"init")
_PIPE = "pipe:["


class LeftBehind(NamedTuple):
    """A process that a scriptlet left, with the pipes (their inodes) that it may write to."""

    pid: int
    pipes: tuple[int, ...]


def read_left_behind(place: Place, facts: Facts) -> tuple[LeftBehind, ...]:
    """Return the processes that scriptlets left behind and that hold a pipe as their output."""
    return () if place.quick else tuple(_all(place, facts))


def _all(place: Place, facts: Facts) -> Iterator[LeftBehind]:
    for pid in _orphans(facts):
        folder = f"{place.proc.folder}/{pid}/fd"
        pipes = tuple(dict.fromkeys(number for one in (1, 2) for number in _pipe(f"{folder}/{one}")))
        if pipes and is_of_scriptlet(place, pid):
            yield LeftBehind(pid, pipes)


def _orphans(facts: Facts) -> Iterator[int]:
    """Yield the processes that nobody but init, or a service manager of a user, is above."""
    table = facts.processes
    if isinstance(table, ProcessTable):
        inits = {1, *(pid for pid, name in table.names() if name in INIT)}
        yield from (pid for one in sorted(inits) for pid in table.children(one))
        return
    inits = {1, *(pid for pid, one in table.items() if one.name.encode() in INIT)}
    yield from (pid for pid, one in table.items() if one.parent in inits)


def _pipe(path: str) -> Iterator[int]:
    try:
        target = os.readlink(path)
    except OSError:
        return
    if target.startswith(_PIPE) and target[len(_PIPE) : -1].isdecimal():
        yield int(target[len(_PIPE) : -1])


def is_of_scriptlet(place: Place, pid: int) -> bool:
    """Say whether a process was started by a scriptlet, by its command or by its environment."""
    folder = f"{place.proc.folder}/{pid}"
    if SCRIPT.search(read_text(f"{folder}/cmdline", 8192).replace("\0", " ")):
        return True
    return SEARCH_PATH in read_text(f"{folder}/environ", 1 << 20).split("\0")

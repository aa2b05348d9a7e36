"""Reads the processes of a host: what each is, its parent, and what it sleeps in.

``read_processes`` reads one small file of each process; ``with_details`` reads the rest for those that matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from interlock.system.proc import read_text
from interlock.waits.facts import Process
from interlock.waits.process_table import TICKS, ProcessTable, good_stat, parse_stat

if TYPE_CHECKING:
    from interlock.waits.look import Place

# A stat line has some 350 bytes; what a thread sleeps in and its status are not much longer.
SMALL = 64 * 1024
_STAT = 2048
_LONGEST_COMMAND = 128 * 1024

# Clocks that are further apart, in seconds, are not the same one.
CLOCKS_AGREE = 0.5


def read_processes(place: Place) -> ProcessTable:
    """Return the processes of the host that ``place`` is, by their pid."""
    rows = _stats(place.proc.folder, members(place))
    return ProcessTable(rows, place.proc.uptime() or 0.0, {})


def _stats(folder: str, pids: Iterable[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    for pid in pids:
        try:
            descriptor = os.open(f"{folder}/{pid}/stat", flags)
            try:
                row = os.read(descriptor, _STAT)
            finally:
                os.close(descriptor)
        except OSError:
            continue
        if good_stat(row):
            found[pid] = row
    return found


def members(place: Place) -> list[int]:
    """Return the pids of the host: all of its ``/proc``, or those whose root directory is the host's."""
    if str(place.root) == "/" or not place.live:
        return place.proc.pids()
    wanted = _identity(str(place.root))
    return [pid for pid in place.proc.pids() if _identity(f"{place.proc.folder}/{pid}/root/.") == wanted]


def shares_root(place: Place, pid: int) -> bool:
    """Say whether paths mean to a process what they mean to the host; on our own host some live in containers."""
    if not place.live:
        return True
    found = _identity(f"{place.proc.folder}/{pid}/root/.")
    return found is None or found == _identity(str(place.root))


def _identity(path: str) -> Optional[tuple[int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def with_details(place: Place, table: ProcessTable, pids: Iterable[int]) -> ProcessTable:
    """Return the table with all that can be known of some processes."""
    return table.with_details([detail(place, table[pid]) for pid in pids if pid in table and pid not in table.detailed])


def read_process(place: Place, pid: int, uptime: float) -> Optional[Process]:
    """Return one process; None if it is gone."""
    row = _stats(place.proc.folder, [pid]).get(pid)
    return None if row is None else detail(place, parse_stat(pid, row, uptime))


def detail(place: Place, process: Process) -> Process:
    """Return a process with its command, its unit, and what it sleeps in."""
    pid = process.pid
    folder = f"{place.proc.folder}/{pid}"
    inner, switches = read_status(folder, pid)
    return process._replace(
        command=command_of(place, pid, process.name), unit=place.proc.unit(pid), channel=place.proc.wait_channel(pid),
        call=read_call(folder), asleep=_asleep(place, f"{folder}/sched", process.started + process.age * TICKS),
        inner=inner, switches=switches,
    )  # fmt: skip


def command_of(place: Place, pid: int, name: str) -> str:
    """Return the command line of a process, or its short name in brackets."""
    line = read_text(f"{place.proc.folder}/{pid}/cmdline", _LONGEST_COMMAND)
    return line.replace("\0", " ").strip() or (f"[{name}]" if name else "")


def read_call(folder: str) -> tuple[int, ...]:
    """Return the number and the arguments of the system call that a process sleeps in."""
    try:
        return tuple(int(word, 0) for word in read_text(f"{folder}/syscall", SMALL).split()[:7])
    except ValueError:
        return ()


def _asleep(place: Place, path: str, now: float) -> Optional[float]:
    """Return how long ago a process last ran, ``now`` in clock ticks since boot; None where that is not known."""
    ran = _last_ran(path) if _scheduler_clock_is_uptime(place) else None
    return None if ran is None else _since(now / TICKS, ran)


def _last_ran(path: str) -> Optional[float]:
    for line in read_text(path, SMALL).splitlines():
        if line.startswith("se.exec_start"):
            try:
                return float(line.partition(":")[2]) / 1000
            except ValueError:
                return None
    return None


def _scheduler_clock_is_uptime(place: Place) -> bool:
    """Say whether the scheduler's clock may be compared with the uptime: on virtual machines it may be minutes off.

    We are running, so that our own last run is now.
    """
    own, uptime = _last_ran(f"{place.proc.folder}/self/sched"), place.proc.uptime()
    return own is not None and uptime is not None and abs(uptime - own) < CLOCKS_AGREE


def _since(uptime: float, ran: float) -> Optional[float]:
    return max(0.0, round(uptime - ran, 2)) if abs(ran) < 1e12 else None


def read_status(folder: str, pid: int) -> tuple[int, int]:
    """Return the pid that a process itself knows, and how often it gave up the processor (-1 where unknown)."""
    inner, switches = pid, []
    for line in read_text(f"{folder}/status", SMALL).splitlines():
        if line.startswith("NSpid:"):
            inner = _number(line, pid)
        elif line.startswith(("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")):
            switches.append(_number(line, 0))
    return inner, sum(switches) if switches else -1


def _number(line: str, otherwise: int) -> int:
    last = line.rsplit(maxsplit=1)[-1]
    return int(last) if last.isdecimal() and last.isascii() and len(last) < 20 else otherwise


def ran(place: Place, process: Process) -> bool:
    """Say whether a process ran, or ended, since its details were read."""
    folder = f"{place.proc.folder}/{process.pid}"
    return read_status(folder, process.pid)[1] != process.switches or read_call(folder) != process.call

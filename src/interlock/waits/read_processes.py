"""Reads the processes of a host: what each is, its parent, and what it sleeps in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional

from interlock.waits.facts import Process

if TYPE_CHECKING:
    from interlock.waits.look import Place

_TICKS = os.sysconf("SC_CLK_TCK")


def read_processes(place: Place) -> Mapping[int, Process]:
    """Return the processes of the host that ``place`` is, by their pid."""
    uptime = place.proc.uptime() or 0.0
    found = (read_process(place, pid, uptime) for pid in members(place))
    return {process.pid: process for process in found if process is not None}


def members(place: Place) -> list[int]:
    """Return the pids of the host: all of its ``/proc``, or those whose root directory is the host's."""
    if str(place.root) == "/" or not place.live:
        return place.proc.pids()
    wanted = _identity(str(place.root))
    return [pid for pid in place.proc.pids() if _identity(f"{place.proc.root}/{pid}/root/.") == wanted]


def _identity(path: str) -> Optional[tuple[int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read_process(place: Place, pid: int, uptime: float) -> Optional[Process]:
    """Return one process; None if it is gone."""
    folder = f"{place.proc.root}/{pid}"
    stat = _text(f"{folder}/stat")
    name, fields = stat.partition("(")[2].rpartition(")")[0], stat.rpartition(")")[2].split()
    try:
        state, parent, started = fields[0], int(fields[1]), int(fields[19])
    except (IndexError, ValueError):
        return None
    return Process(
        pid, name, place.proc.command(pid), parent, state, started, round(uptime - started / _TICKS, 2),
        unit=place.proc.unit(pid), channel=place.proc.wait_channel(pid), call=_call(f"{folder}/syscall"),
        asleep=_asleep(f"{folder}/sched", uptime), inner=_inner(f"{folder}/status", pid),
    )  # fmt: skip


def _text(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _call(path: str) -> tuple[int, ...]:
    try:
        return tuple(int(word, 0) for word in _text(path).split()[:7])
    except ValueError:
        return ()


def _asleep(path: str, uptime: float) -> Optional[float]:
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "se.exec_start":
            try:
                return max(0.0, round(uptime - float(value) / 1000, 2))
            except ValueError:
                return None
    return None


def _inner(path: str, pid: int) -> int:
    for line in _text(path).splitlines():
        if line.startswith("NSpid:"):
            last = line.split()[-1]
            return int(last) if last.isdecimal() and last.isascii() else pid
    return pid

"""Copies from ``/proc`` what a look reads of some processes, so that it can be looked at again anywhere.

Run it on the host in trouble, as root, with the standard library only::

    python3 capture_proc.py DIRECTORY PID...
    interlock locks --proc DIRECTORY

Of the maps only shared files are kept; the rest of a process's memory map says nothing about waits.
"""

from __future__ import annotations

import os
import sys

WHOLE = ("locks", "uptime")
OF_A_PROCESS = ("stat", "status", "cmdline", "comm", "cgroup", "wchan", "syscall", "sched", "maps")


def capture(source: str, target: str, pids: list[str]) -> None:
    """Copy the host's files, and those of each process with what it has open."""
    for name in WHOLE:
        _copy(f"{source}/{name}", f"{target}/{name}")
    for pid in pids:
        for name in OF_A_PROCESS:
            _copy(f"{source}/{pid}/{name}", f"{target}/{pid}/{name}")
        for number in sorted(os.listdir(f"{source}/{pid}/fd")):
            os.makedirs(f"{target}/{pid}/fd", exist_ok=True)
            os.symlink(os.readlink(f"{source}/{pid}/fd/{number}"), f"{target}/{pid}/fd/{number}")
            _copy(f"{source}/{pid}/fdinfo/{number}", f"{target}/{pid}/fdinfo/{number}")


def _copy(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        with open(source, "rb") as stream:
            content = stream.read()
    except OSError:
        return
    if target.endswith("/maps"):
        content = b"".join(line for line in content.splitlines(True) if line.split(None, 2)[1].endswith(b"s"))
    with open(target, "wb") as stream:
        stream.write(content)


if __name__ == "__main__":
    capture("/proc", sys.argv[1], sys.argv[2:])

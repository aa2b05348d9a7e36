"""Stops an `rpm -qa` while it holds .dbenv.lock. Usage: stop_at_gate.py SECONDS; prints its pid.

It is stopped as soon as the kernel's list of locks has it; if it had let the lock go by then, it is continued, and the
next one is tried.
"""

from __future__ import annotations

import os
import signal
import sys
import time

QUERY = ("/usr/bin/rpm", "-qa")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
GATE = "/var/lib/rpm/.dbenv.lock"


def start() -> int:
    """Start a query in a session of its own, so that it outlives us."""
    actions = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    return os.posix_spawn(QUERY[0], QUERY, ENVIRONMENT, file_actions=actions, setsid=True)


def holds_gate(pid: int, mark: str) -> bool:
    """Say whether a process holds the lock, by the kernel's list."""
    with open("/proc/locks") as stream:
        return any(f" {pid} " in line and mark in line and "->" not in line for line in stream)


def caught(pid: int, mark: str) -> bool:
    """Stop a query when it holds the lock; False if it ended, or was too quick."""
    while not holds_gate(pid, mark):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    if holds_gate(pid, mark):
        return True
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    return False


def main(seconds: str) -> int:
    """Try until one is caught."""
    mark = f":{os.stat(GATE).st_ino} "
    limit = time.monotonic() + float(seconds)
    while time.monotonic() < limit:
        pid = start()
        if caught(pid, mark):
            print(pid)
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

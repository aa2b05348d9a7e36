"""Stops an `rpm -qa` while it holds .dbenv.lock. Usage: stop_at_gate.py SEED SECONDS; prints its pid.

It is stopped at a random moment; if it does not hold the lock then, it is continued, and the next one is tried.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

GATE = "/var/lib/rpm/.dbenv.lock"


def holds_gate(pid: int) -> bool:
    """Say whether a process holds the lock, by the kernel's list."""
    mark = f":{os.stat(GATE).st_ino} "
    with open("/proc/locks") as stream:
        return any(f" {pid} " in line and mark in line and "->" not in line for line in stream)


def main(seed: str, seconds: str) -> int:
    """Try until one is caught."""
    chance = random.Random(seed)
    limit = time.monotonic() + float(seconds)
    null = subprocess.DEVNULL
    while time.monotonic() < limit:
        child = subprocess.Popen(["rpm", "-qa"], stdin=null, stdout=null, stderr=null, start_new_session=True)
        time.sleep(chance.uniform(0.002, 0.020))
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        if child.poll() is None and holds_gate(child.pid):
            print(child.pid)
            return 0
        child.send_signal(signal.SIGCONT)
        child.wait()
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

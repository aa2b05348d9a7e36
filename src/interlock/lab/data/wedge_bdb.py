"""Wedges a Berkeley DB package database by chance. Usage: wedge_bdb.py SEED fails|hangs|either SECONDS

Kills `rpm -qa` at a random moment of its life, again and again, until every rpm fails, or hangs. If the other of the
two comes about, the shared regions are removed and it begins anew. Prints one line of JSON:
what came about, how many were killed, the pids of those who hang (they are left hanging), and what the failing ones
say; if it did not come about, what did.
"""

from __future__ import annotations

import glob
import json
import os
import random
import signal
import sys
import time
from typing import Any

REGIONS = "/var/lib/rpm/__db.*"
QUERY = ("/usr/bin/rpm", "-qa")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
COMPLAINT = "/run/wedge-complaint"
KILLS_BEFORE_A_LOOK = 4
LONGEST = 0.5
# When to kill, as shares of a query's length: while it joins the environment, most of all.
MOMENTS = (0.02, 0.2)
ANSWER_SECONDS = 1.0
SAME_AGAIN = 3
FUTEX = ("202", "98")


def query(complaint: str) -> int:
    """Start a query in a session of its own, so that it outlives us."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, complaint, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
    ]
    return os.posix_spawn(QUERY[0], QUERY, ENVIRONMENT, file_actions=actions, setsid=True)


def length() -> float:
    """Return how long a query takes here, in seconds: a busy machine needs more."""
    begun = time.monotonic()
    os.waitpid(query("/dev/null"), 0)
    return time.monotonic() - begun


def kill_one(chance: random.Random, longest: float) -> None:
    """Kill a query in the middle."""
    pid = query("/dev/null")
    time.sleep(chance.uniform(*MOMENTS) * longest)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ask() -> tuple[str, int]:
    """Return what comes of a query, and its pid: it answers, fails, or hangs."""
    pid = query(COMPLAINT)
    limit = time.monotonic() + ANSWER_SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return ("fails" if status else "answers"), pid
        if time.monotonic() > limit and sleeps_in_futex(pid):
            return "hangs", pid
        if time.monotonic() > limit and is_unfinished():
            # It would fail after eighteen seconds of trying again; that long we do not wait.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            with open(COMPLAINT, "w") as stream:
                stream.write("the environment was never finished: its maker was killed")
            return "fails", pid
        time.sleep(0.005)


def is_unfinished() -> bool:
    """Say whether the environment is empty or has no magic number: its maker was killed before it was ready."""
    try:
        with open(REGIONS.replace("*", "001"), "rb") as stream:
            return not any(stream.read(4))
    except FileNotFoundError:
        return False


def sleeps_in_futex(pid: int) -> bool:
    """Say whether a process waits for a lock in shared memory, now and a moment later."""
    for _ in range(2):
        with open(f"/proc/{pid}/syscall") as stream:
            if not stream.read().startswith(FUTEX):
                return False
        time.sleep(0.1)
    return True


def wedge(chance: random.Random, limit: float) -> dict[str, Any]:
    """Kill until something is wrong; return what."""
    kills = 0
    longest = min(length(), LONGEST)
    while time.monotonic() < limit:
        for _ in range(KILLS_BEFORE_A_LOOK):
            kill_one(chance, longest)
        kills += KILLS_BEFORE_A_LOOK
        how, pid = again_and_again()
        if how == "hangs":
            return {"how": how, "kills": kills, "pids": [pid], "said": ""}
        if how == "fails":
            with open(COMPLAINT) as stream:
                return {"how": how, "kills": kills, "pids": [], "said": stream.read()}
    return {"how": "nothing", "kills": kills, "pids": [], "said": ""}


def again_and_again() -> tuple[str, int]:
    """Return what comes of queries: one that fails may be an accident, one that hangs is none."""
    how, pid = ask()
    for _ in range(SAME_AGAIN if how == "fails" else 0):
        how, pid = ask()
        if how != "fails":
            break
    return how, pid


def main(seed: str, wanted: str, seconds: str) -> int:
    """Do it until what is wanted has come about."""
    chance = random.Random(seed)
    limit = time.monotonic() + float(seconds)
    others = []
    while time.monotonic() < limit:
        found = wedge(chance, limit)
        others.append({**found, "pids": []})
        if found["how"] != "nothing" and wanted in ("either", found["how"]):
            print(json.dumps(found))
            return 0
        for pid in found["pids"]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for path in glob.glob(REGIONS):
            os.unlink(path)
    print(json.dumps(others[-5:]))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

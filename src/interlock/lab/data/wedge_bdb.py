"""Wedges a Berkeley DB package database by chance. Usage: wedge_bdb.py SEED fails|hangs|either SECONDS

Kills `rpm -qa` after a random 2 to 20 ms, again and again, until every rpm fails, or hangs. If the other of the two
comes about, the shared regions are removed and it begins anew. Prints one line of JSON: what came about, how many
were killed, the pids of those who hang (they are left hanging), and what the failing ones say.
"""

from __future__ import annotations

import glob
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any, Optional

REGIONS = "/var/lib/rpm/__db.*"
QUERY = ("rpm", "-qa")
KILLS_BEFORE_A_LOOK = 4
ANSWER_SECONDS = 1.0
SAME_AGAIN = 3
FUTEX = ("202", "98")


def query(quiet: bool) -> subprocess.Popen[bytes]:
    """Start a query in a session of its own, so that it outlives us."""
    complaint = subprocess.DEVNULL if quiet else subprocess.PIPE
    null = subprocess.DEVNULL
    return subprocess.Popen(QUERY, stdin=null, stdout=null, stderr=complaint, start_new_session=True)


def kill_one(chance: random.Random) -> None:
    """Kill a query in the middle."""
    child = query(quiet=True)
    time.sleep(chance.uniform(0.002, 0.020))
    end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child of our own."""
    child.send_signal(signal.SIGKILL)
    child.wait()


def ask() -> tuple[str, str, Optional[subprocess.Popen[bytes]]]:
    """Return what comes of a query: answers, fails (and how), hangs (and who), or nothing of these."""
    child = query(quiet=False)
    try:
        _, said = child.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        if sleeps_in_futex(child.pid):
            return "hangs", "", child
        _, said = child.communicate()
    return ("fails" if child.returncode else "answers"), said.decode("utf-8", "replace"), None


def sleeps_in_futex(pid: int) -> bool:
    """Say whether a process waits for a lock in shared memory, now and a moment later."""
    for _ in range(2):
        with open(f"/proc/{pid}/syscall") as stream:
            if not stream.read().startswith(FUTEX):
                return False
        time.sleep(0.1)
    return True


def wedge(chance: random.Random) -> dict[str, Any]:
    """Kill until something is wrong; return what."""
    kills = 0
    while True:
        for _ in range(KILLS_BEFORE_A_LOOK):
            kill_one(chance)
        kills += KILLS_BEFORE_A_LOOK
        how, said, child = ask()
        if how == "hangs" and child is not None:
            return {"how": how, "kills": kills, "pids": [child.pid], "said": ""}
        if how == "fails" and all(ask()[0] == "fails" for _ in range(SAME_AGAIN)):
            return {"how": how, "kills": kills, "pids": [], "said": said}


def main(seed: str, wanted: str, seconds: str) -> int:
    """Do it until what is wanted has come about."""
    chance = random.Random(seed)
    limit = time.monotonic() + float(seconds)
    while time.monotonic() < limit:
        found = wedge(chance)
        if wanted in ("either", found["how"]):
            print(json.dumps(found))
            return 0
        for pid in found["pids"]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for path in glob.glob(REGIONS):
            os.unlink(path)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

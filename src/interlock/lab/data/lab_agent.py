"""Stand-in for agents that use the package database. Usage: lab_agent.py insight|storm|reader RECORD

insight  runs `rpm -qa` every second and kills it after a random 1 to 20 ms
storm    does so without a pause
reader   runs `rpm -qa` again and again, never kills it, and records every answer in RECORD.tsv

insight and storm keep their counts in RECORD.json. Everything is loaded before the loop starts: the interpreter's
own files and the C library may be replaced while this runs. A query that never ends (a wedged Berkeley DB) must not
stop it: a killed child that does not end is left to be reaped later; a reader's query that has no answer after 60 s
is recorded as hung and left alone.
"""

from __future__ import annotations

import errno
import json
import os
import random
import select
import signal
import sys
import time
from typing import Optional, Union

QUERY = ("/usr/bin/rpm", "-qa")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
HUNG_AFTER = 60.0
PAUSE = 0.01
REAP_WITHIN = 0.2
HEADER = "monotonic\twall\tseconds\tstatus\tlines\tstderr\n"


def spawn(output: Optional[int], complaint: Optional[int]) -> int:
    """Start one query in a process of its own and return its pid."""
    null = os.open("/dev/null", os.O_RDWR)
    moves = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null if output is None else output, 1)]
    moves.append((os.POSIX_SPAWN_DUP2, null if complaint is None else complaint, 2))
    try:
        return os.posix_spawn(QUERY[0], QUERY, ENVIRONMENT, file_actions=moves, setsigmask=())
    finally:
        os.close(null)


def reap(pid: int, seconds: float) -> Optional[int]:
    """Return the wait status of a child that ends within some seconds, else None."""
    limit = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        left = limit - time.monotonic()
        if left <= 0:
            return None
        signal.sigtimedwait((signal.SIGCHLD,), left)


class Killer:
    """insight and storm: queries that are killed at random moments."""

    def __init__(self, record: str) -> None:
        self.counts: dict[str, float] = {
            "runs": 0,
            "kills": 0,
            "finished": 0,
            "failed": 0,
            "stuck": 0,
            "since": time.time(),
        }
        self.file = os.open(record + ".json", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.stuck: list[int] = []

    def once(self) -> None:
        """Run one query, kill it after 1 to 20 ms if it still runs, and count."""
        self.reap_stuck()
        try:
            pid = spawn(None, None)
        except OSError:
            # rpm itself is being replaced
            self.counts["failed"] += 1
            time.sleep(PAUSE)
            return
        self.counts["runs"] += 1
        status = reap(pid, random.uniform(0.001, 0.020))
        if status is None:
            os.kill(pid, signal.SIGKILL)
            self.counts["kills"] += 1
            if reap(pid, REAP_WITHIN) is None:
                self.stuck.append(pid)
        else:
            self.counts["finished" if status == 0 else "failed"] += 1
        self.write()

    def reap_stuck(self) -> None:
        """Reap what was killed before and has ended since."""
        self.stuck = [pid for pid in self.stuck if reap(pid, 0.0) is None]
        self.counts["stuck"] = len(self.stuck)

    def write(self) -> None:
        """Write the counts over what was there; the text never gets shorter than its padding."""
        os.pwrite(self.file, (json.dumps(self.counts).ljust(200) + "\n").encode(), 0)


class Reader:
    """reader: queries that are never killed."""

    def __init__(self, record: str) -> None:
        self.file = os.open(record + ".tsv", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if os.fstat(self.file).st_size == 0:
            os.write(self.file, HEADER.encode())
        self.left: list[int] = []

    def once(self) -> None:
        """Run one query to its end, or until it counts as hung, and record it."""
        self.left = [pid for pid in self.left if reap(pid, 0.0) is None]
        wall, begun = time.time(), time.monotonic()
        try:
            status, lines, said = self.query(begun + HUNG_AFTER)
        except OSError as error:
            status, lines, said = "not started", 0, errno.errorcode.get(error.errno or 0, "?")
        row = (f"{begun:.6f}", f"{wall:.6f}", f"{time.monotonic() - begun:.6f}", status, str(lines), said)
        os.write(self.file, ("\t".join(row) + "\n").encode())
        time.sleep(PAUSE)

    def query(self, limit: float) -> tuple[str, int, str]:
        """Return status, number of lines and the first complaint of one query."""
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        try:
            try:
                pid = spawn(out_end, err_end)
            finally:
                os.close(out_end)
                os.close(err_end)
            texts = self.read((out, err), limit)
            status = reap(pid, max(0.0, limit - time.monotonic()))
        finally:
            os.close(out)
            os.close(err)
        said = " ".join(texts[err][:200].decode("utf-8", "replace").split())
        lines = texts[out].count(b"\n")
        if status is None:
            self.left.append(pid)
            return "hung", lines, said
        return str(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), lines, said

    def read(self, ends: tuple[int, int], limit: float) -> dict[int, bytes]:
        """Read pipes to their ends, or until the limit."""
        texts = dict.fromkeys(ends, b"")
        poll = select.poll()
        for end in ends:
            poll.register(end, select.POLLIN | select.POLLHUP)
        still_open = len(ends)
        while still_open:
            left = limit - time.monotonic()
            if left <= 0:
                break
            for end, _ in poll.poll(left * 1000):
                data = os.read(end, 65536)
                texts[end] += data
                if not data:
                    poll.unregister(end)
                    still_open -= 1
        return texts


def main(mode: str, record: str) -> None:
    """Run until somebody ends us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    os.makedirs(os.path.dirname(record), exist_ok=True)
    agent: Union[Reader, Killer] = Reader(record) if mode == "reader" else Killer(record)
    while True:
        begun = time.monotonic()
        agent.once()
        if mode == "insight":
            time.sleep(max(0.0, 1.0 - (time.monotonic() - begun)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

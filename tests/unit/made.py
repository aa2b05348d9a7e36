"""What the tests make: ``/proc`` trees, databases, hosts of their own, and processes that end with the test."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.rpmdb.backend import Database
from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader
from interlock.system.run import Completed, Runner
from interlock.system.trace import Trace

SOURCE = Path(__file__).resolve().parents[2] / "src"
PATIENCE = 20.0
BOOT = "11111111-2222-3333-4444-555555555555"


def until(condition: Callable[[], object]) -> None:
    """Wait until another process has brought a condition about; fail if it does not."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition has not come about"
        time.sleep(0.005)


class MadeProc:
    """A ``/proc`` tree in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("sys/kernel/random/boot_id", f"{BOOT}\n")
        self.put("uptime", "1000.00 2000.00\n")
        self.reader = ProcReader(root)

    def put(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def process(
        self,
        pid: int,
        *,
        command: str = "",
        name: str = "prog",
        parent: int = 1,
        started: int = 5000,
        state: str = "S",
        cgroup: str = "",
        files: Sequence[str] = (),
    ) -> None:
        numbers = " ".join(str(number) for number in range(5, 22))
        self.put(f"{pid}/stat", f"{pid} ({name}) {state} {parent} {numbers} {started} 23 24\n")
        self.put(f"{pid}/comm", f"{name}\n")
        self.put(f"{pid}/cmdline", "".join(f"{word}\0" for word in command.split()))
        self.put(f"{pid}/cgroup", f"0::{cgroup or '/'}\n")
        (self.root / str(pid) / "fd").mkdir(exist_ok=True)
        for number, target in enumerate(files, 3):
            (self.root / str(pid) / "fd" / str(number)).symlink_to(target)


@dataclass
class Programs(Runner):
    """A runner that starts nothing: each first word, or two, of a command has a prepared output."""

    answers: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, argv: Sequence[str], **_options: Any) -> Completed:
        self.asked.append(tuple(argv))
        said = self.answers.get(" ".join(argv[:2]), self.answers.get(argv[0], ""))
        return Completed(tuple(argv), 0, said, "", 0.0)


def host_at(root: Path, proc: ProcReader | None = None, answers: Mapping[str, str] | None = None) -> Host:
    """Return a host with its files below a directory and a clock that stands still."""
    return Host(Paths(str(root)), Programs(answers or {}), ManualClock(), proc or ProcReader(), Trace({}))


def database_at(path: Path, backend: str = "bdb") -> Database:
    return Database(str(path), str(path), backend, backend, str(path / ".rpm.lock"))


def make_bdb(path: Path) -> Database:
    """Make what looks like a Berkeley DB environment that is in use."""
    path.mkdir(parents=True)
    for name in ("Packages", "Name", "__db.001", "__db.002", ".dbenv.lock", ".rpm.lock"):
        (path / name).write_text(f"{name} from before\n")
    return database_at(path)


def make_sqlite(path: Path, rows: int = 3) -> Database:
    """Make a SQLite database with a write-ahead log, as a process leaves it that is killed."""
    path.mkdir(parents=True)
    text = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = WAL');"
        "c.execute('CREATE TABLE packages (name TEXT)');"
        "c.executemany('INSERT INTO packages VALUES (?)', [(f'p{n}',) for n in range(int(sys.argv[2]))]);"
        "c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", text, str(path / "rpmdb.sqlite"), str(rows)], check=True)
    (path / ".rpm.lock").touch()
    return database_at(path, "sqlite")


def names_in(path: Path | str) -> list[str]:
    """Return the packages of a database that ``make_sqlite`` made, read by another process."""
    text = "import sqlite3, sys; print(*[r[0] for r in sqlite3.connect(sys.argv[1]).execute('SELECT * FROM packages')])"
    argv = [sys.executable, "-c", text, os.path.join(path, "rpmdb.sqlite")]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


def rows_of(path: Path | str) -> list[str]:
    """Return the packages of a database that nobody else has open."""
    connection = sqlite3.connect(os.path.join(path, "rpmdb.sqlite"))
    rows = [row[0] for row in connection.execute("SELECT * FROM packages")]
    connection.close()
    return rows


@contextmanager
def python(text: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program that says lines on its stdout and hears them on its stdin; it ends with the context."""
    child = subprocess.Popen(
        [sys.executable, "-c", text, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def heard(child: subprocess.Popen[str]) -> str:
    """Return the next line that a child says."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], PATIENCE)
    assert ready, "the child says nothing"
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str], line: str = "") -> None:
    """Say a line to a child."""
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def dead_pid() -> int:
    """Return the pid of a process that has ended."""
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    return child.pid


def in_child(function: Callable[[], object]) -> int:
    """Run a function in a forked process; return its exit status: 0 where it returned true, 1 where it did not."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if function() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return finished(pid)


def finished(pid: int) -> int:
    """Return the exit status of a child of ours, negative for a signal; it is ended if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child does not end")

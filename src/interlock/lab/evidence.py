"""What an upgrade has really done to a host, read from outside: its database, its files, its agents' records."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interlock.errors import InterlockError
from interlock.lab.handle import HostHandle, is_key
from interlock.rpmdb.backend import NoDatabase, backend_of, is_volatile

DATABASE = "var/lib/rpm"
STORM_RECORD = "var/log/interlock-lab/interlock-lab-storm.json"
READER_RECORD = "var/log/interlock-lab/interlock-lab-reader.tsv"
NAMES = {"bdb": "Berkeley DB", "sqlite": "SQLite", "ndb": "ndb"}


@dataclass(frozen=True)
class DatabaseState:
    """What the files of a database hold, whoever may have them open. ``twice``: names that are there more than once."""

    backend: str
    packages: tuple[str, ...]
    twice: tuple[str, ...]
    problem: str = ""

    @property
    def text(self) -> str:
        """The same for people."""
        if self.problem:
            return f"{self.backend}: {self.problem}"
        twice = f"{len(self.twice)} twice" if self.twice else "none twice"
        return f"{NAMES.get(self.backend, self.backend)}, {len(self.packages)} packages, {twice}"


def database_state(host: HostHandle) -> DatabaseState:
    """Read a private copy of the host's database with this machine's rpm, which no lock on the host can stop."""
    source = host.root / DATABASE
    try:
        backend = backend_of(str(source))
    except NoDatabase as error:
        return DatabaseState("none", (), (), str(error))
    with tempfile.TemporaryDirectory(prefix="interlock-lab-") as copy:
        for path in source.iterdir():
            if path.is_file() and not is_volatile(path.name) and not path.name.endswith("-shm"):
                shutil.copyfile(path, Path(copy) / path.name)
        argv = ["rpm", "--dbpath", copy, "-qa", "--queryformat", "%{NAME}\\t%{NEVRA}\\n"]
        try:
            rows = host.lab.runner.run(argv, timeout=20).stdout.splitlines()
        except InterlockError as error:
            return DatabaseState(backend, (), (), str(error).partition("\n")[0][-80:])
    return _state_of(backend, [row.split("\t") for row in rows])


def _state_of(backend: str, rows: Sequence[Sequence[str]]) -> DatabaseState:
    packages = [(row[0], row[1]) for row in rows if not is_key(row[0])]
    counts = Counter(name for name, _ in packages)
    twice = tuple(sorted(name for name, number in counts.items() if number > 1))
    return DatabaseState(backend, tuple(sorted(nevra for _, nevra in packages)), twice)


def changed_files(host: HostHandle, release: str) -> int:
    """Count the files below /usr that are new, gone, or another file than in the image that the host was made from.

    A snapshot keeps inode numbers, and rpm replaces a file by renaming a new one over it.
    """
    before = _inodes(host.lab.cache.images / release / "usr")
    after = _inodes(host.root / "usr")
    return sum(before.get(path) != after.get(path) for path in before.keys() | after.keys())


def _inodes(folder: Path) -> Mapping[str, int]:
    found = {}
    todo = [str(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    found[entry.path[len(str(folder)) :]] = entry.inode()
    return found


@dataclass(frozen=True)
class Answers:
    """What came of an agent's queries in some span of time. ``slowest`` is 0 where the agent takes no times."""

    answered: int
    failed: int
    killed: int = 0
    hung: int = 0
    slowest: float = 0.0

    def since(self, before: Answers) -> Answers:
        """Return what came on top of an earlier count."""
        return Answers(
            self.answered - before.answered, self.failed - before.failed, self.killed - before.killed, self.hung,
            self.slowest,
        )  # fmt: skip


def storm_answers(host: HostHandle) -> Answers:
    """Return the storm's counts so far. ``hung``: killed, and not gone."""
    try:
        row = json.loads((host.root / STORM_RECORD).read_text())
    except (OSError, ValueError):
        return Answers(0, 0)
    return Answers(int(row["finished"]), int(row["failed"]), int(row["kills"]), int(row["stuck"]))


@dataclass(frozen=True)
class Query:
    """One query of the reader: when it began (seconds since the epoch), how long it took, whether it was answered."""

    began: float
    seconds: float
    status: str
    lines: int

    @property
    def answered(self) -> bool:
        """Say whether it got a list of packages."""
        return self.status == "0" and self.lines > 0


def reader_queries(host: HostHandle, begin: float = 0.0, end: float = float("inf")) -> list[Query]:
    """Return the reader's queries that were under way at some time from ``begin`` to ``end``."""
    rows = (line.split("\t") for line in (host.root / READER_RECORD).read_text().splitlines()[1:])
    queries = [Query(float(row[1]), float(row[2]), row[3], int(row[4])) for row in rows if len(row) >= 5]
    return [one for one in queries if one.began + one.seconds >= begin and one.began <= end]


def reader_answers(host: HostHandle, begin: float, end: float) -> Answers:
    """Sum up the reader's queries in some span of time."""
    queries = reader_queries(host, begin, end)
    hung = sum(one.status == "hung" for one in queries)
    failed = sum(not one.answered for one in queries) - hung
    answered = len(queries) - failed - hung
    return Answers(answered, failed, hung=hung, slowest=max((one.seconds for one in queries), default=0.0))

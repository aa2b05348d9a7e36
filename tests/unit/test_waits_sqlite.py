"""SQLite's locks, told apart on real processes; what is said of them, and what is done about it."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made import Programs, database_at, heard, host_at, make_sqlite, python, tell, until

from interlock.system.clock import ManualClock
from interlock.system.proc import ProcReader
from interlock.system.run import Completed
from interlock.waits import hands_database, hands_install
from interlock.waits.catalogue import catalogue
from interlock.waits.conditions import LeftDatabase, SqliteUser, State, Stray
from interlock.waits.cure_sqlite import CURES
from interlock.waits.facts import Database, DatabaseFile, Facts, FileLock, Opened, Process
from interlock.waits.find_sqlite import BRINGS, DETECTORS
from interlock.waits.finding import LIKELY, PROVEN, WAITS, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.look import Place
from interlock.waits.private_copy import fingerprint, private_copy
from interlock.waits.read_sqlite_users import read_sqlite_users
from interlock.waits.read_state import integrity
from interlock.waits.read_strays import read_strays
from interlock.waits.read_write_ahead import read_write_ahead

HEAD = """
import os, sqlite3, sys
path = sys.argv[1]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
"""
NAMES = ("rpmdb.sqlite", "rpmdb.sqlite-shm", "rpmdb.sqlite-wal")


@contextmanager
def program(database: Path, text: str) -> Iterator[Any]:
    """Run a program that has the database open; it has done ``text`` when this begins."""
    with python(HEAD + text + "\nprint('ready', flush=True)\nsys.stdin.readline()\n", str(database)) as child:
        assert heard(child) == "ready"
        yield child


def place_at(tmp_path: Path) -> Place:
    return Place(ProcReader(), "/", Programs(), ManualClock(), str(tmp_path / "scratch"))


def facts_at(folder: Path, *pids: int) -> Facts:
    reader = ProcReader()
    table = {pid: Process(pid, "x", "x", 1, reader.state(pid) or "", 1, 100.0) for pid in pids}
    return Facts(0.0, Database(str(folder), "sqlite", (), f"{folder}/.rpm.lock"), table)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with a database, whose log somebody else keeps open."""
    make_sqlite(tmp_path / "rpm")
    return tmp_path / "rpm"


def user_of(tmp_path: Path, folder: Path, pid: int, *others: int) -> SqliteUser:
    found = read_sqlite_users(place_at(tmp_path), facts_at(folder, pid, *others))
    return next(one for one in found if one.pid == pid)


def test_a_holder_of_the_write_lock_is_seen(tmp_path: Path, folder: Path) -> None:
    with program(folder / NAMES[0], "connection.execute('BEGIN IMMEDIATE')") as child:
        user = user_of(tmp_path, folder, child.pid)
    assert (user.holds, user.writes, user.unlocked, user.checkpoints) == (True, True, False, False)
    assert any(" 120 120 " in line for line in user.locks)


def test_who_only_has_it_open_is_in_nobodys_way(tmp_path: Path, folder: Path) -> None:
    with program(folder / NAMES[0], "connection.execute('SELECT * FROM Packages').fetchall()") as child:
        user = user_of(tmp_path, folder, child.pid)
    assert (user.holds, user.stalled, user.unlocked, user.snapshot) == (False, False, False, 0)


def test_a_stopped_reader_with_a_snapshot_is_seen(tmp_path: Path, folder: Path) -> None:
    text = "connection.execute('BEGIN')\nconnection.execute('SELECT * FROM Packages').fetchone()"
    with program(folder / NAMES[0], text) as child:
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: ProcReader().state(child.pid) == "T")
        user = user_of(tmp_path, folder, child.pid)
        os.kill(child.pid, signal.SIGCONT)
    assert (user.stalled, user.holds, user.unlocked) == (True, False, False)
    assert user.snapshot in range(123, 128)


@pytest.mark.parametrize("name", NAMES[:2])
def test_locks_that_a_close_has_dropped_are_missed(tmp_path: Path, folder: Path, name: str) -> None:
    text = f"connection.execute('SELECT * FROM Packages').fetchall()\nopen('{folder / name}', 'rb').close()"
    with program(folder / NAMES[0], text) as child:
        user = user_of(tmp_path, folder, child.pid)
    assert user.unlocked
    assert not user.holds


def test_a_forked_child_is_not_taken_for_one_that_dropped_its_locks(tmp_path: Path, folder: Path) -> None:
    text = """
connection.execute('SELECT * FROM Packages').fetchall()
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
print(pid, flush=True)
"""
    with python(HEAD + text + "sys.stdin.readline()\nos.close(writing)\nos.wait()\n", str(folder / NAMES[0])) as child:
        forked = int(heard(child))
        user = user_of(tmp_path, folder, forked, child.pid)
        tell(child)
        child.wait(20)
    assert user.locks == ()
    assert not user.unlocked


def test_other_databases_have_no_users_here(tmp_path: Path, folder: Path) -> None:
    make_sqlite(tmp_path / "other")
    with program(tmp_path / "other" / NAMES[0], "connection.execute('BEGIN IMMEDIATE')") as child:
        assert read_sqlite_users(place_at(tmp_path), facts_at(folder, child.pid)) == ()


def test_a_writer_in_a_directory_that_was_moved_away_is_a_stray(tmp_path: Path, folder: Path) -> None:
    with program(folder / NAMES[0], "lock = open(path.replace('rpmdb.sqlite', '.rpm.lock'), 'a')") as child:
        assert read_strays(place_at(tmp_path), facts_at(folder, child.pid)) == ()
        folder.rename(tmp_path / "rpmold.7")
        make_sqlite(folder)
        found = read_strays(place_at(tmp_path), facts_at(folder, child.pid))
    old = str(tmp_path / "rpmold.7")
    lock, main = Stray(child.pid, f"{old}/.rpm.lock", True), Stray(child.pid, f"{old}/rpmdb.sqlite", False, held=True)
    assert sorted(found) == [lock, main]


def test_a_private_copy_leaves_the_directory_as_it_is(tmp_path: Path, folder: Path) -> None:
    sqlite3.connect(folder / NAMES[0]).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    assert not (folder / NAMES[1]).exists()
    before = fingerprint(str(folder))
    with private_copy(place_at(tmp_path), facts_at(folder), "state") as copy:
        assert copy is not None
        assert os.listdir(copy) == [NAMES[0]]
        assert integrity(copy) == ()
    assert not os.path.exists(copy)
    assert (sorted(os.listdir(folder)), fingerprint(str(folder))) == ([".rpm.lock", NAMES[0]], before)


def test_damaged_pages_are_named(tmp_path: Path, folder: Path) -> None:
    main = folder / NAMES[0]
    connection = sqlite3.connect(main)
    connection.execute("CREATE INDEX an_index ON packages(name)")
    connection.commit()
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with main.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\xa5" * size)
    assert integrity(str(folder))


def test_whether_there_is_a_log_is_read_from_the_head(tmp_path: Path, folder: Path) -> None:
    connection = sqlite3.connect(folder / NAMES[0])
    connection.execute("PRAGMA journal_mode = WAL")
    assert read_write_ahead(place_at(tmp_path), facts_at(folder))
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    assert not read_write_ahead(place_at(tmp_path), facts_at(folder))


PATH = "/var/lib/rpm"
MAIN = f"{PATH}/rpmdb.sqlite"


def file(name: str, size: int = 0) -> DatabaseFile:
    return DatabaseFile(name, 1, 1, size, 0o100644, 0, 0.0)


def process(pid: int, command: str = "rpm -qa", state: str = "S", **more: Any) -> Process:
    return Process(pid, "x", command, 1, state, pid * 10, 60.0, **more)


def healthy(**more: Any) -> Facts:
    rows = tuple(file(name) for name in NAMES)
    facts = Facts(0.0, Database(PATH, "sqlite", rows, f"{PATH}/.rpm.lock"), {}, write_ahead=True)
    return facts._replace(state=State(packages=("a-1-1.noarch", "b-1:2-1.noarch")), **more)


def table(*rows: Process) -> Mapping[int, Process]:
    return {one.pid: one for one in rows}


def found_in(facts: Facts) -> list[Finding]:
    return [finding for detect in DETECTORS for finding in detect(facts, build_graph(facts))]


LOCK = FileLock(1, "POSIX", True, 7, f"{PATH}/.rpm.lock", (0, 1), 5, 0, None, False)
SICK = {
    "a foreign writer": (
        "sqlite-foreign-writer", WAITS,
        healthy(processes=table(process(7)), sqlite_users=(SqliteUser(7, True, (), holds=True),)),
    ),
    "a foreign writer that rpm waits for": (
        "sqlite-foreign-writer", LIKELY,
        healthy(
            processes=table(process(7), process(8, "rpm -i /x/new-1-1.noarch.rpm")),
            sqlite_users=(SqliteUser(7, True, (), holds=True), SqliteUser(8, True, (), active=True)),
        ),
    ),
    "a stopped reader": (
        "sqlite-stalled-reader", WAITS,
        healthy(processes=table(process(7, state="T")), sqlite_users=(SqliteUser(7, False, (), 123, stalled=True),)),
    ),
    "a reader that sleeps, and somebody who empties the log": (
        "sqlite-stalled-reader", WAITS,
        healthy(
            processes=table(process(7), process(8)),
            sqlite_users=(SqliteUser(7, False, (), 124, stalled=True), SqliteUser(8, True, (), checkpoints=True)),
        ),
    ),
    "dropped locks": (
        "database-lock-dropped", PROVEN,
        healthy(processes=table(process(7)), sqlite_users=(SqliteUser(7, True, (), unlocked=True),)),
    ),
    "damaged pages": ("sqlite-malformed", PROVEN, healthy()._replace(state=State(integrity=("page 7",)))),
    "a lock that is deleted": (
        "database-replaced", PROVEN,
        healthy(processes=table(process(7)), strays=(Stray(7, "/var/lib/rpmold.3/.rpm.lock (deleted)", True, True),)),
    ),
    "a rebuild that left no database": (
        "database-replaced", PROVEN, healthy(left=(LeftDatabase("/var/lib/rpmold.3", ("a-1-1.noarch",)),)),
    ),
    "no log": (
        "sqlite-wal-removed", PROVEN,
        healthy(database=Database(PATH, "sqlite", (file(NAMES[0]),), f"{PATH}/.rpm.lock")),
    ),
}  # fmt: skip
SOUND = {
    "nobody": healthy(),
    "a transaction that writes": healthy(
        processes=table(process(7)), locks=(LOCK,), sqlite_users=(SqliteUser(7, True, (), 123, holds=True),)
    ),
    "a transaction at its end": healthy(
        processes=table(process(7)), opened=(Opened(7, f"{PATH}/.rpm.lock"),),
        sqlite_users=(SqliteUser(7, True, (), holds=True),),
    ),
    "a transaction whose scriptlet takes its time": healthy(
        processes=table(process(7)), locks=(LOCK,), sqlite_users=(SqliteUser(7, True, (), 123, stalled=True),)
    ),
    "a reader in nobody's way": healthy(
        processes=table(process(7)), sqlite_users=(SqliteUser(7, False, (), 123, stalled=True),)
    ),
    "a transaction that has released the old lock": healthy(
        processes=table(process(7)), strays=(Stray(7, "/var/lib/rpmold.3/.rpm.lock (deleted)", True),)
    ),
    "a database without a log": healthy(
        database=Database(PATH, "sqlite", (file(NAMES[0]),), f"{PATH}/.rpm.lock"), write_ahead=False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_each_case_is_named_alone_with_its_proof(name: str) -> None:
    case, sure, facts = SICK[name]
    findings = found_in(facts)
    assert [(one.id, one.sure) for one in findings] == [(case, sure)]
    assert all(findings[0].proof)
    assert case in catalogue()


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_against_what_is_healthy(name: str) -> None:
    assert found_in(SOUND[name]) == []


ACTS = {
    "a foreign writer": [("end", [7])],
    "a foreign writer that rpm waits for": [("end", [7]), ("install-again", [])],
    "a stopped reader": [("continue", [7])],
    "a reader that sleeps, and somebody who empties the log": [("end", [7])],
    "dropped locks": [("end", [7])],
    "damaged pages": [("rebuild", [])],
    "a lock that is deleted": [("end", [7])],
    "a rebuild that left no database": [("put-back", [])],
    "no log": [("reopen", [])],
}


@pytest.mark.parametrize("name", SICK)
def test_the_cure_is_the_least_that_helps(name: str) -> None:
    facts = SICK[name][2]
    (finding,) = found_in(facts)
    steps = CURES[finding.id](finding, facts).steps
    assert [(step.act, step.data.get("pids", [])) for step in steps] == ACTS[name]
    assert all(step.data["started"] == [70] for step in steps if step.data.get("pids"))
    assert all(step.writes for step in steps if step.act in ("rebuild", "reopen", "put-back"))


def test_a_transaction_that_makes_progress_under_an_old_lock_is_left_to_a_person() -> None:
    facts = SICK["a lock that is deleted"][2]._replace(moving=frozenset({7}))
    (finding,) = found_in(facts)
    cure = CURES[finding.id](finding, facts)
    assert not cure.steps
    assert "wait" in cure.decide


def test_a_failed_install_is_named_and_one_with_an_epoch_is_not() -> None:
    command = "rpm -U /x/new-1-1.noarch.rpm /x/b-2-1.noarch.rpm"
    users = (SqliteUser(7, True, (), holds=True), SqliteUser(8, True, (), active=True))
    facts = healthy(processes=table(process(7), process(8, command)), sqlite_users=users)
    (finding,) = found_in(facts)
    assert finding.packages == ("new-1-1.noarch",)
    assert finding.pids == (7, 8)


def test_what_brings_what_is_in_the_catalogue() -> None:
    assert {*BRINGS, *(one for brought in BRINGS.values() for one in brought)} <= set(catalogue())


class FakeRpm(Programs):
    """An rpm that can install once it has been asked to."""

    def __init__(self, works: bool) -> None:
        super().__init__()
        self.works, self.there = works, set[str]()

    def run(self, argv: Sequence[str], **_options: Any) -> Completed:
        self.asked.append(tuple(argv))
        if argv[1] == "-U" and self.works:
            self.there.add("new-1-1.noarch")
        known = argv[1] != "-q" or argv[-1] in self.there
        return Completed(tuple(argv), 0 if known else 1, "", "it cannot", 0.0)


def treatment_at(tmp_path: Path, rpm: FakeRpm) -> Treatment:
    return Treatment(replace(host_at(tmp_path), runner=rpm), healthy(), str(tmp_path / "cure"), [])


def test_a_failed_package_is_installed_again(tmp_path: Path) -> None:
    (tmp_path / "new-1-1.noarch.rpm").touch()
    data = {"files": {"new-1-1.noarch": f"{tmp_path}/new-1-1.noarch.rpm"}}
    rpm = FakeRpm(True)
    assert "installed again" in hands_install.install_again(treatment_at(tmp_path, rpm), data)
    assert ("rpm", "-U", f"{tmp_path}/new-1-1.noarch.rpm") in rpm.asked
    with pytest.raises(StepFailed, match="could not be installed: it cannot"):
        hands_install.install_again(treatment_at(tmp_path, FakeRpm(False)), data)
    (tmp_path / "new-1-1.noarch.rpm").unlink()
    with pytest.raises(StepFailed, match="not there any more"):
        hands_install.install_again(treatment_at(tmp_path, FakeRpm(True)), data)


def packages_answered(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> None:
    left = list(answers)
    monkeypatch.setattr(hands_database, "installed", lambda _copy, _runner: left.pop(0))
    monkeypatch.setattr(hands_database, "_database", lambda _host, path: database_at(Path(path), "sqlite"))
    monkeypatch.setattr(hands_database, "obstacle", lambda _database: None)


def rebuilding(tmp_path: Path, folder: Path) -> Treatment:
    treatment = treatment_at(tmp_path, FakeRpm(True))
    database = Database(str(folder), "sqlite", (), f"{folder}/.rpm.lock")
    treatment.facts = treatment.facts._replace(database=database)
    return treatment


def test_a_rebuild_that_would_lose_a_package_is_not_put_in_place(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages_answered(monkeypatch, ("a-1-1.noarch", "b-1-1.noarch"), ("a-1-1.noarch",))
    before = os.stat(folder).st_ino
    with pytest.raises(StepFailed, match=r"would lose b-1-1\.noarch;"):
        hands_database.rebuild(rebuilding(tmp_path, folder), {})
    assert os.stat(folder).st_ino == before
    assert os.listdir(tmp_path) == ["rpm"]


def test_a_rebuild_is_put_in_place_under_the_same_lock_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".rpm.lock").touch(mode=0o644)
    lock, before = os.stat(folder / ".rpm.lock").st_ino, os.stat(folder)
    packages_answered(monkeypatch, ("a-1-1.noarch",), ("a-1-1.noarch",))
    assert "all of its 1 packages" in hands_database.rebuild(rebuilding(tmp_path, folder), {})
    after = os.stat(folder)
    assert (after.st_ino != before.st_ino, after.st_mode) == (True, before.st_mode)
    assert os.stat(folder / ".rpm.lock").st_ino == lock
    assert os.listdir(tmp_path) == ["rpm"]


def test_what_is_replaced_is_kept(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages_answered(monkeypatch)
    copy = tmp_path / "cures"
    make_sqlite(copy, rows=5)
    kept = hands_database.replace_database(host_at(tmp_path), str(folder), str(copy))
    count = "SELECT count(*) FROM Packages"
    assert sqlite3.connect(folder / NAMES[0]).execute(count).fetchone() == (5,)
    assert sqlite3.connect(Path(kept) / NAMES[0]).execute(count).fetchone() == (3,)

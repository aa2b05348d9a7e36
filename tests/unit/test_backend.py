"""Consistent copies of a database, taken while others use it, that leave it as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made import Programs, database_at, heard, make_bdb, make_sqlite, names_in, python, rows_of

from interlock.rpmdb import backend
from interlock.rpmdb.backend import (
    DatabaseBusy,
    NoDatabase,
    backend_of,
    copy_database,
    database_size,
    empty_write_ahead_log,
    find_database,
    is_volatile,
    read_copy,
)
from interlock.system.child import ChildFailed
from interlock.system.proc import ProcReader

# Commits what it is told to, and keeps a transaction open in which one more row is written and not committed.
WRITER = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("INSERT INTO packages VALUES ('in-the-log')")
c.execute("BEGIN IMMEDIATE")
c.execute("INSERT INTO packages VALUES ('not-committed')")
print("writing", flush=True)
sys.stdin.readline()
"""


def posix_locks_on(path: Path) -> list[int]:
    inodes = {one.stat().st_ino for one in path.iterdir()}
    return [lock.pid for lock in ProcReader().locks() if lock.inode in inodes]


def test_a_copy_beside_a_live_writer(tmp_path: Path) -> None:
    database = make_sqlite(tmp_path / "rpm")
    os.chmod(tmp_path / "rpm/rpmdb.sqlite", 0o640)
    (tmp_path / "rpm/macros").write_text("kept")
    target = tmp_path / "copy"
    target.mkdir()
    with python(WRITER, str(tmp_path / "rpm/rpmdb.sqlite")) as writer:
        assert heard(writer) == "writing"
        files = database.files()
        copy_database(database, str(target))
        assert database.files() == files
        assert {"rpmdb.sqlite-wal", "rpmdb.sqlite-shm"} < set(files)
        assert set(posix_locks_on(tmp_path / "rpm")) == {writer.pid}
    assert sorted(rows_of(target)) == ["in-the-log", "p0", "p1", "p2"]
    assert (target / "rpmdb.sqlite").stat().st_mode & 0o7777 == 0o640
    assert (target / "macros").read_text() == "kept"
    assert not (target / ".rpm.lock").exists()


def test_a_copy_of_a_log_that_nobody_has_open_leaves_the_log(tmp_path: Path) -> None:
    database = make_sqlite(tmp_path / "rpm")
    files = database.files()
    target = tmp_path / "copy"
    target.mkdir()
    copy_database(database, str(target))
    assert database.files() == files
    assert posix_locks_on(tmp_path / "rpm") == []
    assert rows_of(target) == ["p0", "p1", "p2"]


def test_berkeley_db_is_copied_by_file_without_what_belongs_to_processes(tmp_path: Path) -> None:
    database = make_bdb(tmp_path / "rpm")
    (tmp_path / "rpm/sub").mkdir()
    (tmp_path / "rpm/sub/more").write_text("more")
    target = tmp_path / "copy"
    target.mkdir()
    copy_database(database, str(target))
    assert sorted(os.listdir(target)) == ["Name", "Packages", "sub"]
    assert (target / "Packages").read_text() == "Packages from before\n"
    assert (target / "sub/more").read_text() == "more"


def test_ndb_is_copied_by_file(tmp_path: Path) -> None:
    source, target = tmp_path / "rpm", tmp_path / "copy"
    source.mkdir()
    target.mkdir()
    for name in ("Packages.db", "Index.db", ".rpm.lock"):
        (source / name).write_text(name)
    copy_database(database_at(source, "ndb"), str(target))
    assert sorted(os.listdir(target)) == ["Index.db", "Packages.db"]


def test_a_damaged_database_is_an_error_with_sqlites_words(tmp_path: Path) -> None:
    (tmp_path / "rpm").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "rpm/rpmdb.sqlite").write_text("this is no database at all, whatever its name says" * 50)
    with pytest.raises(ChildFailed, match=r"copying the package database failed: .*not a database"):
        copy_database(database_at(tmp_path / "rpm", "sqlite"), str(tmp_path / "copy"))


def test_a_file_that_changes_during_the_copy_is_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = make_bdb(tmp_path / "rpm")
    left = [3]
    whole = backend.copy_database

    def disturbed(source: backend.Database, target: str) -> None:
        whole(source, target)
        if left[0]:
            left[0] -= 1
            (tmp_path / "rpm/Packages").write_text("x" * (100 + left[0]))

    monkeypatch.setattr(backend, "copy_database", disturbed)
    read_copy(database, str(tmp_path / "copy"))
    assert left == [0]
    assert (tmp_path / "copy/Packages").read_text() == "x" * 100


def test_a_file_that_goes_away_during_the_copy_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = make_bdb(tmp_path / "rpm")
    whole = backend.copy_database

    def disturbed(source: backend.Database, target: str) -> None:
        if (tmp_path / "rpm/Name").exists():
            (tmp_path / "rpm/Name").unlink()
            raise FileNotFoundError(2, "No such file or directory", "Name")
        whole(source, target)

    monkeypatch.setattr(backend, "copy_database", disturbed)
    read_copy(database, str(tmp_path / "copy"))
    assert os.listdir(tmp_path / "copy") == ["Packages"]


def test_a_writer_that_never_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = make_bdb(tmp_path / "rpm")
    whole, count = backend.copy_database, []

    def disturbed(source: backend.Database, target: str) -> None:
        whole(source, target)
        count.append(1)
        (tmp_path / "rpm/Packages").write_text("x" * len(count))

    monkeypatch.setattr(backend, "copy_database", disturbed)
    with pytest.raises(DatabaseBusy, match="at each of 4 attempts"):
        read_copy(database, str(tmp_path / "copy"), tries=4)
    assert len(count) == 4


def test_regions_may_change_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = make_bdb(tmp_path / "rpm")
    whole, count = backend.copy_database, []

    def disturbed(source: backend.Database, target: str) -> None:
        whole(source, target)
        count.append(1)
        (tmp_path / "rpm/__db.001").write_text("x" * len(count))

    monkeypatch.setattr(backend, "copy_database", disturbed)
    read_copy(database, str(tmp_path / "copy"))
    assert len(count) == 1


def test_a_copy_for_reading_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    database = make_bdb(tmp_path / "rpm")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/stale").touch()
    read_copy(database, str(tmp_path / "copy"))
    assert sorted(os.listdir(tmp_path / "copy")) == ["Name", "Packages"]
    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o700


def test_the_log_is_emptied_into_the_main_file_and_stays(tmp_path: Path) -> None:
    make_sqlite(tmp_path / "rpm")
    assert (tmp_path / "rpm/rpmdb.sqlite-wal").stat().st_size > 0
    empty_write_ahead_log(str(tmp_path / "rpm"))
    assert (tmp_path / "rpm/rpmdb.sqlite-wal").stat().st_size == 0
    assert (tmp_path / "rpm/rpmdb.sqlite-shm").exists()
    assert names_in(tmp_path / "rpm") == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["rpmdb.sqlite", "Packages"], "sqlite"), (["Packages.db", "Index.db"], "ndb"), (["Packages", "Name"], "bdb"),
    ],
)  # fmt: skip
def test_the_format_on_the_disk(tmp_path: Path, files: list[str], kind: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert backend_of(str(tmp_path)) == kind


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(NoDatabase, match=str(tmp_path)):
        backend_of(str(tmp_path))


def test_where_rpm_says_it_is(tmp_path: Path) -> None:
    real, link = tmp_path / "usr/lib/sysimage/rpm", tmp_path / "rpm"
    real.mkdir(parents=True)
    link.symlink_to(real)
    (real / "Packages").touch()
    programs = Programs({"rpm": f"{link}\nsqlite\n{link}/.rpm.lock\n"})
    found = find_database(programs)
    assert found == backend.Database(str(link), str(real), "bdb", "sqlite", str(real / ".rpm.lock"))
    assert {word for word in programs.asked[0] if word.startswith("-")} == {"--eval"}


def test_an_old_rpm_that_names_neither_format_nor_lock(tmp_path: Path) -> None:
    (tmp_path / "Packages").touch()
    found = find_database(Programs({"rpm": f"{tmp_path}\n\n\n"}))
    assert (found.backend, found.wanted, found.lock) == ("bdb", "bdb", str(tmp_path / ".rpm.lock"))


def test_what_belongs_to_processes() -> None:
    names = ["__db.001", ".rpm.lock", ".dbenv.lock", "Packages", "rpmdb.sqlite-wal", "__dbx"]
    assert [name for name in names if is_volatile(name)] == ["__db.001", ".rpm.lock", ".dbenv.lock"]


def test_the_size_is_that_of_the_content(tmp_path: Path) -> None:
    make_bdb(tmp_path / "rpm")
    (tmp_path / "rpm/__db.001").write_text("x" * 100_000)
    assert database_size(str(tmp_path / "rpm")) == len("Packages from before\n") + len("Name from before\n")

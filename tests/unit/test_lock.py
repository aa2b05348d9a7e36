"""rpm's own lock: ours as long as the context lasts, on the file that everybody else waits for."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from made import MadeProc, heard, in_child, make_bdb, python

from interlock.errors import Busy
from interlock.rpmdb import lock as locks
from interlock.rpmdb.backend import Database
from interlock.rpmdb.lock import RpmLock, busy_database, lock_holders, process_age
from interlock.system.proc import ProcReader

RPM = (
    "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_bdb(tmp_path / "rpm")


def rpm_is_refused(database: Database) -> bool:
    def attempt() -> bool:
        with open(database.lock, "r+") as stream:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    return in_child(attempt) == 0


def test_rpm_is_refused_while_it_is_held(database: Database) -> None:
    inode = os.stat(database.lock).st_ino
    with RpmLock(database, ProcReader()) as lock:
        assert rpm_is_refused(database)
        # What our own code opens and closes meanwhile does not drop it.
        Path(database.lock).read_text()
        assert rpm_is_refused(database)
        lock.release()
        assert not rpm_is_refused(database)
    assert os.stat(database.lock).st_ino == inode


def test_a_lock_file_that_was_never_there_is_made(database: Database) -> None:
    os.unlink(database.lock)
    with RpmLock(database, ProcReader()):
        assert rpm_is_refused(database)


def test_who_holds_it_is_named_with_its_age(database: Database) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with python(RPM, database.lock) as rpm:
        assert heard(rpm) == "held"
        assert lock_holders(database, ProcReader()) == [rpm.pid]
        with pytest.raises(Busy) as caught, RpmLock(database, ProcReader()):
            pass
        assert f"(pid {rpm.pid}) holds {database.lock}" in str(caught.value)
        assert caught.value.fields["age"].endswith(" s ago")
    assert lock_holders(database, ProcReader()) == []
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_holder_of_a_lock_of_our_kind_is_found_by_what_it_has_open(database: Database) -> None:
    with RpmLock(database, ProcReader()):
        assert lock_holders(database, ProcReader()) == [os.getpid()]
    assert lock_holders(database, ProcReader()) == []


def test_a_file_that_is_replaced_between_open_and_lock_is_locked_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    whole = locks.linux.lock_whole_file

    def swapped(descriptor: int) -> None:
        if len(taken) < 2:
            os.rename(database.lock, f"{database.lock}.{len(taken)}")
            Path(database.lock).touch()
        taken.append(os.fstat(descriptor).st_ino)
        whole(descriptor)

    monkeypatch.setattr(locks.linux, "lock_whole_file", swapped)
    with RpmLock(database, ProcReader()):
        assert len(taken) == 3
        assert taken[-1] == os.stat(database.lock).st_ino
        assert rpm_is_refused(database)


def test_a_file_that_is_removed_between_open_and_lock_is_made_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = locks.linux.lock_whole_file

    def removed(descriptor: int) -> None:
        if not calls:
            os.unlink(database.lock)
        calls.append(descriptor)
        whole(descriptor)

    monkeypatch.setattr(locks.linux, "lock_whole_file", removed)
    with RpmLock(database, ProcReader()):
        assert len(calls) == 2
        assert rpm_is_refused(database)


def test_nothing_is_said_of_those_who_only_wait(database: Database, tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    inode = os.stat(database.lock).st_ino
    made.put(
        "locks",
        f"1: POSIX  ADVISORY  WRITE 50 fd:01:{inode} 0 EOF\n1: -> POSIX ADVISORY WRITE 51 fd:01:{inode} 0 EOF\n",
    )
    assert lock_holders(database, made.reader) == [50]


def test_a_holder_that_is_gone_by_now(database: Database, tmp_path: Path) -> None:
    assert "gone by now" in str(busy_database(database, MadeProc(tmp_path / "proc").reader))


def test_the_age_of_a_process(tmp_path: Path) -> None:
    made = MadeProc(tmp_path / "proc")
    made.process(50, started=(1000 - 300) * os.sysconf("SC_CLK_TCK"))
    assert process_age(made.reader, 50) == "5 min"
    assert process_age(made.reader, 51) == "0 s"

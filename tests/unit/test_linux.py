"""The system calls that Python's library lacks, against the kernel itself."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from made import heard, in_child, python

from interlock.system import linux

POSIX_LOCK = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True);"
WAIT = "sys.stdin.readline()"


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "lock"
    path.touch()
    return str(path)


def posix_lock_fails(path: str) -> bool:
    """Say whether another process is refused the lock that rpm takes."""

    def attempt() -> bool:
        with open(path, "r+") as stream:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    return in_child(attempt) == 0


def test_our_lock_stands_in_the_way_of_posix_locks_until_it_is_given_back(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    assert not posix_lock_fails(path)
    linux.lock_whole_file(descriptor)
    assert posix_lock_fails(path)
    linux.unlock_whole_file(descriptor)
    assert not posix_lock_fails(path)
    os.close(descriptor)


def test_our_lock_is_not_dropped_when_another_descriptor_of_the_file_is_closed(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    linux.lock_whole_file(descriptor)
    os.close(os.open(path, os.O_RDWR))
    assert posix_lock_fails(path)
    os.close(descriptor)
    assert not posix_lock_fails(path)


def test_a_posix_lock_of_another_process_stands_in_our_way(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    with python(POSIX_LOCK + WAIT, path) as other:
        assert heard(other) == "held"
        with pytest.raises(BlockingIOError):
            linux.lock_whole_file(descriptor)
        assert linux.lock_holder(descriptor) == linux.LockHolder(other.pid, True)
    linux.lock_whole_file(descriptor)
    os.close(descriptor)


def test_two_open_files_of_one_process_conflict_and_name_no_pid(path: str) -> None:
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    assert linux.lock_holder(second) is None
    linux.lock_whole_file(first)
    assert linux.lock_holder(first) is None
    assert linux.lock_holder(second) == linux.LockHolder(-1, True)
    with pytest.raises(BlockingIOError):
        linux.lock_whole_file(second)
    os.close(first)
    linux.lock_whole_file(second)
    os.close(second)


def test_a_reader_in_the_way_is_no_writer(path: str) -> None:
    text = POSIX_LOCK.replace("LOCK_EX", "LOCK_SH") + WAIT
    descriptor = os.open(path, os.O_RDWR)
    with python(text, path) as other:
        assert heard(other) == "held"
        assert linux.lock_holder(descriptor) == linux.LockHolder(other.pid, False)
    os.close(descriptor)


def test_exchange(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    (one / "a").touch()
    other.write_text("a file")
    inodes = one.stat().st_ino, other.stat().st_ino
    linux.rename_exchange(str(one), str(other))
    assert (other.stat().st_ino, one.stat().st_ino) == inodes
    assert one.read_text() == "a file"
    assert os.listdir(other) == ["a"]


def test_exchange_with_what_is_not_there_changes_nothing(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        linux.rename_exchange(str(one), str(tmp_path / "none"))
    assert str(caught.value.filename) == str(one)
    assert os.listdir(tmp_path) == ["one"]


def test_rename_without_replacing(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("one")
    other.write_text("other")
    with pytest.raises(FileExistsError):
        linux.rename_noreplace(str(one), str(other))
    assert other.read_text() == "other"
    other.unlink()
    linux.rename_noreplace(str(one), str(other))
    assert other.read_text() == "one"
    assert not one.exists()


def test_an_unknown_machine_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "_SYS_RENAMEAT2", {})
    with pytest.raises(OSError) as caught:
        linux.rename_exchange(str(tmp_path), str(tmp_path))
    assert caught.value.errno == errno.ENOSYS


def test_a_bind_mount_of_a_private_namespace_stays_there(tmp_path: Path) -> None:
    shadow, database = tmp_path / "shadow", tmp_path / "database"
    for folder in (shadow, database):
        folder.mkdir()
        (folder / "name").write_text(folder.name)

    def look() -> bool:
        linux.unshare_mounts()
        linux.make_mounts_slave()
        linux.bind_mount(str(shadow), str(database))
        shown = (database / "name").read_text()
        linux.unmount(str(database))
        return (shown, (database / "name").read_text()) == ("shadow", "database")

    assert in_child(look) == 0
    assert (database / "name").read_text() == "database"


def test_a_failed_mount_names_what_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none1.*none2"):
        linux.bind_mount(str(tmp_path / "none1"), str(tmp_path / "none2"))


def test_blocks_are_shared_or_the_answer_is_no(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w+b") as source, open(tmp_path / "b", "w+b") as target:
        source.write(b"x" * 8192)
        source.flush()
        shared = linux.clone_file(source.fileno(), target.fileno())
        assert os.fstat(target.fileno()).st_size == (8192 if shared else 0)


def test_a_file_system_is_synced(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    linux.syncfs(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError) as caught:
        linux.syncfs(descriptor)
    assert caught.value.errno == errno.EBADF

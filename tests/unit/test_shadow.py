"""The shadow: made beside the database, exchanged in one step, and nobody waits on a wrong lock file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made import in_child, make_bdb, make_sqlite, names_in

from interlock.rpmdb import shadow as shadows
from interlock.rpmdb.backend import Database
from interlock.rpmdb.shadow import Shadow, free_space, kept_copies, obstacle, space_needed
from interlock.system import linux
from interlock.system.trace import Trace, TracePointRaised

QUIET = Trace({})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_bdb(tmp_path / "lib/rpm")


def test_a_shadow_is_a_hidden_sibling(database: Database) -> None:
    shadow = Shadow.of(database, "op-1")
    assert shadow.path == os.path.join(os.path.dirname(database.path), ".rpm.interlock-op-1")
    assert not os.path.exists(shadow.path)


def test_make_and_discard(database: Database) -> None:
    os.chmod(database.path, 0o2750)
    os.chown(database.path, 12, 34)
    shadow = Shadow.of(database, "op-1")
    shadow.make(QUIET)
    found = os.stat(shadow.path)
    assert sorted(os.listdir(shadow.path)) == ["Name", "Packages"]
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o2750, 12, 34)
    # What a rebuild makes beside it, and leaves when it is killed.
    os.mkdir(f"{shadow.path}rebuilddb.1444")
    shadow.discard()
    assert os.listdir(os.path.dirname(database.path)) == ["rpm"]


def test_while_it_is_made_nobody_else_can_read_it(database: Database) -> None:
    shadow = Shadow.of(database, "op-1")
    with pytest.raises(TracePointRaised):
        shadow.make(Trace({"shadow.started": "raise"}))
    assert os.stat(shadow.path).st_mode & 0o7777 == 0o700
    shadow.make(QUIET)
    assert sorted(os.listdir(shadow.path)) == ["Name", "Packages"]


def exchanged(database: Database) -> Shadow:
    shadow = Shadow.of(database, "op-1")
    shadow.make(QUIET)
    for name in ("Packages", "__db.001", "__db.003", ".dbenv.lock", ".rpm.lock"):
        Path(shadow.path, name).write_text(f"{name} from the transaction\n")
    shadow.exchange(QUIET)
    return shadow


def test_the_exchange(database: Database) -> None:
    lock = os.stat(database.lock).st_ino
    old = os.stat(database.path).st_ino
    shadow = exchanged(database)
    assert sorted(os.listdir(database.path)) == [".rpm.lock", "Name", "Packages"]
    assert Path(database.path, "Packages").read_text() == "Packages from the transaction\n"
    assert os.stat(database.lock).st_ino == lock, "who waits for the lock waits where the next one takes it"
    assert os.stat(shadow.path).st_ino == old
    assert Path(shadow.path, "Packages").read_text() == "Packages from before\n"
    assert {"__db.001", "__db.002", ".rpm.lock"} < set(os.listdir(shadow.path)), "those who use it keep their regions"


def test_a_lock_that_is_held_through_the_exchange_still_counts(database: Database) -> None:
    descriptor = os.open(database.lock, os.O_RDWR)
    linux.lock_whole_file(descriptor)
    exchanged(database)
    other = os.open(database.lock, os.O_RDWR)
    assert linux.lock_holder(other) == linux.LockHolder(-1, True)
    os.close(descriptor)
    assert linux.lock_holder(other) is None
    os.close(other)


def test_a_lock_elsewhere_is_not_linked(database: Database, tmp_path: Path) -> None:
    elsewhere = Database(database.configured, database.path, "bdb", "bdb", str(tmp_path / "rpm.lock"))
    Path(elsewhere.lock).touch()
    shadow = Shadow.of(elsewhere, "op-1")
    shadow.make(QUIET)
    shadow.exchange(QUIET)
    assert sorted(os.listdir(database.path)) == ["Name", "Packages"]


def test_the_exchange_of_a_sqlite_database(tmp_path: Path) -> None:
    database = make_sqlite(tmp_path / "rpm")
    shadow = Shadow.of(database, "op-1")
    shadow.make(QUIET)
    text = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute(\"INSERT INTO packages VALUES ('new')\"); c.commit(); os._exit(0)"
    )
    assert (
        in_child(lambda: os.execv("/usr/bin/env", ["env", "python3", "-c", text, f"{shadow.path}/rpmdb.sqlite"])) == 0
    )
    assert os.stat(f"{shadow.path}/rpmdb.sqlite-wal").st_size > 0
    shadow.exchange(QUIET)
    assert os.stat(f"{database.path}/rpmdb.sqlite-wal").st_size == 0
    assert os.path.exists(f"{database.path}/rpmdb.sqlite-shm")
    assert names_in(database.path) == ["p0", "p1", "p2", "new"]
    assert names_in(shadow.path) == ["p0", "p1", "p2"]


def test_a_failure_before_the_exchange_leaves_the_database(database: Database) -> None:
    before, inode = sorted(database.files()), os.stat(database.path).st_ino
    shadow = Shadow.of(database, "op-1")
    shadow.make(QUIET)
    with pytest.raises(TracePointRaised):
        shadow.exchange(Trace({"commit.linked": "raise"}))
    assert (sorted(database.files()), os.stat(database.path).st_ino) == (before, inode)
    shadow.discard()
    assert Path(database.lock).read_text() == ".rpm.lock from before\n"


def test_old_databases_are_listed_oldest_first(database: Database) -> None:
    parent = os.path.dirname(database.path)
    for name in (".rpm.interlock-20260102", ".rpm.interlock-20260101", ".rpmx.interlock-1", "other"):
        os.mkdir(os.path.join(parent, name))
    assert [os.path.basename(path) for path in kept_copies(database)] == [
        ".rpm.interlock-20260101", ".rpm.interlock-20260102",
    ]  # fmt: skip


def test_no_obstacle_leaves_nothing(database: Database) -> None:
    assert obstacle(database) is None
    assert os.listdir(os.path.dirname(database.path)) == ["rpm"]


def test_a_mount_point_is_an_obstacle(database: Database) -> None:
    def look() -> bool:
        linux.unshare_mounts()
        linux.make_mounts_slave()
        linux.mount("none", database.path, 0, "tmpfs")
        return obstacle(database) == f"{database.path} is a mount point, which cannot be exchanged"

    assert in_child(look) == 0
    assert obstacle(database) is None


def test_a_bind_mount_of_the_same_file_system_is_an_obstacle(database: Database) -> None:
    def look() -> bool:
        linux.unshare_mounts()
        linux.make_mounts_slave()
        linux.bind_mount(database.path, database.path)
        return "is a mount point" in str(obstacle(database))

    assert in_child(look) == 0


def test_an_overlay_is_an_obstacle(tmp_path: Path) -> None:
    for name in ("lower/rpm", "upper", "work", "merged"):
        (tmp_path / name).mkdir(parents=True)
    database = Database("", str(tmp_path / "merged/rpm"), "bdb", "bdb", "")

    def look() -> bool:
        linux.unshare_mounts()
        linux.make_mounts_slave()
        data = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
        linux.mount("overlay", str(tmp_path / "merged"), 0, "overlay", data)
        return "is on overlay, where directories cannot be exchanged" in str(obstacle(database))

    assert in_child(look) == 0


def test_the_nearest_mount_decides(tmp_path: Path) -> None:
    inner = tmp_path / "with space" / "rpm"
    inner.mkdir(parents=True)

    def look() -> bool:
        linux.unshare_mounts()
        linux.make_mounts_slave()
        linux.mount("none", str(inner.parent), 0, "tmpfs")
        inner.mkdir()
        linux.mount("none", str(inner), 0, "ramfs")
        paths = [inner, inner.parent, inner.parent / "other"]
        return [shadows._file_system(str(path)) for path in paths] == ["ramfs", "tmpfs", "tmpfs"]

    assert in_child(look) == 0


def test_a_file_system_that_cannot_exchange(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(linux, "rename_exchange", refuse)
    assert (
        obstacle(database) == f"directories in {os.path.dirname(database.path)} cannot be exchanged: Invalid argument"
    )
    assert os.listdir(os.path.dirname(database.path)) == ["rpm"]


def test_space(database: Database) -> None:
    before = space_needed(database)
    Path(database.path, "Packages").write_bytes(b"x" * 1_000_000)
    assert 2_900_000 < space_needed(database) - before <= 3_000_000
    assert free_space(database.path) > 0

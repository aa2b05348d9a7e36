"""Shadow and gate as the engine uses them: undone unless committed or kept."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from made import host_at, in_child, make_bdb, make_sqlite, names_in

from interlock.errors import Refused
from interlock.host.context import Host
from interlock.rpmdb import shadow as shadows
from interlock.rpmdb.backend import Database
from interlock.system.trace import Trace, TracePointRaised
from interlock.upgrade import isolation as isolations
from interlock.upgrade.isolation import GateIsolation, Isolation, ShadowIsolation, choose_isolation, restore_content

BOTH = pytest.mark.parametrize("kind", [ShadowIsolation, GateIsolation])


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make_bdb(tmp_path / "lib/rpm")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    os.makedirs(tmp_path / "var/lib/interlock/operations/op-1")
    return host_at(tmp_path)


def work_in(isolation: Isolation) -> None:
    """Do what a transaction does to a database."""
    Path(isolation.written, "Packages").write_text("from the transaction")
    Path(isolation.written, "Basenames").write_text("an index more")
    Path(isolation.written, "__db.009").write_text("its regions")
    Path(isolation.written, "Name").unlink()


def content(path: str) -> dict[str, str]:
    folder = Path(path)
    return {one.name: one.read_text() for one in folder.iterdir() if not one.name.startswith((".", "__db"))}


BEFORE = {"Packages": "Packages from before\n", "Name": "Name from before\n"}
AFTER = {"Packages": "from the transaction", "Basenames": "an index more"}


@BOTH
def test_commit(kind: type[Isolation], host: Host, database: Database) -> None:
    with kind(host, database, "op-1") as isolation:
        work_in(isolation)
        previous = isolation.commit()
    assert content(database.path) == AFTER
    assert content(previous) == BEFORE
    assert not [name for name in database.files() if name.startswith("__db.")]


@BOTH
def test_the_default_end_is_undoing(kind: type[Isolation], host: Host, database: Database) -> None:
    with kind(host, database, "op-1") as isolation:
        work_in(isolation)
    assert content(database.path) == BEFORE
    assert not os.path.exists(isolation.shadow.path)


@BOTH
def test_an_error_undoes(kind: type[Isolation], host: Host, database: Database) -> None:
    lock = os.stat(database.lock).st_ino
    isolation = kind(host, database, "op-1")

    def work() -> None:
        with isolation:
            work_in(isolation)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert content(database.path) == BEFORE
    assert os.stat(database.lock).st_ino == lock
    assert not os.path.exists(isolation.shadow.path)


@BOTH
def test_what_is_kept_is_what_was_written(kind: type[Isolation], host: Host, database: Database) -> None:
    with kind(host, database, "op-1") as isolation:
        work_in(isolation)
        kept = isolation.keep()
        assert content(database.path) == BEFORE
    assert content(kept) == AFTER
    assert content(database.path) == BEFORE


@pytest.mark.parametrize("point", ["shadow.started", "shadow.copied"])
@BOTH
def test_a_failure_at_the_beginning_leaves_nothing(
    kind: type[Isolation], host: Host, database: Database, point: str
) -> None:
    failing = Host(host.paths, host.runner, host.clock, host.proc, Trace({point: "raise"}))
    isolation = kind(failing, database, "op-1")
    with pytest.raises(TracePointRaised), isolation:
        pytest.fail("it has begun")
    assert content(database.path) == BEFORE
    assert not os.path.exists(isolation.shadow.path)


def test_what_the_worker_sees(host: Host, database: Database) -> None:
    shadow, gate = ShadowIsolation(host, database, "op-1"), GateIsolation(host, database, "op-1")
    assert (shadow.bind, shadow.written) == (shadow.shadow.path, shadow.shadow.path)
    assert (gate.bind, gate.written) == ("", database.path)
    assert gate.shadow.path == str(Path(host.paths.operations, "op-1", "rpmdb-before"))


def test_whose_lock_the_worker_sees(host: Host, database: Database, tmp_path: Path) -> None:
    elsewhere = Database(database.path, database.path, "bdb", "bdb", str(tmp_path / "rpm.lock"))
    assert ShadowIsolation(host, database, "op-1").hides_lock
    assert not ShadowIsolation(host, elsewhere, "op-1").hides_lock
    assert not GateIsolation(host, database, "op-1").hides_lock


# -- restore_content -----------------------------------------------------------------------------------------------


def test_restored_content_in_the_same_directory_with_the_same_lock(database: Database, tmp_path: Path) -> None:
    source = tmp_path / "before"
    source.mkdir()
    (source / "Packages").write_text("old")
    (source / "sub").mkdir()
    (source / "sub/file").write_text("old, too")
    os.mkdir(f"{database.path}/sub")
    inodes = os.stat(database.path).st_ino, os.stat(database.lock).st_ino
    restore_content(str(source), database)
    assert database.files() == [".dbenv.lock", ".rpm.lock", "Packages", "__db.001", "__db.002", "sub"]
    assert Path(database.path, "Packages").read_text() == "old"
    assert Path(database.path, "sub/file").read_text() == "old, too"
    assert (os.stat(database.path).st_ino, os.stat(database.lock).st_ino) == inodes
    assert (source / "Packages").read_text() == "old"


def readable_for_ordinary_users(database: Database) -> bool:
    def look() -> bool:
        os.setgid(65534)
        os.setuid(65534)
        connection = sqlite3.connect(f"file:{database.path}/rpmdb.sqlite?mode=ro", uri=True)
        return connection.execute("SELECT count(*) FROM packages").fetchone() == (3,)

    return in_child(look) == 0


def test_restored_sqlite_content_can_be_read_by_ordinary_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("open")
    # Up to the directory of all temporary ones; one more lies between where tests run two at a time.
    for folder in (root, *root.parents[:3]):
        os.chmod(folder, 0o755)
    database = make_sqlite(root / "rpm")
    assert readable_for_ordinary_users(database)
    isolation = GateIsolation(host_at(root), database, "op-1")
    os.makedirs(os.path.dirname(isolation.shadow.path))
    with isolation:
        assert in_child(lambda: write_row(database.path)) == 0
        assert names_in(database.path)[-1] == "new"
    assert readable_for_ordinary_users(database)
    assert names_in(database.path) == ["p0", "p1", "p2"]


def write_row(path: str) -> bool:
    """Add a row and end without closing, as a worker does that is killed."""
    connection = sqlite3.connect(f"{path}/rpmdb.sqlite")
    connection.execute("INSERT INTO packages VALUES ('new')")
    connection.commit()
    os._exit(0)


# -- choice --------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "obstacle", lambda _database: "it is a mount point")


@pytest.mark.parametrize(("asked", "chosen"), [("auto", "shadow"), ("shadow", "shadow"), ("gate", "gate")])
def test_what_is_asked_for(host: Host, database: Database, asked: str, chosen: str) -> None:
    assert choose_isolation(host, database, "op-1", asked).kind == chosen


@pytest.mark.usefixtures("blocked")
def test_where_no_shadow_works(host: Host, database: Database) -> None:
    assert choose_isolation(host, database, "op-1", "auto").kind == "gate"
    assert choose_isolation(host, database, "op-1", "gate").kind == "gate"
    with pytest.raises(Refused, match="it is a mount point; --isolation gate works without"):
        choose_isolation(host, database, "op-1", "shadow")


def test_no_space(host: Host, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolations.shadows, "free_space", lambda _path: 5 << 20)
    with pytest.raises(Refused, match="16 MiB are needed, 5 MiB are free"):
        choose_isolation(host, database, "op-1", "auto")

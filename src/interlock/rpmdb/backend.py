"""Where the package database is, in which of rpm's formats, and how a consistent copy of it is made.

Layout of a database directory D: ``rpmdb.sqlite`` with ``-wal`` and ``-shm`` (sqlite), ``Packages.db`` and
``Index.db`` (ndb), or ``Packages`` and an index each file, with the shared regions ``__db.NNN`` and
``.dbenv.lock`` (bdb); and rpm's transaction lock ``.rpm.lock``.

Rules. Nothing here opens a file of a *live* Berkeley DB environment through its library: a process killed in there
leaves locks that nobody can release. The files are copied, and only a private copy is ever opened. SQLite is
opened, read-only, in a process of its own: closing the last writable connection would remove ``-wal`` and
``-shm``, without which ordinary users cannot query.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from urllib.parse import quote

from interlock.errors import InterlockError
from interlock.system import durable
from interlock.system.child import call_in_child
from interlock.system.run import Runner

MARKERS = (("rpmdb.sqlite", "sqlite"), ("Packages.db", "ndb"), ("Packages", "bdb"))
COPY_LIMIT = 600.0
_OPEN_AT_EXIT: list[sqlite3.Connection] = []


class NoDatabase(InterlockError):
    """There is no package database in {path}."""

    hint = "Is this an RPM host? `rpm --eval %_dbpath` says where its database should be."


class DatabaseBusy(InterlockError):
    """The package database in {path} changed at each of {tries} attempts to read it."""

    hint = "Wait until the running transaction has ended; `interlock check` names its process."


@dataclass(frozen=True)
class Database:
    """One package database.

    ``path`` is the real path of ``configured`` (``%_dbpath``, which may be a link); ``backend`` is what lies on the
    disk, ``wanted`` what this rpm is configured to write.
    """

    configured: str
    path: str
    backend: str
    wanted: str
    lock: str

    def files(self) -> list[str]:
        """Return the names of all files and folders in the directory."""
        return sorted(os.listdir(self.path))


def backend_of(path: str) -> str:
    """Return the format of the database in a directory: ``sqlite``, ``ndb``, ``bdb``; NoDatabase if none."""
    for name, backend in MARKERS:
        if os.path.exists(os.path.join(path, name)):
            return backend
    raise NoDatabase(path=path)


def find_database(runner: Runner) -> Database:
    """Ask the host's rpm where its database is. ``--eval`` reads configuration only, it takes no lock."""
    expressions = ("%{_dbpath}", "%{?_db_backend}", "%{?_rpmlock_path}")
    argv = ["rpm", *(word for one in expressions for word in ("--eval", one))]
    answers = runner.run(argv, timeout=30).stdout.split("\n")
    configured, wanted, lock = [*answers, "", "", ""][:3]
    path = os.path.realpath(configured)
    backend = backend_of(path)
    lock_path = os.path.realpath(lock) if lock else os.path.join(path, ".rpm.lock")
    return Database(configured, path, backend, wanted or backend, lock_path)


def is_volatile(name: str) -> bool:
    """Say whether a file belongs to the processes that use a database, not to its content."""
    return name.startswith("__db.") or name in (".rpm.lock", ".dbenv.lock")


def database_size(path: str) -> int:
    """Return the bytes that a copy of the database takes."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
        if not is_volatile(name)
    )


def copy_database(database: Database, target: str) -> None:
    """Fill the existing directory ``target`` with a consistent, synced copy.

    The caller holds rpm's lock; without it use ``read_copy``.
    """
    for folder, _, names in os.walk(database.path):
        inside = os.path.join(target, os.path.relpath(folder, database.path))
        if folder != database.path:
            os.makedirs(inside, exist_ok=True)
        for name in names:
            if not is_volatile(name) and not name.startswith("rpmdb.sqlite"):
                durable.copy_file(os.path.join(folder, name), os.path.join(inside, name))
    if database.backend == "sqlite":
        _copy_sqlite(database.path, target)
    sync_files(target)


def _copy_sqlite(path: str, target: str) -> None:
    source, copy = os.path.join(path, "rpmdb.sqlite"), os.path.join(target, "rpmdb.sqlite")
    call_in_child("copying the package database", lambda: _sqlite_backup(source, copy), COPY_LIMIT)
    found = os.stat(source)
    os.chmod(copy, found.st_mode & 0o7777)
    os.chown(copy, found.st_uid, found.st_gid)


def _sqlite_backup(source: str, target: str) -> None:
    reading = sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True, timeout=30)
    writing = sqlite3.connect(target)
    # The copy is synced once, as a whole, afterwards.
    writing.execute("PRAGMA synchronous = OFF")
    reading.backup(writing)
    writing.close()
    reading.close()


def empty_write_ahead_log(path: str) -> None:
    """Move all of a private SQLite copy into its main file.

    A reader that opens the main file just before an exchange and the log just after it then finds nothing in the
    log that could belong to another database.
    """
    target = os.path.join(path, "rpmdb.sqlite")
    call_in_child("checkpointing the shadow", lambda: _checkpoint(target), COPY_LIMIT)


def _checkpoint(target: str) -> None:
    connection = sqlite3.connect(target, timeout=30)
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise OSError(f"{target} is in use")
    # Not closed: closing would remove -wal and -shm, which ordinary users need. The process ends with it open.
    _OPEN_AT_EXIT.append(connection)


def sync_files(path: str) -> None:
    """Make every file below a directory, and the directories, durable."""
    for folder, _, names in os.walk(path):
        for name in names:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
            os.fsync(descriptor)
            os.close(descriptor)
        durable.sync_directory(folder)


def read_copy(database: Database, target: str, tries: int = 50) -> None:
    """Fill ``target`` with a copy for reading, without a lock: copied again until nothing changed meanwhile.

    Raises DatabaseBusy when a writer was at work during every one of ``tries`` attempts.
    """
    for _ in range(tries):
        durable.remove_trees([target])
        os.makedirs(target, mode=0o700)
        if _copied_whole(database, target):
            return
    raise DatabaseBusy(path=database.path, tries=tries)


def _copied_whole(database: Database, target: str) -> bool:
    try:
        before = _fingerprint(database)
        copy_database(database, target)
        return database.backend == "sqlite" or before == _fingerprint(database)
    except FileNotFoundError:
        # A file that was there a moment ago has gone: a writer is at work.
        return False


def _fingerprint(database: Database) -> tuple[tuple[str, int, int, int], ...]:
    rows = []
    for name in database.files():
        if not is_volatile(name):
            found = os.lstat(os.path.join(database.path, name))
            rows.append((name, found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(rows)

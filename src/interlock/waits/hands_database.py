"""Hands that act on the package database: rebuild in a copy, put a copy in place, make missing files anew.

Rules. What is put in place was made beside the database, on the same file system, and goes there in one exchange,
while rpm's own lock is held; the lock file stays the same one, so that who waits for it waits for the right one. A
copy that lacks a package is never put in place. Users of a Berkeley DB environment must have ended before.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from interlock.host.context import Host
from interlock.rpmdb.backend import Database, backend_of, find_database
from interlock.rpmdb.gate import database_users
from interlock.rpmdb.lock import RpmLock
from interlock.rpmdb.shadow import Shadow, obstacle
from interlock.system import durable
from interlock.system.child import call_in_child
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.hands_install import install_again
from interlock.waits.private_copy import copy_content
from interlock.waits.read_state import installed, integrity

REBUILD_LIMIT = 900.0
QUERY_LIMIT = 60.0
LOG_FILES = ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm")


def rebuild(treatment: Treatment, _data: Mapping[str, Any]) -> str:
    """Rebuild the database in a copy, and put it in place if it has every package that can be read now."""
    host = treatment.host
    database = _database(host, treatment.database)
    with _workshop(host, database, f"cure-{os.path.basename(treatment.folder)}") as shadow:
        _fill(database.path, shadow.path)
        before = known_packages(host, shadow.path)
        _rebuild_copy(host, database, shadow.path)
        after = installed(shadow.path, host.runner)
        _compare(before, after, treatment.meant)
        broken = integrity(shadow.path) if backend_of(shadow.path) == "sqlite" else ()
        if broken:
            raise StepFailed(detail=f"the rebuilt copy is not whole ({broken[0]}); the database is as it was")
        _put_in_place(host, shadow)
    return f"the database was rebuilt in a copy with all of its {len(after or ())} packages, and put in place"


def replace_database(host: Host, path: str, copy: str) -> str:
    """Exchange the database at ``path`` with a copy of the directory ``copy``; return where the old one is kept."""
    database = _database(host, path)
    stamp = f"undone-{int(host.clock.now())}-{os.getpid()}"
    with _workshop(host, database, stamp, keep=True) as shadow:
        _fill(copy, shadow.path)
        _put_in_place(host, shadow)
    return shadow.path


@contextlib.contextmanager
def changed_copy(treatment: Treatment, name: str) -> Iterator[str]:
    """Give a copy of the database to change, with rpm's lock held; it is put in place unless an error is raised."""
    database = _database(treatment.host, treatment.database)
    with _workshop(treatment.host, database, f"{name}-{os.path.basename(treatment.folder)}") as shadow:
        _fill(database.path, shadow.path)
        yield shadow.path
        _put_in_place(treatment.host, shadow)


def put_back(treatment: Treatment, data: Mapping[str, Any]) -> str:
    """Put a copy of the database that a rebuild left beside the one in place there, if it has all that this one has."""
    host, source = treatment.host, str(data["from"])
    database = _database(host, treatment.database)
    with _workshop(host, database, f"cure-{os.path.basename(treatment.folder)}") as shadow:
        _fill(source, shadow.path)
        after = installed(shadow.path, host.runner)
        _compare(set(treatment.packages), after, treatment.meant)
        if not after or (backend_of(shadow.path) == "sqlite" and integrity(shadow.path)):
            raise StepFailed(detail=f"the database in {source} is not whole either")
        _put_in_place(host, shadow)
    return f"a copy of {source} with {len(after)} packages is in place"


def reopen(treatment: Treatment, _data: Mapping[str, Any]) -> str:
    """Have root's rpm open the database once, which makes the files of its log; they get the main file's access."""
    treatment.host.runner.run(["rpm", "-q", "rpm"], timeout=QUERY_LIMIT, check=False)
    main = os.stat(os.path.join(treatment.database, "rpmdb.sqlite"))
    for name in LOG_FILES:
        path = os.path.join(treatment.database, name)
        if not os.path.exists(path):
            raise StepFailed(detail=f"rpm opened the database as root, and {path} is still not there")
        os.chown(path, main.st_uid, main.st_gid)
        os.chmod(path, main.st_mode & 0o7777)
    return f"the files of the log are there again: {', '.join(LOG_FILES)}"


def _database(host: Host, path: str) -> Database:
    found = find_database(host.runner)
    if found.path != os.path.realpath(path):
        raise StepFailed(detail=f"rpm keeps its database in {found.path}, not in {path}")
    return found


@contextlib.contextmanager
def _workshop(host: Host, database: Database, name: str, keep: bool = False) -> Iterator[Shadow]:
    """Give an empty directory beside the database, with rpm's lock held; afterwards it is removed, or kept."""
    hindrance = obstacle(database)
    if hindrance:
        raise StepFailed(detail=f"no copy can be put in place: {hindrance}")
    shadow = Shadow.of(database, name)
    with RpmLock(database, host.proc):
        _no_users(host, database)
        try:
            os.mkdir(shadow.path, 0o700)
            yield shadow
        except BaseException:
            shadow.discard()
            raise
        if not keep:
            shadow.discard()


def _no_users(host: Host, database: Database) -> None:
    """Berkeley DB's users share regions, and would go on in the old ones; those of the others only read."""
    users = database_users(database.path, host.proc) if database.backend == "bdb" else {}
    others = {pid: name for pid, name in users.items() if pid != os.getpid()}
    if others:
        named = "; ".join(f"{name} (pid {pid})" for pid, name in sorted(others.items()))
        raise StepFailed(detail=f"these still have the package database open: {named}")


def _fill(source: str, target: str) -> None:
    if not copy_content(source, target):
        raise StepFailed(detail=f"{source} changed again and again while it was copied; somebody writes to it")
    for name in os.listdir(target):
        _give_access(os.path.join(source, name), os.path.join(target, name))


def _give_access(source: str, target: str) -> None:
    found = os.stat(source)
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, found.st_mode & 0o7777)


def _rebuild_copy(host: Host, database: Database, path: str) -> None:
    """Let the host's rpm rebuild the copy, in the format that it has now."""
    command = ["rpm", "--dbpath", path, "--define", f"_db_backend {database.backend}", "--rebuilddb"]
    done = host.runner.run(command, timeout=REBUILD_LIMIT, check=False)
    if done.status != 0:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise StepFailed(detail=f"rpm could not rebuild the copy ({said}); the database is as it was")


def known_packages(host: Host, path: str) -> set[str]:
    """Return what must be there after a rebuild: all packages that can be read, or that an index still names."""
    found = installed(path, host.runner)
    if found is None:
        raise StepFailed(detail="nobody can read the packages of the copy; a rebuild would lose them")
    names = {one.rpartition("-")[0].rpartition("-")[0] for one in found}
    return set(found) | {name for name in _indexed(path) if name not in names}


def _indexed(path: str) -> list[str]:
    """Return the package names in SQLite's index by name, as far as it can be read."""
    main = os.path.join(path, "rpmdb.sqlite")
    if not os.path.exists(main):
        return []
    names = call_in_child("reading the index of the copy", lambda: _index_of(main), QUERY_LIMIT)
    return [str(name) for name in names if name != "gpg-pubkey"]


def _index_of(main: str) -> list[str]:
    try:
        rows = sqlite3.connect(main).execute("SELECT key FROM Name NOT INDEXED").fetchall()
    except sqlite3.DatabaseError:
        return []
    return [row[0].decode("utf-8", "replace") if isinstance(row[0], bytes) else str(row[0]) for row in rows]


def _compare(before: set[str], after: object, meant: list[str]) -> None:
    kept = set(after) if isinstance(after, tuple) else set()
    names = {one.rpartition("-")[0].rpartition("-")[0] for one in kept}
    lost = sorted(one for one in before - kept - set(meant) if one not in names)
    if lost:
        more = f" and {len(lost) - 8} more" if len(lost) > 8 else ""
        raise StepFailed(
            detail=f"a rebuild would lose {', '.join(lost[:8])}{more}; the database is as it was. Put their records"
            " back from the same packages' files first, or restore a copy of the database"
        )


def _put_in_place(host: Host, shadow: Shadow) -> None:
    path = shadow.database.path
    for name in os.listdir(shadow.path):
        if os.path.exists(os.path.join(path, name)):
            _give_access(os.path.join(path, name), os.path.join(shadow.path, name))
    _give_access(path, shadow.path)
    shadow.exchange(host.trace)
    durable.sync_directory(os.path.dirname(path))


HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {
    "rebuild": rebuild, "reopen": reopen, "install-again": install_again, "put-back": put_back,
}  # fmt: skip

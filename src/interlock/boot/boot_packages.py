"""Reads what package management has left unfinished: in the package database, on the disk, in its own histories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Optional
from urllib.parse import quote

from interlock.boot.boot_tree import Tree
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.rpmdb.backend import Database, NoDatabase, backend_of, find_database
from interlock.rpmdb.reader import private_copy
from interlock.rpmdb.unfinished import is_leftover
from interlock.system.child import call_in_child

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

PLACES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm")
QUERY = "%{NAME}\\t%{NEVRA}\\t%{ARCH}\\t[%{PROVIDENAME} ]\\n"
QUERY_LIMIT = 60.0
HISTORY_LIMIT = 20.0
# Installed beside their earlier versions.
BESIDE = ("kernel", "gpg-pubkey", "kmod-", "linux-image")
BESIDE_PROVIDES = ("installonlypkg(", "multiversion(", "installhint(reboot-needed)")
# What a boot uses; data of services, which may be endless, is elsewhere.
WALKED = ("/boot", "/etc", "/usr")
LEFT_OUT = ("/usr/local", "/usr/src", "/usr/share/doc", "/usr/share/locale")
DNF_HISTORY = "/var/lib/dnf/history.sqlite"
YUM = "/var/lib/yum"


class Packages(NamedTuple):
    """What was found. ``installed`` is their number; None where the database cannot be read, as ``unreadable`` says."""

    installed: Optional[int]
    unreadable: str
    duplicates: tuple[tuple[str, ...], ...]
    leftovers: tuple[str, ...]
    open_transactions: tuple[tuple[str, str], ...]
    has_kernel: bool = False


def read_packages(host: Host, tree: Tree) -> Packages:
    """Return what is unfinished; the database is read from a copy, and nothing is waited for."""
    rows: Optional[list[list[str]]] = None
    unreadable = ""
    try:
        rows = _query(host, _database(host, tree))
    except (InterlockError, OSError) as error:
        unreadable = str(error)
    return Packages(
        None if rows is None else len(rows), unreadable, tuple(duplicates(rows or ())),
        tuple(leftovers(tree, host.clock.now())), tuple(_open_transactions(tree)),
        any(row[0].startswith(("kernel-core", "kernel-default", "linux-image")) or row[0] == "kernel"
            for row in rows or ()),
    )  # fmt: skip


def _database(host: Host, tree: Tree) -> Database:
    if tree.live:
        return find_database(host.runner)
    for place in PLACES:
        real = tree.resolve(place)
        if real is not None and tree.names(real):
            path = tree.outside(real)
            backend = backend_of(path)
            return Database(path, path, backend, backend, os.path.join(path, ".rpm.lock"))
    raise NoDatabase(path=tree.outside(PLACES[1]))


def _query(host: Host, database: Database) -> list[list[str]]:
    with private_copy(database, host.paths, f"boot-{os.getpid()}") as copy:
        argv = ["rpm", "--dbpath", copy, "--nodigest", "--nosignature", "-qa", "--queryformat", QUERY]
        text = host.runner.run(argv, timeout=QUERY_LIMIT).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    return [row for row in rows if len(row) == 4 and row[0] != "gpg-pubkey"]


def duplicates(rows: Iterable[list[str]]) -> Iterator[tuple[str, ...]]:
    """Yield the packages of one name and architecture of which there should be one and are several."""
    named: dict[tuple[str, str], list[list[str]]] = {}
    for row in rows:
        named.setdefault((row[0], row[2]), []).append(row)
    for some in named.values():
        if len(some) > 1 and not any(_stands_beside(row) for row in some):
            yield tuple(sorted(row[1] for row in some))


def _stands_beside(row: list[str]) -> bool:
    return row[0].startswith(BESIDE) or any(name.startswith(BESIDE_PROVIDES) for name in row[3].split())


def leftovers(tree: Tree, before: float) -> Iterator[str]:
    """Yield the temporary files of transactions that began before a time, below what a boot uses."""
    for top in WALKED:
        real = tree.resolve(top)
        if real is not None:
            yield from _below(tree, real, before)


def _below(tree: Tree, top: str, before: float) -> Iterator[str]:
    cut = len(tree.outside("/")) - 1
    left_out = {tree.outside(path) for path in LEFT_OUT}
    todo = [tree.outside(top)]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in left_out:
                            todo.append(entry.path)
                    elif entry.name[-9:-8] == ";" and is_leftover(entry.path, before):
                        yield entry.path[cut:]
        except OSError:
            continue


def _open_transactions(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield where a package manager has begun a transaction and not noted its end, and what it was."""
    history = tree.resolve(DNF_HISTORY)
    if history is not None:
        source = tree.outside(history)
        try:
            row = call_in_child("reading dnf's history", lambda: _last_of_dnf(source), HISTORY_LIMIT)
        except InterlockError:
            row = None
        if row is not None and row[1] is None:
            yield DNF_HISTORY, f"dnf's transaction {row[0]} has begun and not ended"
    names = tree.names(YUM)
    for name in names:
        kind, _, stamp = name.partition(".")
        if kind == "transaction-all" and not stamp.endswith(".disabled"):
            yield f"{YUM}/{name}", f"yum's transaction of {stamp} has begun and not ended"


def _last_of_dnf(path: str) -> Optional[list[object]]:
    """Return number and time of the end of the last transaction; runs in a process of its own."""
    import sqlite3  # noqa: PLC0415 - only in the process that is to have it

    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5)
    row = connection.execute("SELECT id, dt_end FROM trans ORDER BY id DESC LIMIT 1").fetchone()
    return None if row is None else list(row)

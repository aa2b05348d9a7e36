"""Finds out what state the database is in, from a private copy of it."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Optional

from interlock.errors import InterlockError
from interlock.package import Evr, Nevra
from interlock.rpmdb import reader
from interlock.system.child import call_in_child
from interlock.waits import read_content
from interlock.waits.conditions import State
from interlock.waits.facts import Facts
from interlock.waits.private_copy import private_copy

if TYPE_CHECKING:
    from interlock.system.run import Runner
    from interlock.waits.look import Place

LIMIT = 60.0
MOST_LINES = 20
# Tab-separated, because a version may have anything else in it.
FORMAT = "%{name}\t%|epoch?{%{epoch}}:{0}|\t%{version}\t%{release}\t%{arch}\n"


def read_state(place: Place, facts: Facts) -> State:
    """Return what a private copy, and the files that it speaks of, are found to be.

    Only of our own host: another's database is not read with this host's rpm, which may be of another kind.
    """
    if not place.ours or not facts.database.backend:
        return State()
    try:
        with private_copy(place, facts, "state") as copy:
            return State() if copy is None else _examine(place, facts, copy)
    except OSError:
        return State()


def _examine(place: Place, facts: Facts, copy: str) -> State:
    broken = integrity(copy) if facts.database.backend == "sqlite" else ()
    packages = installed(copy, place.runner)
    state = State(readable=packages is not None, integrity=broken, packages=packages or ())
    return read_content.read_content(place, facts, copy, state)


def integrity(copy: str) -> tuple[str, ...]:
    """Return what SQLite itself says against the pages of a private copy; nothing where they are whole."""
    try:
        rows = call_in_child("checking the copy of the database", lambda: _integrity(copy), LIMIT)
    except InterlockError:
        return ()
    return tuple(str(row) for row in rows)


def _integrity(copy: str) -> list[str]:
    try:
        connection = sqlite3.connect(f"{copy}/rpmdb.sqlite", timeout=5)
        rows = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MOST_LINES})")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    lines = [line for row in rows for line in row.splitlines()]
    return [line for line in lines if line != "ok"][:MOST_LINES]


def installed(copy: str, runner: Runner) -> Optional[tuple[str, ...]]:
    """Return the packages of a private copy, keys left out; None where nobody can read them."""
    try:
        rows = call_in_child("reading the copy of the database", lambda: _with_bindings(copy), LIMIT)
    except InterlockError:
        rows = _with_rpm(copy, runner)
    return None if rows is None else tuple(sorted(rows))


def _with_bindings(copy: str) -> list[str]:
    # What librpm thinks of a damaged copy is not for whoever asked the doctor.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    rpm = reader.load_bindings()
    rpm.addMacro("_dbpath", copy)
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(-1)
    return [str(reader.nevra_of(header)) for header in transaction.dbMatch() if header["name"] != "gpg-pubkey"]


def _with_rpm(copy: str, runner: Runner) -> Optional[list[str]]:
    """Ask the rpm program: our Python may have no bindings, and theirs give up where it goes on."""
    try:
        done = runner.run(["rpm", "--dbpath", copy, "-qa", "--qf", FORMAT], timeout=LIMIT, check=False)
    except InterlockError:
        return None
    found = [_nevra(line) for line in done.stdout.splitlines() if not line.startswith("gpg-pubkey\t")]
    return found if found or done.status == 0 else None


def _nevra(line: str) -> str:
    name, epoch, version, release, arch = [*line.split("\t"), "", "", "", ""][:5]
    number = int(epoch) if epoch.isdecimal() and epoch.isascii() else 0
    return str(Nevra(name, Evr(number, version, release), arch))

"""Reads what is installed, from a private copy of the database, in a process of its own.

The bindings load the host's librpm, which is then gone with the process. Nothing here can wait for a lock of the
live database, or leave one there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from interlock.errors import InterlockError
from interlock.host.paths import Paths
from interlock.package import Evr, Nevra, Package, Relation, package_from_json, package_to_json
from interlock.rpmdb.backend import Database, read_copy
from interlock.system import durable
from interlock.system.child import call_in_child

READ_LIMIT = 300.0
# Dependencies name programs and configuration; other paths are too many to carry along for every package.
FILE_HINTS = ("bin/", "/etc/", "/usr/lib/sendmail")
SENSE_LESS, SENSE_GREATER, SENSE_EQUAL, SENSE_PREREQ = 2, 4, 8, 64 | 512 | 1024 | 2048 | 4096


class BindingsMissing(InterlockError):
    """The Python bindings of rpm cannot be loaded: {detail}."""

    hint = "Install the distribution's python3-rpm package for the Python that runs Interlock."


@contextlib.contextmanager
def private_copy(database: Database, paths: Paths, name: str) -> Iterator[str]:
    """Give the path of a copy of the database that nobody else opens; it is removed afterwards."""
    target = f"{paths.scratch}-{name}"
    try:
        read_copy(database, target)
        yield target
    finally:
        durable.remove_trees([target])


def installed_packages(copy: str) -> list[Package]:
    """Return every package of a private copy, ``gpg-pubkey`` left out."""
    return read_database(copy)[0]


def read_database(copy: str) -> tuple[list[Package], list[str]]:
    """Return every package of a private copy, and the keys of rpm's keyring as ASCII armor."""
    found = call_in_child("reading the package database", lambda: _read(copy), READ_LIMIT)
    return [package_from_json(row) for row in found["packages"]], found["keys"]


def load_bindings() -> ModuleType:
    """Import rpm's bindings, or raise BindingsMissing."""
    try:
        import rpm  # noqa: PLC0415 - only in the process that is to have librpm
    except ImportError as error:
        raise BindingsMissing(detail=str(error)) from None
    module: ModuleType = rpm
    return module


def _read(copy: str) -> dict[str, Any]:
    rpm = load_bindings()
    rpm.addMacro("_dbpath", copy)
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(-1)
    packages: list[dict[str, Any]] = []
    keys: list[str] = []
    for header in transaction.dbMatch():
        if _text(header["name"]) == "gpg-pubkey":
            keys.append(_text(header["description"]))
        else:
            packages.append(package_to_json(read_header(rpm, header)))
    return {"packages": packages, "keys": keys}


def nevra_of(header: Any) -> Nevra:
    """Return the identity of an rpm header."""
    evr = Evr(int(header["epoch"] or 0), _text(header["version"]), _text(header["release"]))
    return Nevra(_text(header["name"]), evr, _text(header["arch"] or "(none)"))


def read_header(rpm: ModuleType, header: Any) -> Package:
    """Return what planning needs of an rpm header."""
    relations = {kind: _relations(header, kind[:-1]) for kind in ("provides", "requires", "conflicts", "obsoletes")}
    paths = tuple(path for path in map(_text, header["filenames"]) if any(hint in path for hint in FILE_HINTS))
    size = int(header["longsize"] or header["size"] or 0)
    return Package(nevra_of(header), files=paths, size=size, installed_at=int(header["installtime"] or 0), **relations)


def _relations(header: Any, tag: str) -> tuple[Relation, ...]:
    names, senses, versions = header[f"{tag}name"], header[f"{tag}flags"], header[f"{tag}version"]
    found = {
        Relation(_text(name), _sense(flags), Evr.parse(_text(version)), bool(flags & SENSE_PREREQ)): None
        for name, flags, version in zip(names, senses, versions)
    }
    return tuple(found)


def _sense(flags: int) -> str:
    marks = ((SENSE_LESS, "<"), (SENSE_GREATER, ">"), (SENSE_EQUAL, "="))
    return "".join(mark for bit, mark in marks if flags & bit)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""Packages whose scriptlets install or remove others, where that has visibly not come about.

rpm's lock is held while a scriptlet runs, so a nested rpm cannot work; but what it wanted may have been done by
somebody since, or not matter (a file that is not there). Only what is really missing now is reported.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from interlock.package import Nevra
from interlock.rpmdb.reader import load_bindings, nevra_of
from interlock.waits.content_pass import Row
from interlock.waits.scriptlet_words import Call, calls

SCRIPTLETS = {"prein": "%pre", "postin": "%post", "pretrans": "%pretrans", "posttrans": "%posttrans"}
SHELLS = frozenset({"sh", "bash", "dash", "ksh", "ksh93", "mksh", "zsh"})
HINTS = ("rpm", "dnf", "yum", "zypper")
Nested = tuple[str, str, str, str, str, str]


def nested(rows: Sequence[Row]) -> Iterator[Nested]:
    """Yield package, scriptlet, command, the package it did not install or remove, its file, and the verb."""
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row.nevra.name, []).append(row)
    for row in rows:
        for tag, kind in SCRIPTLETS.items():
            for call in calls(_script(row, tag)):
                yield from ((str(row.nevra), kind, call.text, *one) for one in _not_done(row, call, named))


def _script(row: Row, tag: str) -> str:
    program = row.tag(f"{tag}prog")
    shell = os.path.basename(str(program[0])) if program else "sh"
    text = row.text(tag) if shell in SHELLS else ""
    return text if any(hint in text for hint in HINTS) else ""


def _not_done(row: Row, call: Call, named: dict[str, list[Row]]) -> Iterator[tuple[str, str, str]]:
    for thing in call.things:
        if call.verb == "remove":
            # Only what was there already when the scriptlet ran, and still is, though it was removed in any case.
            stayed = [one for one in named.get(thing, []) if call.always and one.tid < row.tid]
            yield from ((str(one.nevra), "", "remove") for one in stayed)
        elif thing.endswith(".rpm"):
            verb = "install" if call.always else "install, under a condition"
            yield from ((other, path, verb) for other, path in _not_installed(thing, named))


def _not_installed(pattern: str, named: dict[str, list[Row]]) -> Iterator[tuple[str, str]]:
    for path in sorted(glob.glob(pattern)) if pattern.startswith("/") else ():
        nevra = nevra_of_file(path)
        if nevra is not None and not any(
            one.nevra.evr.compare(nevra.evr) >= 0 for one in named.get(nevra.name, ()) if one.nevra.arch == nevra.arch
        ):
            yield str(nevra), path


def nevra_of_file(path: str) -> Optional[Nevra]:
    """Return which package a file is; None where it is none."""
    header = header_of_file(path)
    return None if header is None else nevra_of(header)


def header_of_file(path: str) -> Any:
    """Return the header of a package file, unverified; None where it has none. For a process of its own."""
    rpm = load_bindings()
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(-1)
    try:
        with open(path, "rb") as stream:
            return transaction.hdrFromFdno(stream.fileno())
    except (OSError, rpm.error):
        return None

"""Carries a cure out, so that it can be taken back.

Layout: ``/var/lib/interlock/cures/ID/`` has ``database/``, a copy of every file of the package database made before
the first step (its shared regions too), ``aside/`` with what was put aside, and ``record.json``: what was found, what
was done, the packages before and after. Rules: the host's lease is held, so that no upgrade and no other cure runs;
each step is recorded before it is done; the packages are compared afterwards, and a package that is missing then
is said first of all.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from interlock.errors import InterlockError, UsageError
from interlock.host.context import Host
from interlock.system import durable
from interlock.waits import hands_database, hands_files, hands_process, hands_records, hands_regions, hands_system
from interlock.waits.cure import Cure
from interlock.waits.facts import Facts
from interlock.waits.finding import Finding
from interlock.waits.hands import Treatment

Hand = Callable[[Treatment, Mapping[str, Any]], str]
HANDS: Mapping[str, Hand] = {
    **hands_process.HANDS, **hands_database.HANDS, **hands_files.HANDS, **hands_regions.HANDS, **hands_records.HANDS,
    **hands_system.HANDS,
}  # fmt: skip


class UnknownCure(UsageError):
    """There is no cure {id} on this host; there are: {known}."""

    hint = "`interlock doctor --undo` without an id lists them."


@dataclass
class Outcome:
    """What came of one cure: a line for each step that was done, and the error that ended it early, if any."""

    finding: str
    done: list[str] = field(default_factory=list)
    error: str = ""


def begin(host: Host, facts: Facts, findings: Sequence[Finding], packages: Sequence[str]) -> Treatment:
    """Make the folder of a treatment, with a copy of the database as it is."""
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(host.clock.now()))}-{os.getpid()}"
    folder = os.path.join(host.paths.cures, name)
    os.makedirs(os.path.join(folder, "aside"), mode=0o700)
    if facts.database.backend:
        _copy_all(facts.database.path, os.path.join(folder, "database"))
    treatment = Treatment(host, facts, folder, list(packages))
    _record(treatment, [one._asdict() for one in findings], [])
    return treatment


def _copy_all(path: str, target: str) -> None:
    """Copy every file as it is, without any library: what is damaged must be kept damaged."""
    os.makedirs(target, mode=0o700)
    for name in sorted(os.listdir(path)):
        source = os.path.join(path, name)
        if os.path.isfile(source) and not os.path.islink(source):
            durable.copy_file(source, os.path.join(target, name))
    durable.sync_directory(target)


def carry_out(treatment: Treatment, cure: Cure, say: Callable[[str], None]) -> Outcome:
    """Do the steps of a cure, one after the other; the first that fails ends it."""
    outcome = Outcome(cure.finding)
    for step in cure.steps:
        _note(treatment, {"step": step.act, "text": step.text, "data": dict(step.data)})
        try:
            result = HANDS[step.act](treatment, step.data)
        except (InterlockError, OSError) as error:
            outcome.error = f"{step.text}: {error}"
            _note(treatment, {"step": step.act, "error": str(error)})
            return outcome
        outcome.done.append(result or step.text)
        _note(treatment, {"step": step.act, "done": result})
        say(result or step.text)
    return outcome


def _record(treatment: Treatment, findings: Sequence[Mapping[str, Any]], notes: Sequence[Mapping[str, Any]]) -> None:
    row = {
        "database": treatment.facts.database.path, "backend": treatment.facts.database.backend,
        "findings": list(findings), "notes": list(notes), "packages": treatment.packages,
    }  # fmt: skip
    durable.write_file(os.path.join(treatment.folder, "record.json"), json.dumps(row, indent=1) + "\n")


def _note(treatment: Treatment, note: Mapping[str, Any]) -> None:
    path = os.path.join(treatment.folder, "record.json")
    with open(path, encoding="utf-8") as stream:
        row = json.load(stream)
    row["notes"].append(note)
    durable.write_file(path, json.dumps(row, indent=1) + "\n")


def lost_packages(before: Iterable[str], after: Iterable[str], meant: Iterable[str]) -> list[str]:
    """Return the packages that were there before and are not now, those left out that a cure was meant to remove."""
    return sorted(set(before) - set(after) - set(meant))


def cures(host: Host) -> list[str]:
    """Return the ids of the cures whose copies are still there, oldest first."""
    try:
        return sorted(os.listdir(host.paths.cures))
    except FileNotFoundError:
        return []


def undo(host: Host, name: str) -> str:
    """Put the copy of the database back that was made before a cure; the present one is kept beside it."""
    if name not in cures(host):
        raise UnknownCure(id=name, known=", ".join(cures(host)) or "none")
    folder = os.path.join(host.paths.cures, name)
    with open(os.path.join(folder, "record.json"), encoding="utf-8") as stream:
        path = json.load(stream)["database"]
    kept = hands_database.replace_database(host, path, os.path.join(folder, "database"))
    return f"{path} is as it was before cure {name}; what it was until now is kept in {kept}"


def forget(host: Host, name: str) -> None:
    """Remove the folder of a cure."""
    shutil.rmtree(os.path.join(host.paths.cures, name))

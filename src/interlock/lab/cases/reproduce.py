"""Makes a case of the catalogue on a fresh host, lets the host's own doctor look, and cure."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from interlock.errors import UsageError
from interlock.lab import state as records
from interlock.lab import verbs
from interlock.lab.cases import bdb, locks, sqlite, state, system
from interlock.lab.cases.case import LabCase, Made, Scene
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab

CASES: dict[str, LabCase] = {case.id: case for family in (bdb, sqlite, locks, state, system) for case in family.CASES}
DOCTOR_SECONDS = 120.0


class UnknownCase(UsageError):
    """The lab cannot make {case}; it makes: {known}."""

    hint = "`interlock lab cases` lists them with what they need."


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor on the host said: its exit status and its JSON."""

    status: int
    report: Any

    @property
    def ids(self) -> list[str]:
        """The cases that it names."""
        return [finding["id"] for finding in self.report["findings"]]


def find_case(name: str) -> LabCase:
    """Return a case by its id."""
    case = CASES.get(name)
    if case is None:
        raise UnknownCase(case=name, known=", ".join(CASES))
    return case


def reproduce(lab: Lab, case: LabCase, name: str, seed: int) -> tuple[HostHandle, Made]:
    """Boot a host and make the case on it; the host stays."""
    verbs.up(lab, name, case.release, None, [])
    host = HostHandle(lab, name)
    with tempfile.TemporaryDirectory() as work:
        made = case.make(Scene(host, Path(work), random.Random(seed)))
    return host, made


def ask_doctor(host: HostHandle, options: Sequence[str] = ()) -> Diagnosis:
    """Run ``interlock doctor --json`` on the host."""
    done = host.run(["interlock", "doctor", "--json", *options], DOCTOR_SECONDS)
    return Diagnosis(done.status, _parsed(done.stdout, done.stderr))


def _parsed(text: str, errors: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"findings": [], "said": text[-2000:], "errors": errors[-2000:]}


def works(host: HostHandle, package: Optional[str] = None) -> dict[str, str]:
    """Return what comes of a query and of a transaction: empty where both work."""
    query = host.describe_query(30)
    wrong = {} if query.startswith("answers") else {"query": query}
    probe = package or "/srv/depots/{release}-updates-1"
    release = records.load(host.lab.cache, host.name).release
    script = f"rpm -Uv --replacepkgs {probe.format(release=release)}/*.rpm"
    done = host.run(["sh", "-c", script], 60)
    return (
        wrong if done.status == 0 else {**wrong, "transaction": f"status {done.status}: {done.stderr.strip()[-300:]}"}
    )

"""Words and small questions that the detectors of database cases share. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from interlock.package import Nevra
from interlock.waits.edges import label_of
from interlock.waits.facts import Facts

EPOCH = re.compile(r"-\d+:")
STOPPED = "Tt"


def main_file(facts: Facts) -> str:
    """Return the path of the database's main file."""
    return os.path.join(facts.database.path, "rpmdb.sqlite")


def label(facts: Facts, pid: int) -> str:
    """Return how a process is shown to people."""
    return label_of(facts.processes[pid]) if pid in facts.processes else f"pid {pid}"


def package_files(facts: Facts, pids: Iterable[int]) -> tuple[str, ...]:
    """Return the package files that some commands name."""
    commands = [facts.processes[pid].command for pid in pids if pid in facts.processes]
    return tuple(dict.fromkeys(word for one in commands for word in one.split() if word.endswith(".rpm")))


def missing_packages(facts: Facts, files: Sequence[str]) -> dict[str, str]:
    """Return the packages of some files that the database does not have, each with its file."""
    # The name of a package file has no epoch.
    installed = {EPOCH.sub("-", one) for one in facts.state.packages} if facts.state else set()
    named = {_nevra(path): path for path in files}
    return {name: path for name, path in named.items() if name and name not in installed}


def _nevra(path: str) -> str:
    try:
        return str(Nevra.parse(os.path.basename(path)[: -len(".rpm")]))
    except ValueError:
        return ""


def is_stopped(facts: Facts, pid: int) -> bool:
    """Say whether a process was stopped by a signal or a tracer."""
    process = facts.processes.get(pid)
    return process is not None and process.state in STOPPED

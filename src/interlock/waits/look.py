"""One look at a host: asks every reader and puts the answers together as Facts.

Rules. Looking changes nothing: no file of a live database is opened for writing, no lock is taken, no signal is
sent, and no file is opened on which a process of our own holds a lock. Each reader takes a Place, and a process or
a file that vanishes between two reads is normal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from interlock.system.clock import Clock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.waits import (
    read_database,
    read_futexes,
    read_jobs,
    read_locks,
    read_moving,
    read_opened,
    read_pid_files,
    read_pipes,
    read_processes,
    read_scriptlets,
    read_state,
    read_system,
    read_trial,
)
from interlock.waits.facts import Facts


class Place(NamedTuple):
    """Where to look: a host's ``/proc`` and its root directory as we see it (``/`` for our own host).

    ``live`` is false for a captured tree, of which nothing can be asked but its files. ``scratch`` is a directory
    for private copies.
    """

    proc: ProcReader
    root: Path
    runner: Runner
    clock: Clock
    scratch: str
    live: bool = True

    @property
    def ours(self) -> bool:
        """Say whether it is the system that we run on ourselves."""
        return self.live and str(self.root) == "/"

    def path(self, inside: str) -> str:
        """Return where we see a path of the host."""
        return inside if str(self.root) == "/" else os.path.join(self.root, inside.lstrip("/"))


def look(place: Place) -> Facts:
    """Return who waits for whom: what ``interlock locks`` shows. Quick; asks no more than it needs."""
    database = read_database.read_database(place)
    processes = read_processes.read_processes(place)
    facts = Facts(place.clock.now(), database, processes)
    facts = facts._replace(locks=read_locks.read_locks(place, facts))
    facts = facts._replace(opened=read_opened.read_opened(place, facts))
    regions, futexes = read_futexes.read_futexes(place, facts)
    facts = facts._replace(regions=regions, futexes=futexes)
    facts = facts._replace(pid_files=read_pid_files.read_pid_files(place, facts))
    facts = facts._replace(scriptlets=read_scriptlets.read_scriptlets(place, facts))
    facts = facts._replace(jobs=read_jobs.read_jobs(place, facts))
    return facts._replace(pipes=read_pipes.read_pipes(place, facts), complete=os.geteuid() == 0)


def examine(place: Place, facts: Facts) -> Facts:
    """Add what only ``doctor`` needs: who makes progress, the state of the database, and the rest of the host."""
    facts = facts._replace(moving=read_moving.read_moving(place, facts))
    state = read_state.read_state(place, facts)
    trial, hung = read_trial.read_trial(place, facts)
    return facts._replace(state=state._replace(trial=trial, hung=hung), system=read_system.read_system(place, facts))

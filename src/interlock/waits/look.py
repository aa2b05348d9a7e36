"""One look at a host: asks every reader and puts the answers together as Facts.

Rules. Looking changes nothing: no file of a live database is opened for writing, no lock is taken, no signal is
sent, and no file is opened on which a process of our own holds a lock. Each reader takes a Place, and a process or
a file that vanishes between two reads is normal.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from interlock.waits import read_database, read_locks, read_opened, read_processes, relevant
from interlock.waits.facts import Facts
from interlock.waits.process_table import detailed

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NamedTuple, Union

    from interlock.system.clock import Clock
    from interlock.system.proc import ProcReader
    from interlock.system.run import Runner
else:
    from interlock.system.record import NamedTuple


class Place(NamedTuple):
    """Where to look: a host's ``/proc`` and its root directory as we see it (``/`` for our own host).

    ``live`` is false for a captured tree, of which nothing can be asked but its files. ``scratch`` is a directory
    for private copies. ``quick`` asks readers to leave out what only the doctor needs and takes every process.
    """

    proc: ProcReader
    root: Union[str, Path]
    runner: Runner
    clock: Clock
    scratch: str
    live: bool = True
    quick: bool = False

    @property
    def ours(self) -> bool:
        """Say whether it is the system that we run on ourselves."""
        return self.live and str(self.root) == "/"

    def path(self, inside: str) -> str:
        """Return where we see a path of the host."""
        return inside if str(self.root) == "/" else os.path.join(self.root, inside.lstrip("/"))


def look(place: Place, thorough: bool = True) -> Facts:
    """Return who waits for whom. ``thorough`` is for the doctor, who wants to know all of every process.

    Otherwise, as for ``interlock locks``, it asks no more than it needs, and is quick.
    """
    place = place._replace(quick=not thorough)
    locks = read_locks.start_reading(place)
    table = read_processes.read_processes(place)
    facts = Facts(place.clock.now(), read_database.read_database(place), table, complete=os.geteuid() == 0)
    facts = facts._replace(locks=read_locks.read_locks(place, facts, locks()))
    wanted = set(table) if thorough else relevant.relevant(place, facts, table)
    table = read_processes.with_details(place, table, wanted)
    if not table.detailed:
        return facts
    facts = _waits(place, facts._replace(processes=table))
    more = relevant.with_families(table, relevant.mentioned(facts))
    table = read_processes.with_details(place, table, more)
    return (
        _once_more(place, facts._replace(processes=table))
        if _somebody_waits(facts)
        else facts._replace(processes=table)
    )


def _somebody_waits(facts: Facts) -> bool:
    waiting = any(lock.waits for lock in facts.locks) or any(one.waiters for one in facts.pid_files)
    return bool(waiting or facts.futexes or facts.jobs or facts.pipes)


def _once_more(place: Place, facts: Facts) -> Facts:
    """Read again what changes quickly: locks that are there twice, and who of the processes ran in between.

    What slept from before the second reading of the locks until after it did so at that one moment.
    """
    again = read_locks.with_owners(place, facts._replace(locks=read_locks.read_locks(place, facts))).locks
    before = {lock._replace(number=0) for lock in facts.locks}
    kept = tuple(lock for lock in again if lock._replace(number=0) in before)
    closely = detailed(facts.processes).values()
    moved = frozenset(process.pid for process in closely if read_processes.ran(place, process))
    return facts._replace(locks=kept, ran=moved)


def _waits(place: Place, facts: Facts) -> Facts:
    facts = read_locks.with_owners(place, facts)
    facts = facts._replace(opened=read_opened.read_opened(place, facts))
    regions, futexes = _ask("futexes", place, facts)
    facts = facts._replace(regions=regions, futexes=futexes)
    facts = facts._replace(pid_files=_ask("pid_files", place, facts))
    facts = facts._replace(scriptlets=_ask("scriptlets", place, facts))
    facts = facts._replace(jobs=_ask("jobs", place, facts))
    return facts._replace(pipes=_ask("pipes", place, facts))


def _ask(name: str, place: Place, facts: Facts) -> Any:
    """Return what a reader finds; its module is loaded only now, for a look at a quiet host needs few of them."""
    return getattr(import_module(f"interlock.waits.read_{name}"), f"read_{name}")(place, facts)


def examine(place: Place, facts: Facts) -> Facts:
    """Add what only ``doctor`` needs: who makes progress, the state of the database, and the rest of the host."""
    facts = facts._replace(moving=_ask("moving", place, facts), lost=_ask("lost", place, facts))
    facts = facts._replace(sqlite_users=_ask("sqlite_users", place, facts), strays=_ask("strays", place, facts))
    facts = facts._replace(write_ahead=_ask("write_ahead", place, facts))
    state = _ask("state", place, facts)
    facts = facts._replace(left=_ask("left", place, facts._replace(state=state)))
    trial, hung = _ask("trial", place, facts)
    return facts._replace(state=state._replace(trial=trial, hung=hung), system=_ask("system", place, facts))

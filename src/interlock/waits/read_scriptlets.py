"""Finds the processes that run scriptlets: children of a transaction that it waits for, or that run rpm's own script.

rpm writes a scriptlet to ``/var/tmp/rpm-tmp.XXXXXX`` and gives it to its interpreter; built-in ones (``ldconfig``)
are started as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from interlock.waits.facts import Facts, Process, Scriptlet
from interlock.waits.process_table import detailed

if TYPE_CHECKING:
    from interlock.waits.look import Place

SCRIPT = re.compile(r"(^|\s)\S*/rpm-tmp\.\w+(\s|$)")
# wait4, waitid: x86-64, then AArch64.
_WAITS = frozenset({61, 247, 260, 95})


def read_scriptlets(place: Place, facts: Facts) -> tuple[Scriptlet, ...]:
    """Return the scriptlets that run now, each with the process of its transaction."""
    return tuple(_scriptlets(facts))


def _scriptlets(facts: Facts) -> Iterator[Scriptlet]:
    holders = {lock.pid for lock in facts.locks if lock.path == facts.database.lock and not lock.waits}
    known = detailed(facts.processes)
    for process in known.values():
        parent = known.get(process.parent)
        if parent is None or SCRIPT.search(parent.command):
            continue
        if SCRIPT.search(process.command) or (parent.pid in holders and _awaits(parent, process)):
            yield Scriptlet(process.pid, parent.pid)


def _awaits(parent: Process, child: Process) -> bool:
    if not parent.call or parent.call[0] not in _WAITS or len(parent.call) < 3:
        return False
    number = parent.call[1] if parent.call[0] in (61, 260) else parent.call[2]
    return number in (child.pid, child.inner)

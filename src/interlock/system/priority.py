"""The place of a process among those that want a processor.

Where no control group divides processor time, Linux divides it between sessions (sched(7), "The autogroup feature"),
and a niceness counts only among the processes of one session. So the session's own niceness is set as well. It is
shared by all of the session: what a scriptlet starts as a session of its own has its usual place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

AUTOGROUP = "/proc/self/autogroup"


def set_niceness(niceness: int) -> None:
    """Give this process a niceness, and its session too where sessions have one."""
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    set_session_niceness(niceness)


def set_session_niceness(niceness: int) -> None:
    """Give the session of this process a niceness, where sessions have one."""
    # Not there without the feature; not ours to set without privileges, or in a container.
    with suppress(OSError), open(AUTOGROUP, "w", encoding="ascii") as stream:
        stream.write(str(niceness))


@contextmanager
def behind_others(niceness: int) -> Iterator[None]:
    """Let every other process of the host go first; root may take its own place again afterwards."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    set_niceness(max(before, niceness))
    try:
        yield
    finally:
        set_niceness(before)

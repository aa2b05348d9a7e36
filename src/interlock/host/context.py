"""What every part of the engine is given: where things are, and the doors to the outside."""

from __future__ import annotations

import os
from dataclasses import dataclass

from interlock.host.paths import Paths
from interlock.system.clock import Clock, SystemClock
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.trace import Trace


@dataclass(frozen=True)
class Host:
    """The host that the program runs on, or a test's idea of one."""

    paths: Paths
    runner: Runner
    clock: Clock
    proc: ProcReader
    trace: Trace


def this_host() -> Host:
    """Return the real thing."""
    return Host(Paths(), Runner(), SystemClock(), ProcReader(), Trace.from_environment(os.environ))

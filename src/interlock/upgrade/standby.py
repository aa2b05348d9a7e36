"""The standby: the engine's parent, which brings the host back when the engine is killed.

A host in the middle of an upgrade may have half an sshd and half a Python: nobody could log in to run `interlock
resume`, and nothing would start if they did. The standby was started before, has every module that it needs in its
memory, and does nothing but wait. When the engine ends by a signal, it does at once what `interlock resume` would do,
and ends the operation's events. If it is killed as well, the next command or the next boot does it.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Callable, NoReturn

from interlock.errors import Busy, ExitStatus, Held
from interlock.events import EventWriter
from interlock.host.context import Host
from interlock.host.lease import Lease
from interlock.upgrade import proof
from interlock.upgrade import state as states
from interlock.upgrade.operation import Operation
from interlock.upgrade.settle import settle_dead

# How long the lease may take to be free, in seconds: somebody else's recovery may have it.
PATIENCE = 600.0


def stand_by(host: Host, operation: Operation, events: str, engine: Callable[[], ExitStatus]) -> ExitStatus:
    """Run ``engine`` in a child and return its status; where it is killed, settle the operation here.

    ``events`` is the name of the operation's file that is being followed.
    """
    standby = os.getpid()
    child = os.fork()
    if child == 0:
        host.trace.together_with(standby)
        _serve(engine)
    # What is used later is loaded now: the files that it comes from may be replaced.
    proof.preload(host.runner)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        return ExitStatus(os.WEXITSTATUS(status))
    return _bring_back(host, operation, events, os.WTERMSIG(status))


def _serve(engine: Callable[[], ExitStatus]) -> NoReturn:
    status = ExitStatus.UNEXPECTED
    try:
        status = engine()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


def _bring_back(host: Host, operation: Operation, events: str, signal: int) -> ExitStatus:
    """Settle what the dead engine left, and tell whoever follows; somebody else may have been quicker."""
    decided = _settle(host, operation)
    state = operation.state()
    status = _status(state)
    with open(operation.path(events), "a", encoding="utf-8") as stream:
        EventWriter(stream, operation.id, host.clock).emit(
            "operation.ended", state=state.name if state else "unknown", exit_status=int(status),
            message=f"its engine was killed (signal {signal}). " + ". ".join(decided),
            hint=Held.hint if status == ExitStatus.HELD else "", error=None,
        )  # fmt: skip
    return status


def _settle(host: Host, operation: Operation) -> list[str]:
    """Settle as soon as the lease is free: the engine's forks have it too, and take a moment to end."""
    deadline = host.clock.monotonic() + PATIENCE
    while True:
        try:
            with Lease(host.paths, operation.id, host.clock, host.proc):
                return settle_dead(host)
        except Busy:
            if host.clock.monotonic() > deadline:
                raise
        host.clock.sleep(0.05)


def _status(state: object) -> ExitStatus:
    if isinstance(state, states.Done):
        return ExitStatus.DONE
    return ExitStatus.ROLLED_BACK if isinstance(state, states.RolledBack) else ExitStatus.HELD

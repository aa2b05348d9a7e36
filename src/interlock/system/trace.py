"""Named points at every durable step, where a test can fail, stop or end the program.

A point costs one dictionary look-up. What happens there is set once at start, from the environment variable
``INTERLOCK_TRACE``, a comma-separated list of ``point=action``: ``raise``, ``kill`` (SIGKILL to this process and to
the one that would go on in its place), ``stop`` (SIGSTOP), or ``run:COMMAND`` (a shell command, run to its end; for
tests that damage the host at an exact moment). A point that is not in ``POINTS`` is refused, so the list is complete
by construction; so is an action that is none of these.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from interlock.errors import InterlockError, UsageError
from interlock.system.run import Runner

VARIABLE = "INTERLOCK_TRACE"
ACTIONS = ("raise", "kill", "stop")
COMMAND = "run:"
POINTS: Mapping[str, str] = {
    "plan.made": "the plan is made and shown, nothing is fetched",
    "stage.done": "all packages are fetched and checked",
    "operation.created": "the operation's folder and journal exist",
    "lease.taken": "this operation owns the host",
    "lock.taken": "rpm's own lock is held",
    "shadow.started": "the shadow's directory exists, its copy has not begun",
    "shadow.copied": "the shadow holds a consistent copy",
    "gate.raised": "opens of the database by others are held back",
    "undo.begin": "the undo store is about to be filled",
    "undo.kept": "the undo store is whole",
    "guard.raised": "reboots are refused from here on",
    "prepared": "all that is needed later is loaded",
    "worker.started": "the worker has its own mount namespace",
    "agents.stopped": "the agents that were to be stopped have been, as far as they would",
    "apply.begin": "the point of no return: rpm is about to change files",
    "apply.element": "one package has been unpacked or removed",
    "apply.script": "a scriptlet has ended",
    "applied": "rpm has returned",
    "migrate.begin": "the new rpm wants another backend, the shadow is about to be converted",
    "verified": "the new state has been proven",
    "commit.intent": "the exchange is journalled, not done",
    "commit.linked": "the lock file stands in the shadow",
    "commit.exchanged": "shadow and original are exchanged, not yet journalled",
    "committed": "the exchange is journalled",
    "guard.lowered": "reboots are allowed again",
    "agents.restored": "what ran before runs again, which is journalled",
    "undo.restore": "the host is about to go back: no path is restored yet",
    "undo.restored": "every path is as before, not yet journalled",
    "done": "the operation has ended and the lock is free",
}


class TracePointRaised(InterlockError):
    """The trace point {point} was asked to fail."""

    hint = "Unset INTERLOCK_TRACE."


class Trace:
    """Acts at named points; without settings it does nothing."""

    def __init__(self, actions: Mapping[str, str]) -> None:
        unknown = sorted(set(actions) - set(POINTS))
        if unknown:
            raise UsageError(detail=f"{VARIABLE} names unknown trace points: {', '.join(unknown)}")
        for point, action in sorted(actions.items()):
            if action not in ACTIONS and not action.startswith(COMMAND):
                raise UsageError(detail=f"{VARIABLE} has an unknown action at {point}: {action or 'none'}")
        self.actions: dict[str, str] = dict(actions)
        self.others: tuple[int, ...] = ()

    def together_with(self, *others: int) -> None:
        """Have ``kill`` end these processes as well, before this one."""
        self.others = others

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Trace:
        """Read the settings; an empty or missing variable means none."""
        pairs = [item.partition("=") for item in environment.get(VARIABLE, "").split(",") if item]
        return cls({point: action for point, _, action in pairs})

    def point(self, name: str) -> None:
        """Do here what was asked for, if anything."""
        action = self.actions.get(name)
        if action is not None:
            self._act(name, action)

    def _act(self, name: str, action: str) -> None:
        if action == "kill":
            for pid in (*self.others, os.getpid()):
                os.kill(pid, signal.SIGKILL)
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action.startswith(COMMAND):
            Runner().run(["/bin/sh", "-c", action[len(COMMAND) :]], check=False, timeout=600)
        else:
            raise TracePointRaised(point=name)

"""How long what an upgrade replaced is kept, and how much of it: the administrator's to say, in one small file.

``/etc/interlock/policy.json`` has an object; all of it is optional::

    {"undo": {"days": 14, "operations": 2, "least_free_mib": 512}}

``days`` after its end an operation cannot be taken back any more; only the last ``operations`` can; and where less than
``least_free_mib`` is free for the next one, the oldest go first. Stores go when the next operation begins, or with
`interlock rollback --expire`: never while one is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from interlock.errors import UsageError
from interlock.host.context import Host
from interlock.host.paths import Paths
from interlock.system import durable
from interlock.upgrade import state as states
from interlock.upgrade.journal import JournalDamaged
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.rollback import can_be_undone, previous_of
from interlock.upgrade.undo import UndoStore

DAY = 86400.0


class BadPolicy(UsageError):
    """The policy {path} cannot be used: {detail}."""

    hint = "Mend the file, or remove it to have what is usual."


@dataclass(frozen=True)
class UndoPolicy:
    """What is kept: for how many ``days``, of how many ``operations``, and how many MiB must stay free."""

    days: float = 14.0
    operations: int = 2
    least_free_mib: int = 512


def read_policy(paths: Paths) -> UndoPolicy:
    """Return the administrator's policy, or the usual one where there is none. BadPolicy."""
    try:
        with open(paths.policy, encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        return UndoPolicy()
    except (OSError, ValueError) as error:
        raise BadPolicy(path=paths.policy, detail=str(error)) from None
    wanted = found.get("undo", {}) if isinstance(found, dict) else None
    if not isinstance(wanted, dict):
        raise BadPolicy(path=paths.policy, detail="it, and its `undo`, must be objects")
    return UndoPolicy(**{name: _number(paths, name, value) for name, value in wanted.items()})


def _number(paths: Paths, name: str, value: Any) -> Any:
    known = {one.name for one in fields(UndoPolicy)}
    if name not in known:
        raise BadPolicy(path=paths.policy, detail=f"`undo` has no `{name}`; it has {', '.join(sorted(known))}")
    whole = name != "days"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < 0:
        raise BadPolicy(path=paths.policy, detail=f"`{name}` is {value!r}, and must be a number from 0 on")
    return value


def until(operation: Operation, policy: UndoPolicy) -> float:
    """Return when an operation expires, in seconds since the epoch."""
    return operation.records()[-1].at + policy.days * DAY


def undoable(host: Host) -> list[Operation]:
    """Return the operations that can still be taken back, oldest first."""
    return [one for one in list_operations(host.paths) if can_be_undone(host, one)]


def expire(host: Host, policy: UndoPolicy, coming: int = 0) -> list[Operation]:
    """Drop what has expired; return the operations that cannot be taken back any more.

    ``coming`` is how many more can be in a moment: place is made for them.
    """
    able = undoable(host)
    _drop_useless(host)
    late = [one for one in able if until(one, policy) <= host.clock.now()]
    kept = [one for one in able if one not in late]
    beyond = kept[: max(0, len(kept) + coming - policy.operations)]
    dropped = [*late, *beyond]
    _drop(host, dropped)
    rest = [one for one in kept if one not in beyond]
    while rest and _free_mib(host) < policy.least_free_mib:
        dropped.append(rest.pop(0))
        _drop(host, dropped[-1:])
    return dropped


def _drop_useless(host: Host) -> None:
    """Remove what is left of the stores of operations that have come to their end and cannot be taken back."""
    for operation in list_operations(host.paths):
        try:
            state = operation.state()
        except JournalDamaged:
            # What it did is unknown: its store may be all there is to find out with.
            continue
        if isinstance(state, states.RolledBack):
            UndoStore(host, operation.id).shrink()


def _drop(host: Host, operations: Sequence[Operation]) -> None:
    for operation in operations:
        previous = previous_of(operation)
        UndoStore(host, operation.id).shrink()
        durable.remove_trees([previous] if previous else [])


def _free_mib(host: Host) -> int:
    found = os.statvfs(host.paths.state)
    return (found.f_bavail * found.f_frsize) >> 20

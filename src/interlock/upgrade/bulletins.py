"""What bulletins are on this host, as far as a plan can tell: staged, in conflict, or not installable, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Optional

from interlock.depot.bulletin import BulletinState, BulletinStatus, bulletin_states
from interlock.depot.fetch import is_fetched
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.upgrade import state as states
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.plan import Plan, make_plan
from interlock.upgrade.prepare import Picture

# Each needs a plan of its own; the others are judged by their packages alone, and say so.
MOST_PLANS = 60


def refined_states(host: Host, picture: Picture) -> list[BulletinState]:
    """Return the state of each bulletin of a depot; a plan is made for those that apply, up to MOST_PLANS."""
    found = []
    plans = 0
    for one in bulletin_states(picture.depot, picture.installed):
        if one.status is BulletinStatus.APPLICABLE and plans < MOST_PLANS:
            plans += 1
            found.append(refined(host, picture, one))
        else:
            found.append(one)
    return found


def refined(host: Host, picture: Picture, one: BulletinState) -> BulletinState:
    """Return the state of one bulletin that applies, with what a plan for it alone says."""
    try:
        plan = make_plan(picture.installed, picture.depot, bulletins=[one.bulletin.id])
    except InterlockError as error:
        return replace(one, status=BulletinStatus.UNKNOWN, reason=str(error))
    problems = [problem for problem in plan.problems if not problem.relation.startswith("/")]
    if problems:
        conflict = any(problem.kind == "conflict" for problem in problems)
        status = BulletinStatus.CONFLICT if conflict else BulletinStatus.NOT_INSTALLABLE
        return replace(one, status=status, reason=problems[0].text)
    if _is_staged(host, plan):
        return replace(one, status=BulletinStatus.STAGED, reason="all that it needs lies ready, digests checked")
    return one


def _is_staged(host: Host, plan: Plan) -> bool:
    try:
        return bool(plan.packages) and all(is_fetched(one, host.paths.packages) for one in plan.packages)
    except OSError:
        return False


def carried_out(host: Host) -> dict[str, dict[str, Any]]:
    """Return the bulletins that Interlock has carried out here and not taken back: when, and by which operation."""
    found: dict[str, dict[str, Any]] = {}
    for operation, at in _done(host):
        for name in operation.read_json("plan.json").get("bulletins", []):
            found[name] = {"id": name, "at": at, "operation": operation.id}
    return found


def _done(host: Host) -> Iterator[tuple[Operation, Optional[float]]]:
    for operation in list_operations(host.paths):
        try:
            if isinstance(operation.state(), states.Done):
                yield operation, operation.records()[-1].at
        except (InterlockError, OSError, ValueError):
            continue

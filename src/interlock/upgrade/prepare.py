"""From a request to a staged operation: read the host, read the depot, plan, fetch and check. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Callable

from interlock.depot.repository import Depot, open_depot
from interlock.depot.trust import ANY
from interlock.errors import Refused
from interlock.host.context import Host
from interlock.package import Package
from interlock.rpmdb.backend import Database, find_database
from interlock.rpmdb.reader import private_copy, read_database
from interlock.upgrade.operation import Request
from interlock.upgrade.plan import Plan, make_plan
from interlock.upgrade.stage import Staged, StageProgress, stage
from interlock.upgrade.trusting import policy_of, trust_check

MOST_REASONS = 8


@dataclass(frozen=True)
class Picture:
    """What a request meets: the host's database and packages, the depot, and the plan between them."""

    database: Database
    installed: tuple[Package, ...]
    depot: Depot
    plan: Plan


def read_installed(host: Host) -> tuple[Database, tuple[Package, ...]]:
    """Return where the database is and what it holds, from a private copy."""
    database, packages, _ = read_host(host)
    return database, packages


def read_host(host: Host) -> tuple[Database, tuple[Package, ...], list[str]]:
    """Return where the database is, what it holds, and the keys of rpm's keyring (ASCII armor)."""
    database = find_database(host.runner)
    os.makedirs(os.path.dirname(host.paths.scratch), mode=0o700, exist_ok=True)
    with private_copy(database, host.paths, str(os.getpid())) as copy:
        packages, keys = read_database(copy)
    return database, tuple(packages), keys


def take_picture(
    host: Host,
    location: str,
    bulletins: Sequence[str],
    without: Collection[str] = frozenset(),
    allow_unsigned: bool = False,
) -> Picture:
    """Read the depot and the host and plan between them. Raises BadDepot, UntrustedMetadata, UnknownBulletin.

    ``without`` are installed packages (NEVRAs) to plan as if they were not there.
    """
    database, installed, keys = read_host(host)
    trust = trust_check(host, location, keys, allow_unsigned)
    depot = open_depot(location, trust=trust, installed=installed)
    installed = tuple(one for one in installed if str(one.nevra) not in without)
    plan = make_plan(installed, depot, bulletins=bulletins)
    looked_up: frozenset[str] = frozenset()
    if plan.missing_files:
        # Any of the packages may have such a file.
        depot = open_depot(location, trust=trust)
    while not looked_up.issuperset(plan.missing_files):
        # The primary metadata lists only some paths; the rest is read when a requirement needs it, and what
        # provides it may need further ones.
        looked_up |= frozenset(plan.missing_files)
        depot = depot.with_file_lists(sorted(looked_up))
        plan = make_plan(installed, depot, bulletins=bulletins)
    host.trace.point("plan.made")
    return Picture(database, installed, depot, plan)


def refuse_problems(plan: Plan) -> None:
    """Raise Refused where the plan cannot be carried out."""
    if plan.problems:
        shown = [problem.text for problem in plan.problems[:MOST_REASONS]]
        rest = len(plan.problems) - len(shown)
        raise Refused(reasons="; ".join(shown) + (f"; and {rest} more" if rest else ""))


def fetch(host: Host, picture: Picture, request: Request, tell: Callable[[StageProgress], None]) -> Staged:
    """Bring every package of the plan onto the host and check digest and signature of each."""
    with private_copy(picture.database, host.paths, f"keys-{os.getpid()}") as copy:
        staged = stage(
            picture.plan, request.depot, host.paths.packages, host.runner, dbpath=copy, progress=tell,
            allow_unsigned=request.allow_unsigned or policy_of(host, request.depot).packages == ANY,
            allowed=policy_of(host, request.depot).keys, kept=host.paths.keys,
        )  # fmt: skip
    host.trace.point("stage.done")
    return staged

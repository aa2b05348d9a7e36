"""The pre-flight: what stands between this host and an upgrade. A verdict with reasons, nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from interlock.errors import InterlockError
from interlock.host.agents import running_agents
from interlock.host.context import Host
from interlock.host.hold import read_hold
from interlock.host.lease import busy, current_owner
from interlock.package import Nevra, Package
from interlock.rpmdb import shadow
from interlock.rpmdb.backend import Database
from interlock.rpmdb.lock import busy_database, lock_holders
from interlock.upgrade.prepare import read_installed
from interlock.upgrade.settle import interrupted

LEVELS = ("deny", "unknown", "note", "ok")


@dataclass(frozen=True)
class Reason:
    """One thing that was looked at. ``level`` is ``deny``, ``unknown``, ``note`` or ``ok``."""

    subject: str
    level: str
    detail: str
    exit_status: int = 3


@dataclass(frozen=True)
class Verdict:
    """``allow``, ``deny`` or ``unknown``, with every reason; unknown never counts as allow."""

    reasons: Sequence[Reason]

    @property
    def answer(self) -> str:
        """The worst of the reasons decides."""
        levels = {reason.level for reason in self.reasons}
        if "deny" in levels:
            return "deny"
        return "unknown" if "unknown" in levels else "allow"

    @property
    def exit_status(self) -> int:
        """0 where it allows; else that of the first reason that does not."""
        for level in ("deny", "unknown"):
            for reason in self.reasons:
                if reason.level == level:
                    return reason.exit_status
        return 0


def preflight(host: Host) -> Verdict:
    """Look at everything that an upgrade of this host needs."""
    reasons = [_root(), _hold(host), _lease(host), _interrupted(host), _systemd()]
    try:
        database, installed = read_installed(host)
    except (InterlockError, OSError) as error:
        reasons.append(Reason("package database", "unknown", str(error)))
        return Verdict(reasons)
    lock, twice = _lock(host, database), _duplicates(installed)
    if lock.level == "deny" and twice.level == "deny":
        # In the middle of a transaction it is so.
        twice = replace(twice, level="note")
    reasons += [_database(database, installed), twice, lock]
    reasons += [_isolation(database), _space(database), *_agents(host, database)]
    return Verdict(reasons)


def _root() -> Reason:
    if os.geteuid() != 0:
        return Reason("user", "deny", "this must be run as root")
    return Reason("user", "ok", "root")


def _hold(host: Host) -> Reason:
    hold = read_hold(host.paths)
    if hold is not None:
        return Reason("hold", "deny", f"{hold.by}: {hold.reason}", 5)
    return Reason("hold", "ok", "none")


def _lease(host: Host) -> Reason:
    owner = current_owner(host.paths)
    if owner is not None:
        return Reason("lease", "deny", str(busy(owner, host.clock)), 6)
    return Reason("lease", "ok", "free")


def _interrupted(host: Host) -> Reason:
    if current_owner(host.paths) is not None:
        return Reason("operations", "note", "one is running")
    operation = interrupted(host)
    if operation is not None:
        return Reason("operations", "note", f"{operation.id} was cut off; the next update settles it first")
    return Reason("operations", "ok", "none unfinished")


def _systemd() -> Reason:
    if os.path.isdir("/run/systemd/system"):
        return Reason("systemd", "ok", "the engine gets a unit of its own")
    return Reason("systemd", "note", "not in charge here: the engine runs in a session of its own")


def _database(database: Database, installed: Sequence[Package]) -> Reason:
    detail = f"{database.backend} in {database.path}, {len(installed)} packages"
    if database.backend != database.wanted:
        return Reason("package database", "deny", f"{detail}; this rpm writes {database.wanted}: rpmdb --rebuilddb")
    return Reason("package database", "ok", detail)


def _duplicates(installed: Sequence[Package]) -> Reason:
    """Find what a transaction that was cut off leaves: a name in two versions (kernels may be).

    A name in two architectures is what a multilib host has.
    """
    seen: dict[tuple[str, str], Nevra] = {}
    twice = []
    for package in installed:
        key = (package.name, package.nevra.arch)
        if key in seen and not package.name.startswith("kernel"):
            twice.append(f"{seen[key]} and {package.nevra}")
        seen[key] = package.nevra
    if twice:
        return Reason("duplicates", "deny", f"installed twice: {'; '.join(twice[:5])}")
    return Reason("duplicates", "ok", "none")


def _lock(host: Host, database: Database) -> Reason:
    if lock_holders(database, host.proc):
        return Reason("rpm's lock", "deny", str(busy_database(database, host.proc)), 6)
    return Reason("rpm's lock", "ok", "free")


def _isolation(database: Database) -> Reason:
    obstacle: Optional[str] = shadow.obstacle(database) if os.geteuid() == 0 else None
    if obstacle:
        return Reason("isolation", "note", f"gate: others will wait, because {obstacle}")
    return Reason("isolation", "ok", "shadow: nobody waits")


def _space(database: Database) -> Reason:
    parent = os.path.dirname(database.path)
    needed, free = shadow.space_needed(database), shadow.free_space(parent)
    detail = f"{free >> 20} MiB free beside the database, {needed >> 20} MiB needed for the shadow"
    return Reason("space", "ok" if free >= needed else "deny", detail)


def _agents(host: Host, database: Database) -> list[Reason]:
    found = running_agents(host.proc, database.path)
    if not found:
        return [Reason("agents", "ok", "none seen")]
    return [Reason("agents", "note", f"{agent.name}: {agent.evidence}; it need not be stopped") for agent in found]

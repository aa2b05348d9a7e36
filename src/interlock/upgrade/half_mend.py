"""How a half-upgraded host becomes whole: an ordinary guarded operation, forward to what a depot has, or back.

Forward: of each package that is there twice, the later record is taken out of the database, so that rpm lays the
package down anew, with its scriptlets, and takes away what only the earlier one had. Back: the earlier records are
taken out, and an operation goes from the later versions to the earlier ones, whose packages the depot must have; what
the cut-off transaction brought without a predecessor goes, and what it tore is laid down again.

Rules. All of it is planned before anything is changed. The records are taken out of a copy of the database, which is
then put in its place; the database from before is kept, and put back where the operation fails. The hold stays.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from interlock.depot.bulletin import obsoletes
from interlock.depot.metadata import DepotPackage
from interlock.depot.repository import Depot, open_depot
from interlock.errors import Busy
from interlock.host.context import Host
from interlock.package import Nevra, Package
from interlock.rpmdb.backend import backend_of, find_database
from interlock.system import durable
from interlock.upgrade.half import Half, HalfUpgraded, some
from interlock.upgrade.plan import Plan, Removal, Upgrade, needs_reboot
from interlock.upgrade.prepare import Picture, read_host, read_installed, take_picture
from interlock.upgrade.trusting import trust_check
from interlock.waits import hands_database, treat
from interlock.waits.facts import Facts
from interlock.waits.hands import StepFailed, Treatment
from interlock.waits.hands_files import put_aside, run_rpm
from interlock.waits.hands_records import RECORD_ONLY
from interlock.waits.look import Place
from interlock.waits.package_files import label
from interlock.waits.read_database import read_database
from interlock.waits.read_scriptlets import SCRIPT
from interlock.waits.read_state import installed as packages_of

FORWARD, BACK = "complete", "undo"
REBUILD_LIMIT = 900.0
SCRIPT_LIMIT, QUERY_LIMIT, PAUSE = 60.0, 20.0, 0.2


class StillHalf(HalfUpgraded):
    """The host stays on hold, as it was found: {detail}."""

    hint = (
        "Nothing was lost. Do not reboot. Give `interlock resume --depot DIR` a depot that has the named packages, or"
        " the ones from before."
    )


@dataclass(frozen=True)
class Way:
    """One way out, with the packages of the depot at ``location``.

    ``forgotten`` are the records that go first; ``missing`` is what the depot lacks for this way.
    """

    kind: str
    location: str
    forgotten: tuple[str, ...]
    picture: Picture
    missing: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Say whether it can be gone."""
        return not self.missing and not self.picture.plan.problems


@dataclass(frozen=True)
class Offer:
    """Where packages may come from, and whether they and the metadata may be unsigned."""

    location: str
    allow_unsigned: bool = False


def forward(host: Host, half: Half, offer: Offer) -> Way:
    """Plan the completion of what was cut off, with the packages of a depot."""
    installed = read_installed(host)[1]
    there = {str(one.nevra) for one in installed}
    forgotten = {one for rows in half.pairs for one in rows[:-1] if one in there and rows[-1] in there}
    beside = successors(installed, half.brought)
    picture = take_picture(host, offer.location, [], forgotten | beside, offer.allow_unsigned)
    coming = {one.name for one in picture.plan.packages}
    stay = {one for one in beside if Nevra.parse(one).name not in coming}
    if stay:
        picture = take_picture(host, offer.location, [], forgotten | (beside - stay), offer.allow_unsigned)
    gone = tuple(sorted(forgotten | (beside - stay)))
    return Way(FORWARD, offer.location, gone, picture, tuple(lacking(half, picture.plan, picture.installed)))


def successors(installed: Sequence[Package], brought: Collection[str]) -> set[str]:
    """Return what the transaction brought in the place of packages of other names, which are still there.

    Their records go as well, so that they come again and take these away.
    """
    new = [one for one in installed if str(one.nevra) in brought]
    return {
        str(one.nevra)
        for one in new
        for relation in one.obsoletes
        for other in installed
        if other.name == relation.name != one.name and obsoletes(relation, other.nevra)
    }


def lacking(half: Half, plan: Plan, installed: Sequence[Package]) -> Iterable[str]:
    """Yield the packages that a plan does not bring although something is wrong with the ones that are there."""
    coming = {one.name: one.nevra for one in plan.packages}
    known = {one.nevra for one in installed}
    for nevra in map(Nevra.parse, half.later):
        comes = coming.get(nevra.name)
        later = comes is not None and comes.evr.compare(nevra.evr) >= 0
        if not later and nevra not in known:
            yield str(nevra)
    for package in dict.fromkeys(package for package, _ in half.torn):
        if Nevra.parse(package).name not in coming and Nevra.parse(package) in known:
            yield f"{Nevra.parse(package).name} later than {package}"


def back(host: Host, half: Half, offer: Offer, torn: Collection[str]) -> Way:
    """Plan the way back to the packages from before; ``torn`` are those that have to be laid down again."""
    database, installed, keys = read_host(host)
    depot = open_depot(offer.location, trust=trust_check(host, offer.location, keys, offer.allow_unsigned))
    there = {str(one.nevra) for one in installed}
    pairs = [rows for rows in half.pairs if any(one in there for one in rows)]
    forgotten = tuple(one for rows in pairs for one in rows[1:] if one in there and rows[0] in there)
    left = tuple(one for one in installed if str(one.nevra) not in forgotten)
    wanted = {
        **{rows[-1]: rows[0] if rows[0] in there else rows[-1] for rows in pairs},
        **{one: one for one in torn if _stays(one, half)},
    }
    offered = {str(one.nevra): one for one in depot.packages}
    missing = tuple(sorted(one for one in wanted if one not in offered))
    brought = [one for one in half.brought if one in there and one not in half.later]
    replaced = [one for one in brought if Nevra.parse(one).name in depot.by_name]
    if replaced:
        # Nobody knows any more which of the earlier packages were there.
        missing += (f"what rpm had already removed when it was cut off ({some(replaced)} took its place)",)
    plan = _plan_back(depot, {old: offered[new] for new, old in wanted.items() if new in offered}, brought)
    return Way(BACK, offer.location, forgotten, Picture(database, left, depot, plan), missing)


def _stays(package: str, half: Half) -> bool:
    """Say whether a package is in its place before and after."""
    return package not in half.brought and not any(package in rows for rows in half.pairs)


def _plan_back(depot: Depot, changes: dict[str, DepotPackage], brought: Sequence[str]) -> Plan:
    chosen = list(changes.values())
    reasons = tuple(f"{one.name} is replaced" for one in chosen if needs_reboot(one.name))
    return Plan(
        depot=depot.location,
        asked=tuple(one.nevra for one in chosen),
        upgrades=tuple(Upgrade((Nevra.parse(old),), new) for old, new in changes.items()),
        removals=tuple(Removal(Nevra.parse(one), "brought by what was cut off") for one in brought),
        reboot=bool(reasons),
        reboot_reasons=reasons,
        download_size=sum(one.download_size for one in chosen),
    )


# -- the database


def prepare(host: Host, half: Half, way: Way) -> Treatment:
    """Take the records of a way out of the database and put aside what rpm did not finish. Raises StepFailed, Busy."""
    wait_for_scriptlets(host)
    place = Place(host.proc, Path("/"), host.runner, host.clock, f"{host.paths.scratch}-half-{os.getpid()}")
    facts = Facts(host.clock.now(), read_database(place), {})
    treatment = treat.begin(host, facts, [], [str(one.nevra) for one in way.picture.installed])
    put_aside(treatment, {"files": half.leftovers})
    deadline = host.clock.monotonic() + QUERY_LIMIT
    while True:
        try:
            _forget(treatment, way)
            return treatment
        except StepFailed:
            # On Berkeley DB nobody may have the database open just then; a query has soon ended.
            if host.clock.monotonic() > deadline:
                raise
        host.clock.sleep(PAUSE)


def _forget(treatment: Treatment, way: Way) -> None:
    host = treatment.host
    wanted = find_database(host.runner).wanted
    if not way.forgotten and backend_of(treatment.database) == wanted:
        return
    with hands_database.changed_copy(treatment, "half") as copy:
        if backend_of(copy) != "sqlite" or wanted != "sqlite":
            # What was cut off may have left its indexes torn, and rpm may be one that writes another format already.
            _rebuild(host, copy, wanted)
        before = set(packages_of(copy, host.runner) or ())
        if way.forgotten:
            run_rpm(treatment, ["--dbpath", copy, "-e", *RECORD_ONLY, "--", *map(label, way.forgotten)])
        after = set(packages_of(copy, host.runner) or ())
        if after != before - set(way.forgotten) or not after:
            raise StepFailed(detail=f"the copy has not the packages that it should ({some(sorted(before - after))})")


def _rebuild(host: Host, copy: str, wanted: str) -> None:
    """Let rpm write a copy anew, in the format that it is to have (`rpm --rebuilddb` may be a lost alias)."""
    command = ["rpmdb", "--define", f"_db_backend {wanted}", "--dbpath", copy, "--rebuilddb"]
    done = host.runner.run(command, timeout=REBUILD_LIMIT, check=False)
    if done.status != 0:
        raise StepFailed(detail=f"rpm could not rebuild a copy of the database: {done.stderr.strip()[-300:]}")


def undo_preparation(host: Host, treatment: Treatment) -> None:
    """Put the database back that was found: the operation has failed, and the files are again as they were found."""
    kept = hands_database.replace_database(host, treatment.database, os.path.join(treatment.folder, "database"))
    durable.remove_trees([kept])


# -- scriptlets


def wait_for_scriptlets(host: Host) -> None:
    """Wait until no scriptlet runs whose rpm is gone: it goes on changing the host. Raises Busy, naming it."""
    deadline = host.clock.monotonic() + SCRIPT_LIMIT
    while True:
        pid = orphan(host)
        if pid is None:
            return
        if host.clock.monotonic() > deadline:
            owner = f"a scriptlet whose rpm is gone: {host.proc.command(pid)} (pid {pid}). End it if it hangs"
            raise Busy(owner=owner, age="before this began")
        host.clock.sleep(PAUSE)


def orphan(host: Host) -> Optional[int]:
    """Return a process that runs a scriptlet and has no rpm above it."""
    for pid in host.proc.pids():
        if SCRIPT.search(host.proc.command(pid)) and host.proc.parent(pid) == 1:
            return pid
    return None

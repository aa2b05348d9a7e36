"""Bulletins (rpm-md's updateinfo ``update``): what they say, and what they mean for one host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from interlock.depot.metadata import DepotPackage
from interlock.package import Nevra, Package, Relation

if TYPE_CHECKING:
    from interlock.depot.repository import Depot

ByName = Mapping[str, Sequence[DepotPackage]]


@dataclass(frozen=True)
class Reference:
    """Where to read on: ``kind`` is ``bugzilla``, ``cve``, ``self``..."""

    href: str
    identity: str
    title: str
    kind: str


@dataclass(frozen=True)
class Bulletin:
    """One advisory. ``category`` is ``security``, ``bugfix``, ``enhancement``, ``newpackage`` or another word.

    ``issued`` and ``updated`` are as the depot has them; seconds since the epoch become ``YYYY-MM-DD HH:MM:SS``.
    ``reboot`` and ``restart`` (services or a new login) hold if the bulletin or any of its packages says so.
    ``recalled`` is one that its publisher has taken back, with the reason and the bulletin that takes its place.
    """

    id: str
    title: str = ""
    severity: str = ""
    category: str = ""
    issued: str = ""
    updated: str = ""
    description: str = ""
    reboot: bool = False
    restart: bool = False
    references: tuple[Reference, ...] = ()
    packages: tuple[Nevra, ...] = ()
    vendor: str = ""
    rights: str = ""
    maintenance: bool = False
    recalled: bool = False
    recall_reason: str = ""
    replacement: str = ""


class BulletinStatus(str, Enum):
    """What a bulletin is on one host."""

    APPLICABLE = "applicable"
    STAGED = "staged"
    INSTALLED = "installed"
    OBSOLETED = "obsoleted"
    NOT_APPLICABLE = "not-applicable"
    MISSING_PACKAGE = "missing-package"
    CONFLICT = "conflict"
    NOT_INSTALLABLE = "not-installable"
    RECALLED = "recalled"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class BulletinState:
    """A bulletin's status, why, and its packages that would be installed here.

    ``here`` are those of its packages that are installed in the very version: of a recalled one, what is to be mended.
    """

    bulletin: Bulletin
    status: BulletinStatus
    reason: str
    upgrades: tuple[Nevra, ...] = ()
    here: tuple[Nevra, ...] = ()


class InstalledIndex:
    """What the host has, by what bulletins ask for."""

    def __init__(self, installed: Iterable[Package]) -> None:
        self.by_name: dict[str, list[Nevra]] = defaultdict(list)
        self.obsoletes: dict[str, list[Relation]] = defaultdict(list)
        for package in installed:
            self.by_name[package.name].append(package.nevra)
            for relation in package.obsoletes:
                self.obsoletes[relation.name].append(relation)

    def same(self, wanted: Nevra) -> list[Nevra]:
        """Return the installed packages that ``wanted`` would be an upgrade of, or is."""
        return [one for one in self.by_name.get(wanted.name, ()) if arches_fit(one.arch, wanted.arch)]

    def is_obsoleted(self, wanted: Nevra) -> bool:
        """Say whether an installed package obsoletes this one."""
        return any(obsoletes(relation, wanted) for relation in self.obsoletes.get(wanted.name, ()))


def arches_fit(one: str, other: str) -> bool:
    """Say whether a package of one architecture can replace one of the other."""
    return one == other or "noarch" in (one, other)


def obsoletes(relation: Relation, nevra: Nevra) -> bool:
    """Say whether an obsoletion takes this package in; as in rpm by its name, never by what it provides."""
    return relation.matches(Relation(nevra.name, "=", nevra.evr))


def bulletin_states(depot: Depot, installed: Iterable[Package]) -> tuple[BulletinState, ...]:
    """Return what each bulletin of a depot is on a host with these packages, in the depot's order."""
    host = InstalledIndex(installed)
    return tuple(_state(bulletin, host, depot.by_name) for bulletin in depot.bulletins)


def _state(bulletin: Bulletin, host: InstalledIndex, depot: ByName) -> BulletinState:
    try:
        here = tuple(one for one in bulletin.packages if one in host.by_name.get(one.name, ()))
        return recalled_state(bulletin, here) if bulletin.recalled else _judged(bulletin, host, depot, here)
    except (ValueError, ArithmeticError, LookupError) as error:
        # One bulletin that makes no sense is no reason to know nothing of the others.
        return BulletinState(bulletin, BulletinStatus.UNKNOWN, f"it cannot be judged: {error}")


def recalled_state(bulletin: Bulletin, here: tuple[Nevra, ...]) -> BulletinState:
    """Return what a recalled bulletin is on a host that has these packages of it."""
    reason = f"recalled: {bulletin.recall_reason}" if bulletin.recall_reason else "recalled by its publisher"
    if here:
        reason += f"; {here[0]}{f' and {len(here) - 1} more' if len(here) > 1 else ''} of it is installed here"
    if bulletin.replacement:
        reason += f"; {bulletin.replacement} takes its place"
    return BulletinState(bulletin, BulletinStatus.RECALLED, reason, here=here)


def _judged(bulletin: Bulletin, host: InstalledIndex, depot: ByName, here: tuple[Nevra, ...]) -> BulletinState:
    upgrades: list[Nevra] = []
    missing: list[Nevra] = []
    done: list[Nevra] = []
    for wanted in bulletin.packages:
        if _is_newer(wanted, host) or _replaces_another(wanted, host, depot):
            (upgrades if _offered(wanted, depot) else missing).append(wanted)
        elif host.same(wanted) or host.is_obsoleted(wanted):
            done.append(wanted)
    if upgrades:
        return BulletinState(bulletin, BulletinStatus.APPLICABLE, _count(upgrades), tuple(upgrades))
    if missing:
        reason = f"the depot has not its package {missing[0]}"
        return BulletinState(bulletin, BulletinStatus.MISSING_PACKAGE, reason)
    if done and not any(map(host.same, done)):
        return BulletinState(bulletin, BulletinStatus.OBSOLETED, "what is installed obsoletes its packages")
    if done:
        return BulletinState(bulletin, BulletinStatus.INSTALLED, "its packages are installed or obsoleted", here=here)
    return BulletinState(bulletin, BulletinStatus.NOT_APPLICABLE, _why_not(bulletin, host))


def _is_newer(wanted: Nevra, host: InstalledIndex) -> bool:
    same = host.same(wanted)
    return bool(same) and all(wanted.evr.compare(one.evr) > 0 for one in same)


def _replaces_another(wanted: Nevra, host: InstalledIndex, depot: ByName) -> bool:
    if host.by_name.get(wanted.name):
        return False
    return any(
        obsoletes(relation, one)
        for package in depot.get(wanted.name, ())
        if package.nevra == wanted
        for relation in package.package.obsoletes
        for one in host.by_name.get(relation.name, ())
    )


def _offered(wanted: Nevra, depot: ByName) -> bool:
    return any(
        arches_fit(package.nevra.arch, wanted.arch) and package.nevra.evr.compare(wanted.evr) >= 0
        for package in depot.get(wanted.name, ())
    )


def _count(upgrades: Sequence[Nevra]) -> str:
    more = f" and {len(upgrades) - 1} more" if len(upgrades) > 1 else ""
    return f"{upgrades[0]} is newer than what is installed{more}"


def _why_not(bulletin: Bulletin, host: InstalledIndex) -> str:
    if not bulletin.packages:
        return "it has no packages"
    named = [one for one in bulletin.packages if host.by_name.get(one.name)]
    if named:
        return f"{named[0].name} is installed, but not for {named[0].arch}"
    return "none of its packages is installed"

"""The plan: which packages of a depot come onto a host, and which go. Pure: values in, values out.

``make_plan`` chooses what was asked for, lets ``depot.closure`` pull in what that needs, and says what stands
against it. A plan with problems is shown, never carried out. A package is never replaced by an earlier version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from interlock.depot.bulletin import Bulletin
from interlock.depot.closure import Closure
from interlock.depot.collector import collector_paused
from interlock.depot.metadata import DepotPackage
from interlock.depot.problem import Problem
from interlock.depot.seeds import all_that_applies, named_by
from interlock.errors import Refused, UnknownBulletin
from interlock.package import Nevra, Package

if TYPE_CHECKING:
    from interlock.depot.repository import Depot

FORMAT = 1
# Several versions of these stand beside one another (dnf's installonlypkgs).
INSTALL_ONLY: frozenset[str] = frozenset(
    f"kernel{flavour}{part}"
    for flavour in ("", "-rt", "-debug", "-64k", "-PAE", "-uek")
    for part in ("", "-core", "-modules", "-modules-core", "-modules-extra", "-modules-internal", "-devel")
) | {"kernel-source"}
# A running system goes on using the old version of these (as `dnf needs-restarting -r` has it).
NEED_REBOOT: frozenset[str] = frozenset(
    ("kernel", "kernel-core", "kernel-rt", "kernel-rt-core", "kernel-default", "glibc", "libc6", "systemd",
     "dbus", "dbus-broker", "dbus-daemon", "linux-firmware", "microcode_ctl")
)  # fmt: skip
IGNORED = "gpg-pubkey"


@dataclass(frozen=True)
class Upgrade:
    """A package that takes the place of earlier versions of its name."""

    old: tuple[Nevra, ...]
    new: DepotPackage


@dataclass(frozen=True)
class Removal:
    """A package that goes without a successor of its name, and why."""

    nevra: Nevra
    reason: str


@dataclass(frozen=True)
class Plan:
    """What will be done, or why it cannot be. Sizes are in bytes.

    ``asked`` are the packages that were asked for (by bulletins, or all that apply), ``closure`` those that they
    pull in. ``bulletins`` are the ids that were asked for or, where none was, all that the plan carries out.
    ``installed_size_change`` is negative where the host gets smaller. ``notes`` are for people.
    """

    depot: str
    bulletins: tuple[str, ...] = ()
    asked: tuple[Nevra, ...] = ()
    closure: tuple[Nevra, ...] = ()
    upgrades: tuple[Upgrade, ...] = ()
    installs: tuple[DepotPackage, ...] = ()
    removals: tuple[Removal, ...] = ()
    reboot: bool = False
    reboot_reasons: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    download_size: int = 0
    installed_size_change: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done (and nothing stands against it)."""
        return not (self.upgrades or self.installs or self.removals or self.problems)

    @property
    def packages(self) -> tuple[DepotPackage, ...]:
        """All packages that come from the depot."""
        return (*(one.new for one in self.upgrades), *self.installs)

    @property
    def leaving(self) -> tuple[Nevra, ...]:
        """All installed packages that will be gone afterwards."""
        old = [nevra for one in self.upgrades for nevra in one.old]
        return (*old, *(one.nevra for one in self.removals))

    @property
    def missing_files(self) -> tuple[str, ...]:
        """Paths whose lack is a problem: try again with ``depot.with_file_lists(plan.missing_files)``."""
        return tuple(sorted({one.relation for one in self.problems if one.relation.startswith("/")}))

    def expected(self, installed: Iterable[Nevra]) -> frozenset[Nevra]:
        """Return the packages that a host with these installed has afterwards."""
        return (frozenset(installed) - frozenset(self.leaving)) | {one.nevra for one in self.packages}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json`` and for programs."""
        row = {one.name: getattr(self, one.name) for one in fields(self)}
        row["format"] = FORMAT
        for key in ("bulletins", "reboot_reasons", "notes"):
            row[key] = list(row[key])
        for key in ("asked", "closure"):
            row[key] = [str(nevra) for nevra in row[key]]
        row["upgrades"] = [
            {"old": [str(nevra) for nevra in one.old], "new": one.new.to_json()} for one in self.upgrades
        ]
        row["installs"] = [one.to_json() for one in self.installs]
        row["removals"] = [{"nevra": str(one.nevra), "reason": one.reason} for one in self.removals]
        row["problems"] = [vars(one) for one in self.problems]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Plan:
        """Read what ``to_json`` wrote; ValueError, KeyError or TypeError where it is not that."""
        if row["format"] != FORMAT:
            raise ValueError(f"not a plan of format {FORMAT}: {row['format']!r}")
        values = {one.name: row[one.name] for one in fields(cls)}
        for key in ("bulletins", "reboot_reasons", "notes"):
            values[key] = tuple(row[key])
        for key in ("asked", "closure"):
            values[key] = tuple(Nevra.parse(text) for text in row[key])
        values["upgrades"] = tuple(_upgrade_from_json(one) for one in row["upgrades"])
        values["installs"] = tuple(DepotPackage.from_json(one) for one in row["installs"])
        values["removals"] = tuple(Removal(Nevra.parse(one["nevra"]), one["reason"]) for one in row["removals"])
        values["problems"] = tuple(Problem(**one) for one in row["problems"])
        return cls(**values)


def _upgrade_from_json(row: Mapping[str, Any]) -> Upgrade:
    return Upgrade(tuple(Nevra.parse(text) for text in row["old"]), DepotPackage.from_json(row["new"]))


def make_plan(
    installed: Sequence[Package],
    depot: Depot,
    *,
    bulletins: Sequence[str] = (),
    install_only: Collection[str] = INSTALL_ONLY,
) -> Plan:
    """Plan the upgrade of a host that has ``installed`` to what ``depot`` has.

    Without ``bulletins``: all that applies. With them: their packages of which the host has an earlier version,
    and what these need. Names in ``install_only`` are installed beside their earlier versions. Raises
    UnknownBulletin. A requirement of a file may need ``Plan.missing_files`` and a second call.
    """
    with collector_paused():
        return _planned([one for one in installed if one.name != IGNORED], depot, bulletins, install_only)


def _planned(host: Sequence[Package], depot: Depot, bulletins: Sequence[str], install_only: Collection[str]) -> Plan:
    asked = [_bulletin(depot, identity) for identity in bulletins]
    depot, left_out = depot.without_recalled
    closure = Closure(host, depot, install_only)
    seeds, missing = named_by(asked, closure) if asked else (all_that_applies(closure), [])
    chosen = {one.nevra for one in seeds if closure.choose(one)}
    closure.close()
    problems = (*_duplicates(host, install_only), *missing, *closure.problems())
    plan = replace(_described(closure, host, asked, chosen), problems=problems)
    names = {one.name for one in host}
    notes = [text for name, text in left_out if name in names]
    return replace(plan, notes=(*plan.notes, *dict.fromkeys(notes))) if notes else plan


class RecalledBulletin(Refused):
    """Refused: the bulletin {bulletin} has been recalled{reason}."""

    hint = "Nothing was changed. {advice}"


def _bulletin(depot: Depot, identity: str) -> Bulletin:
    found = depot.bulletin(identity)
    if found is None:
        known = ", ".join(one.id for one in depot.bulletins[:10]) or "none"
        more = ", ..." if len(depot.bulletins) > 10 else ""
        raise UnknownBulletin(depot=depot.location, bulletin=identity, known=known + more)
    if found.recalled:
        reason = f": {found.recall_reason}" if found.recall_reason else ""
        other = found.replacement
        advice = f"{other} takes its place: --bulletin {other}." if other else "`interlock scan` lists what there is."
        raise RecalledBulletin(bulletin=identity, reason=reason, advice=advice)
    return found


def _described(closure: Closure, host: Sequence[Package], asked: Sequence[Bulletin], wanted: Set[Nevra]) -> Plan:
    chosen = sorted(closure.chosen.values(), key=lambda one: str(one.nevra))
    old: dict[Nevra, list[Nevra]] = {}
    for gone, successor in closure.removed.items():
        if gone.name == successor.name:
            old.setdefault(successor, []).append(gone)
    bulletins = tuple(asked) or _carried_out(closure)
    reasons = _reboot_reasons(bulletins, chosen)
    sizes = {one.nevra: one.size for one in host}
    return Plan(
        depot=closure.depot.location,
        bulletins=tuple(one.id for one in bulletins),
        asked=tuple(one.nevra for one in chosen if one.nevra in wanted),
        closure=tuple(one.nevra for one in chosen if one.nevra not in wanted),
        upgrades=tuple(Upgrade(tuple(sorted(old[one.nevra], key=str)), one) for one in chosen if one.nevra in old),
        installs=tuple(one for one in chosen if one.nevra not in old),
        removals=tuple(
            Removal(gone, f"obsoleted by {successor}")
            for gone, successor in sorted(closure.removed.items(), key=lambda pair: str(pair[0]))
            if gone.name != successor.name
        ),
        reboot=bool(reasons),
        reboot_reasons=reasons,
        notes=tuple(sorted(closure.notes)),
        download_size=sum(one.download_size for one in chosen),
        installed_size_change=sum(one.package.size for one in chosen) - sum(sizes[gone] for gone in closure.removed),
    )


def _carried_out(closure: Closure) -> tuple[Bulletin, ...]:
    return tuple(
        one
        for one in closure.depot.bulletins
        if not one.recalled
        if any(nevra in closure.chosen for nevra in one.packages)
    )


def _reboot_reasons(bulletins: Sequence[Bulletin], chosen: Sequence[DepotPackage]) -> tuple[str, ...]:
    said = [f"the bulletin {one.id} says so" for one in bulletins if one.reboot]
    replaced = [f"{one.name} is replaced" for one in chosen if needs_reboot(one.name)]
    return (*said, *replaced)


def needs_reboot(name: str) -> bool:
    """Say whether a running system goes on using the old version of a package until it is booted again."""
    return name in NEED_REBOOT or name.startswith("linux-image-")


def _duplicates(installed: Sequence[Package], install_only: Collection[str]) -> list[Problem]:
    groups: dict[tuple[str, str], list[Nevra]] = {}
    for package in installed:
        if package.name not in install_only:
            groups.setdefault((package.name, package.nevra.arch), []).append(package.nevra)
    return [
        Problem(
            "duplicate",
            str(found[0]),
            f"{name} is installed {len(found)} times, as after an upgrade that broke off: "
            + ", ".join(str(nevra) for nevra in found),
        )
        for (name, _), found in groups.items()
        if len(found) > 1
    ]

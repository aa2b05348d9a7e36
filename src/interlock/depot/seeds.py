"""What is asked for, before what it needs: all that applies to a host, or what some bulletins name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from interlock.depot.bulletin import Bulletin, arches_fit, obsoletes
from interlock.depot.closure import Closure, latest
from interlock.depot.metadata import DepotPackage
from interlock.depot.problem import Problem
from interlock.package import Nevra, Package

if TYPE_CHECKING:
    from interlock.depot.repository import Depot


def all_that_applies(closure: Closure) -> list[DepotPackage]:
    """Return successors by obsoletion first, then upgrades: the first may make some of the second needless."""
    successors: dict[Nevra, DepotPackage] = {}
    upgrades: dict[Nevra, DepotPackage] = {}
    for package in closure.world.originals():
        for one in _successors(package, closure):
            successors[one.nevra] = one
        for one in latest(closure.depot.by_name.get(package.name, ())):
            if arches_fit(one.nevra.arch, package.nevra.arch) and one.package.newer_than(package):
                upgrades[one.nevra] = one
    return [*successors.values(), *upgrades.values()]


def _successors(package: Package, closure: Closure) -> list[DepotPackage]:
    names = {one.name for _, one in closure.depot.obsoleters.get(package.name, ())} - {package.name}
    found: list[DepotPackage] = []
    for name in sorted(names):
        best = [one for one in latest(closure.depot.by_name[name]) if _obsoletes(one, package.nevra)]
        fitting = [one for one in best if arches_fit(one.nevra.arch, package.nevra.arch)]
        fitting = [one for one in fitting if not _is_passed_over(one, closure.depot)]
        found += [one for one in fitting if one.nevra.arch == closure.main_arch] or fitting[:1]
    return found


def _obsoletes(one: DepotPackage, nevra: Nevra) -> bool:
    return any(obsoletes(relation, nevra) for relation in one.package.obsoletes)


def _is_passed_over(one: DepotPackage, depot: Depot) -> bool:
    """Say whether a third package obsoletes this successor in its turn."""
    return any(
        other.name != one.name and obsoletes(relation, one.nevra) and not _obsoletes(one, other.nevra)
        for relation, other in depot.obsoleters.get(one.name, ())
    )


def named_by(asked: Sequence[Bulletin], closure: Closure) -> tuple[list[DepotPackage], list[Problem]]:
    """Return the packages of some bulletins of which the host has an earlier version, and what the depot lacks."""
    missing: list[Problem] = []
    seeds: dict[Nevra, DepotPackage] = {}
    for bulletin in asked:
        for wanted in bulletin.packages:
            if not _concerns_host(wanted, closure):
                continue
            offered = _offered(wanted, closure.depot)
            if offered is None:
                text = f"{bulletin.id} has {wanted}, which the depot does not have"
                missing.append(Problem("missing-package", str(wanted), text))
            else:
                seeds[offered.nevra] = offered
    # Of two bulletins with one package, the later version is the one to take.
    return latest(seeds.values()), missing


def _concerns_host(wanted: Nevra, closure: Closure) -> bool:
    same = [one for one in closure.world.original(wanted.name) if arches_fit(one.nevra.arch, wanted.arch)]
    if closure.world.original(wanted.name):
        return bool(same) and all(wanted.evr.compare(one.nevra.evr) > 0 for one in same)
    offered = _offered(wanted, closure.depot)
    return offered is not None and any(
        obsoletes(relation, one.nevra)
        for relation in offered.package.obsoletes
        for one in closure.world.original(relation.name)
    )


def _offered(wanted: Nevra, depot: Depot) -> Optional[DepotPackage]:
    """Return the very package, or the latest of its name if that is later still."""
    same = [one for one in depot.by_name.get(wanted.name, ()) if arches_fit(one.nevra.arch, wanted.arch)]
    exact = [one for one in same if one.nevra == wanted]
    later = [one for one in latest(same) if one.nevra.evr.compare(wanted.evr) >= 0]
    return next(iter(exact or later), None)

"""What a choice of packages pulls in, and what stands against it. Pure: values in, values out.

A fixpoint without backtracking: as long as something that the chosen packages need, or something that a
remaining package loses, is not met, the depot's best answer is chosen as well. What has no answer becomes a
``Problem``. The host's rpm checks the same things again before its transaction, and has the last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Optional

from interlock.depot import rich
from interlock.depot.bulletin import arches_fit, obsoletes
from interlock.depot.metadata import DepotPackage
from interlock.depot.problem import Problem
from interlock.depot.world import World
from interlock.package import Nevra, Package, Relation

if TYPE_CHECKING:
    from interlock.depot.repository import Depot


class Closure:
    """The packages chosen so far over the packages of a host, on the way to a set that holds together.

    ``removed`` says of each package of the host that is taken off which new one takes its place.
    """

    def __init__(self, installed: Sequence[Package], depot: Depot, install_only: Collection[str]) -> None:
        self.depot = depot
        self.install_only = frozenset(install_only)
        self.world = World(installed)
        self.chosen: dict[Nevra, DepotPackage] = {}
        self.removed: dict[Nevra, Nevra] = {}
        self.notes: set[str] = set()
        arches = Counter(one.nevra.arch for one in installed if one.nevra.arch != "noarch")
        self.main_arch = max(sorted(arches), key=arches.__getitem__, default="")
        self.arches = frozenset(arches)

    # -- choosing

    def choose(self, package: DepotPackage) -> bool:
        """Add a package, taking off what it upgrades or obsoletes; False where ``may_choose`` says no."""
        if not self.may_choose(package):
            return False
        for old in self._replaced_by(package):
            self._take_off(old, package)
        self.world.add(package.package)
        self.chosen[package.nevra] = package
        return True

    def _take_off(self, old: Package, by: DepotPackage) -> None:
        self.world.remove(old)
        if self.world.is_original(old):
            self.removed[old.nevra] = by.nevra
        elif self.chosen.pop(old.nevra, None):
            for earlier in [one for one, successor in self.removed.items() if successor == old.nevra]:
                self.removed[earlier] = by.nevra

    def may_choose(self, package: DepotPackage) -> bool:
        """Say whether a package is later than what is installed or chosen, and not obsoleted by what is chosen."""
        if package.nevra in self.world.nevras:
            return False
        same = [*self.world.original(package.name), *self.world.named(package.name)]
        if any(_fits(one, package) and not package.package.newer_than(one) for one in same):
            return False
        return not any(obsoletes(one, package.nevra) for one in self.world.obsoletions(package.name))

    def _replaced_by(self, package: DepotPackage) -> list[Package]:
        found: list[Package] = []
        if package.name not in self.install_only:
            same = [*self.world.original(package.name), *self.world.named(package.name)]
            found += [one for one in same if _fits(one, package)]
        for relation in package.package.obsoletes:
            if relation.name != package.name:
                there = self.world.named(relation.name)
                found += [one for one in there if obsoletes(relation, one.nevra)]
        return found

    # -- the fixpoint

    def close(self) -> None:
        """Choose more packages until nothing more can be mended."""
        hopeless: set[tuple[Nevra, Relation]] = set()
        while self._mend_needs(hopeless) or self._mend_conflicts():
            pass

    def _mend_needs(self, hopeless: set[tuple[Nevra, Relation]]) -> bool:
        changed = False
        for package, relation in list(self.unmet()):
            if package.nevra not in self.world.nevras or (package.nevra, relation) in hopeless:
                continue
            if self.is_met(relation):
                continue
            if self._mend(package, relation):
                changed = True
            else:
                hopeless.add((package.nevra, relation))
        return changed

    def _mend(self, package: Package, relation: Relation) -> bool:
        if self.world.is_original(package) and self._upgrade(package, relation):
            return True
        if rich.is_rich(relation):
            return self._mend_rich(package, relation)
        best = self.provider(relation, package.nevra.arch)
        return best is not None and self.choose(best)

    def _mend_rich(self, package: Package, relation: Relation) -> bool:
        node = rich.parse_rich(relation.name)
        if node is None:
            return False
        arch = package.nevra.arch
        plain = rich.wanted(node, self.is_met, lambda one: self.provider(one, arch) is not None)
        found = [self.provider(one, arch) for one in plain]
        return bool([one for one in found if one is not None and self.choose(one)])

    def _upgrade(self, package: Package, broken: Optional[Relation] = None) -> bool:
        for one in latest(self.depot.by_name.get(package.name, ())):
            helps = broken not in one.package.requires
            if helps and _fits(package, one) and self.choose(one):
                return True
        return False

    def _mend_conflicts(self) -> bool:
        changed = False
        for one, other, _ in list(self.conflicts()):
            for package in (one, other):
                if self.world.is_original(package) and package.nevra in self.world.nevras:
                    changed = self._upgrade(package) or changed
        return changed

    # -- requirements

    def is_met(self, relation: Relation) -> bool:
        """Say whether a requirement is met by the packages as they would be now."""
        if relation.name.startswith("rpmlib("):
            return True
        if rich.is_rich(relation):
            node = rich.parse_rich(relation.name)
            if node is None:
                self.notes.add(f"not understood, left to rpm: {relation}")
            return node is None or rich.is_met(node, self.is_met)
        return self.world.provides(relation)

    def unmet(self) -> Iterator[tuple[Package, Relation]]:
        """Yield what chosen packages need and do not get, and what remaining packages would lose."""
        known: dict[Relation, bool] = {}
        for package, relation in [*self._needs_of_chosen(), *self.world.endangered()]:
            met = known.get(relation)
            if met is None:
                met = known[relation] = self.is_met(relation)
            if not met:
                yield package, relation

    def _needs_of_chosen(self) -> Iterator[tuple[Package, Relation]]:
        for one in self.chosen.values():
            for relation in one.package.requires:
                yield one.package, relation

    def provider(self, relation: Relation, arch: str) -> Optional[DepotPackage]:
        """Return the depot's best package for a requirement of a package of ``arch``.

        The upgrade of an installed name comes first, then a package of the very name, then one for the same
        architecture, then the latest.
        """
        named = self.depot.providers.get(relation.name, ())
        found = [one for provided, one in named if relation.matches(provided)]
        if relation.name.startswith("/"):
            found += self.depot.by_file.get(relation.name, ())
        found = [one for one in latest(found) if self._arch_wanted(one, arch) and self.may_choose(one)]

        def rank(one: DepotPackage) -> tuple[bool, bool, bool, str, str]:
            return (
                not self.world.named(one.name), one.name != relation.name,
                not arches_fit(one.nevra.arch, arch if arch in self.arches else self.main_arch),
                one.name, one.nevra.arch,
            )  # fmt: skip

        return min(found, key=rank, default=None)

    def _arch_wanted(self, one: DepotPackage, of_requirer: str) -> bool:
        arch = one.nevra.arch
        return not self.arches or arch in self.arches or arches_fit(arch, of_requirer)

    # -- what is left

    def conflicts(self) -> Iterator[tuple[Package, Package, str]]:
        """Yield pairs that cannot be installed together, and why, where at least one of them is new."""
        for one in self.chosen.values():
            for relation in one.package.conflicts:
                for other in self.world.providers(relation):
                    if other.nevra != one.nevra:
                        yield one.package, other, _conflict(one.package, relation, other)
            for relation in one.package.obsoletes:
                for other in self.world.named(relation.name):
                    if other.name != one.name and obsoletes(relation, other.nevra):
                        yield one.package, other, f"{one.nevra} obsoletes {other.nevra}, which is wanted too"
            yield from self._against(one.package)

    def _against(self, package: Package) -> Iterator[tuple[Package, Package, str]]:
        for other, relation in self.world.conflicting(package):
            yield other, package, _conflict(other, relation, package)

    def problems(self) -> tuple[Problem, ...]:
        """Return what cannot be met, in a fixed order and each once."""
        found: dict[Problem, None] = {}
        for package, relation in self.unmet():
            if not (self.world.is_original(package) and self._left_to_rpm(relation)):
                found[_unmet_problem(package, relation, self.world.is_original(package))] = None
        for one, _, text in self.conflicts():
            found[Problem("conflict", str(one.nevra), text)] = None
        return tuple(found)

    def _left_to_rpm(self, relation: Relation) -> bool:
        # rpm does not look at what only the scriptlets of an installed package needed, once they have run.
        if relation.pre:
            return True
        node = rich.parse_rich(relation.name) if rich.is_rich(relation) else None
        return node is not None and not rich.is_met(node, self.world.was_provided)


def _conflict(one: Package, relation: Relation, other: Package) -> str:
    return f"{one.nevra} conflicts with {relation}, which {other.nevra} provides"


def _fits(one: Package, package: DepotPackage) -> bool:
    return arches_fit(one.nevra.arch, package.nevra.arch)


def _unmet_problem(package: Package, relation: Relation, remains: bool) -> Problem:
    if remains:
        text = f"{package.nevra}, which stays, would lose {relation}, and the depot has nothing that provides it"
        return Problem("broken", str(package.nevra), text, str(relation))
    text = f"{package.nevra} needs {relation}, which neither the host nor the depot provides"
    kind = "file-requirement" if relation.name.startswith("/") else "requirement"
    return Problem(kind, str(package.nevra), text, str(relation))


def latest(packages: Iterable[DepotPackage]) -> list[DepotPackage]:
    """Return the latest package of each name and architecture, ordered by these."""
    best: dict[tuple[str, str], DepotPackage] = {}
    for one in packages:
        key = (one.name, one.nevra.arch)
        if key not in best or one.package.newer_than(best[key].package):
            best[key] = one
    return [best[key] for key in sorted(best)]

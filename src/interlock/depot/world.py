"""The packages of a host as they would be: a set that grows and shrinks, with indexes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Optional

from interlock.depot import rich
from interlock.package import Nevra, Package, Relation


class World:
    """Packages that are there now. ``nevras`` are theirs; the ones of the beginning are the *originals*.

    Entries of removed packages stay in the indexes and are passed over: removing is then one set operation.
    """

    def __init__(self, packages: Sequence[Package]) -> None:
        self.nevras: set[Nevra] = set()
        self.removed: list[Package] = []
        self._named: dict[str, list[Package]] = defaultdict(list)
        self._provided: dict[str, list[tuple[Relation, Package]]] = defaultdict(list)
        self._conflicts: dict[str, list[tuple[Relation, Package]]] = defaultdict(list)
        self._obsoletes: dict[str, list[tuple[Relation, Package]]] = defaultdict(list)
        self._files: Optional[dict[str, list[Package]]] = None
        self._requirers: Optional[dict[str, list[tuple[Relation, Package]]]] = None
        for package in packages:
            self._index(package)
        self._originals: dict[str, list[Package]] = {name: list(some) for name, some in self._named.items()}
        self._original_nevras = frozenset(self.nevras)

    def _index(self, package: Package) -> None:
        self.nevras.add(package.nevra)
        self._named[package.name].append(package)
        for relation in package.provides:
            self._provided[relation.name].append((relation, package))
        for relation in package.conflicts:
            self._conflicts[relation.name].append((relation, package))

    def add(self, package: Package) -> None:
        """Put a package in."""
        self._index(package)
        for relation in package.obsoletes:
            self._obsoletes[relation.name].append((relation, package))
        if self._files is not None:
            self._index_files(package, self._files)

    def remove(self, package: Package) -> None:
        """Take a package out."""
        if package.nevra in self.nevras:
            self.nevras.discard(package.nevra)
            self.removed.append(package)

    def is_original(self, package: Package) -> bool:
        """Say whether a package was there from the beginning."""
        return package.nevra in self._original_nevras

    def original(self, name: str) -> Sequence[Package]:
        """Return the packages of a name that were there at the beginning."""
        return self._originals.get(name, ())

    def named(self, name: str) -> list[Package]:
        """Return the packages of a name that are there."""
        return [one for one in self._named.get(name, ()) if one.nevra in self.nevras]

    def obsoletions(self, name: str) -> list[Relation]:
        """Return what the added packages obsolete of a name."""
        return [relation for relation, one in self._obsoletes.get(name, ()) if one.nevra in self.nevras]

    def providers(self, relation: Relation) -> Iterator[Package]:
        """Yield the packages that meet a requirement, by what they provide or by a file."""
        for provided, package in self._provided.get(relation.name, ()):
            if package.nevra in self.nevras and relation.matches(provided):
                yield package
        if relation.name.startswith("/"):
            for package in self._by_file(relation.name):
                if package.nevra in self.nevras:
                    yield package

    def provides(self, relation: Relation) -> bool:
        """Say whether a plain requirement is met."""
        return next(self.providers(relation), None) is not None

    def conflicting(self, package: Package) -> Iterator[tuple[Package, Relation]]:
        """Yield the originals still there that conflict with what a package provides."""
        for provided in package.provides:
            for relation, other in self._conflicts.get(provided.name, ()):
                if (
                    other.nevra in self.nevras
                    and self.is_original(other)
                    and other.nevra != package.nevra
                    and relation.matches(provided)
                ):
                    yield other, relation

    def endangered(self) -> Iterator[tuple[Package, Relation]]:
        """Yield requirements of the originals still there which a removed package met, as rpm looks for them.

        What was not met before is not looked at: an upgrade is not refused for a fault that it does not make.
        """
        requirers = self._by_requirement()
        for gone in self.removed:
            for provided in gone.provides:
                for relation, package in requirers.get(provided.name, ()):
                    if package.nevra in self.nevras and _concerns(relation, provided):
                        yield package, relation
            for path in gone.files:
                for relation, package in requirers.get(path, ()):
                    if package.nevra in self.nevras:
                        yield package, relation

    def was_provided(self, relation: Relation) -> bool:
        """Say whether the originals met a plain requirement."""
        found = self._provided.get(relation.name, ())
        return any(self.is_original(one) and relation.matches(provided) for provided, one in found) or any(
            self.is_original(one) for one in self._by_file(relation.name)
        )

    def _by_requirement(self) -> dict[str, list[tuple[Relation, Package]]]:
        if self._requirers is None:
            self._requirers = defaultdict(list)
            for package in self.originals():
                for relation in package.requires:
                    for name in _plain_names(relation):
                        self._requirers[name].append((relation, package))
        return self._requirers

    def originals(self) -> Iterator[Package]:
        """Yield all that was there at the beginning, by name in the order it was given."""
        for packages in self._originals.values():
            yield from packages

    def _by_file(self, path: str) -> Sequence[Package]:
        if self._files is None:
            self._files = defaultdict(list)
            for packages in self._named.values():
                for package in packages:
                    self._index_files(package, self._files)
        return self._files.get(path, ())

    def _index_files(self, package: Package, files: dict[str, list[Package]]) -> None:
        for path in package.files:
            files[path].append(package)


def _concerns(relation: Relation, provided: Relation) -> bool:
    return rich.is_rich(relation) or relation.matches(provided)


def _plain_names(relation: Relation) -> list[str]:
    if not rich.is_rich(relation):
        return [relation.name]
    return [one.name for one in rich.leaves(rich.parse_rich(relation.name))]

"""What bulletins are on many package sets: set arithmetic on bits, each NEVRA looked at once for the whole fleet.

Bulletin number n is bit n of an integer. For the installed versions of one name there are four integers: bulletins that
would upgrade it, those whose package the depot lacks, those that it has done, and those that it is the very package of.
A package set is the union of its names; hosts with one set share the answer. It is what
`interlock.depot.bulletin.bulletin_states` says of one host, which a test compares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from interlock.depot.bulletin import Bulletin, arches_fit, obsoletes
from interlock.depot.repository import Depot
from interlock.package import Nevra, Relation


@dataclass(frozen=True)
class Bits:
    """Bulletins as bits: applicable; so, but the depot lacks the package; done; and installed in the very version."""

    applicable: int = 0
    missing: int = 0
    done: int = 0
    here: int = 0

    def __or__(self, other: Bits) -> Bits:
        return Bits(
            self.applicable | other.applicable, self.missing | other.missing, self.done | other.done,
            self.here | other.here,
        )  # fmt: skip


@dataclass(frozen=True)
class _Wanted:
    bit: int
    nevra: Nevra
    offered: bool


class Evaluator:
    """What the bulletins of one state of a depot are on package sets; ``nevras`` are all that occur, by number."""

    def __init__(self, depot: Depot, nevras: Mapping[int, str]) -> None:
        self.depot = depot
        self.bulletins = depot.bulletins
        self.number = {one.id: index for index, one in enumerate(depot.bulletins)}
        self._texts = nevras
        self._parsed: dict[int, Nevra] = {}
        self._groups: dict[tuple[int, ...], Bits] = {}
        self._sets: dict[int, Bits] = {}

    @cached_property
    def recalled(self) -> int:
        """The recalled bulletins."""
        return self.bits(one.id for one in self.bulletins if one.recalled)

    def bits(self, identities: Iterable[str]) -> int:
        """Return bulletins as bits; unknown ones are left out."""
        found = 0
        for identity in identities:
            if identity in self.number:
                found |= 1 << self.number[identity]
        return found

    def named(self, bits: int) -> list[str]:
        """Return the ids of bits."""
        return [self.bulletins[index].id for index in _ones(bits)]

    def of_set(self, number: int, members: Sequence[int]) -> Bits:
        """Return what bulletins are on a package set; the answer is kept under its number."""
        known = self._sets.get(number)
        if known is None:
            known = self._sets[number] = self._evaluated(members)
        return known

    def _evaluated(self, members: Sequence[int]) -> Bits:
        by_name: dict[str, list[int]] = defaultdict(list)
        for one in members:
            by_name[self._nevra(one).name].append(one)
        applicable = missing = done = here = 0
        replaceable: list[str] = []
        for name, group in by_name.items():
            found = self._of_group(tuple(sorted(group)))
            applicable |= found.applicable
            missing |= found.missing
            done |= found.done
            here |= found.here
            if name in self._replacing:
                replaceable.append(name)
        for name in replaceable:
            for relation, wanted in self._replacing[name]:
                if wanted.nevra.name not in by_name and any(
                    obsoletes(relation, self._nevra(one)) for one in by_name[name]
                ):
                    applicable |= wanted.bit if wanted.offered else 0
                    missing |= 0 if wanted.offered else wanted.bit
        return Bits(applicable, missing & ~applicable, done & ~(applicable | missing), here)

    def _nevra(self, number: int) -> Nevra:
        found = self._parsed.get(number)
        if found is None:
            found = self._parsed[number] = Nevra.parse(self._texts[number])
        return found

    def _of_group(self, group: tuple[int, ...]) -> Bits:
        """Return what bulletins are where these versions of one name are installed."""
        known = self._groups.get(group)
        if known is None:
            known = self._groups[group] = self._looked(tuple(map(self._nevra, group)))
        return known

    def _looked(self, installed: tuple[Nevra, ...]) -> Bits:
        applicable = missing = done = here = 0
        for wanted in self._by_name.get(installed[0].name, ()):
            same = [one for one in installed if arches_fit(one.arch, wanted.nevra.arch)]
            if not same:
                continue
            if wanted.nevra in same:
                here |= wanted.bit
            if all(wanted.nevra.evr.compare(one.evr) > 0 for one in same):
                applicable |= wanted.bit if wanted.offered else 0
                missing |= 0 if wanted.offered else wanted.bit
            else:
                done |= wanted.bit
        return Bits(applicable, missing, done, here)

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[_Wanted]]:
        found: dict[str, list[_Wanted]] = defaultdict(list)
        for one in self._every():
            found[one.nevra.name].append(one)
        return found

    def _every(self) -> Iterator[_Wanted]:
        for index, bulletin in enumerate(self.bulletins):
            for nevra in bulletin.packages:
                yield _Wanted(1 << index, nevra, self._is_offered(nevra))

    def _is_offered(self, wanted: Nevra) -> bool:
        return any(
            arches_fit(one.nevra.arch, wanted.arch) and one.nevra.evr.compare(wanted.evr) >= 0
            for one in self.depot.by_name.get(wanted.name, ())
        )

    @cached_property
    def _replacing(self) -> Mapping[str, Sequence[tuple[Relation, _Wanted]]]:
        """Return what bulletins bring in the place of a package of another name, by that name."""
        found: dict[str, list[tuple[Relation, _Wanted]]] = defaultdict(list)
        for wanted in self._every():
            for package in self.depot.by_name.get(wanted.nevra.name, ()):
                if package.nevra == wanted.nevra:
                    for relation in package.package.obsoletes:
                        found[relation.name].append((relation, wanted))
        return found

    def changed(self, bulletins: Sequence[Bulletin]) -> Evaluator:
        """Return an evaluator of the same depot whose bulletins were recalled or reworded since.

        ValueError where it is not the same bulletins with the same packages: then make a new one.
        """
        if [(one.id, one.packages) for one in bulletins] != [(one.id, one.packages) for one in self.bulletins]:
            raise ValueError("other bulletins or packages")
        new = Evaluator(self.depot, self._texts)
        new.bulletins, new.number = tuple(bulletins), self.number
        new._parsed, new._groups, new._sets = self._parsed, self._groups, self._sets
        return new


def _ones(bits: int) -> Iterator[int]:
    """Yield the places of the ones."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low

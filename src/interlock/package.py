"""The words for packages that every layer shares: names, versions, relations. Pure values, no input, no output.

Versions are compared as rpm does (rpmvercmp: segments of digits and letters, ``~`` before and ``^`` after the
plain version); the tests compare this module with the real rpm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")


def compare_versions(left: str, right: str) -> int:
    """Return -1, 0 or 1 as rpmvercmp does for two version or release strings."""
    if left == right:
        return 0
    first, second = _SEGMENT.findall(left), _SEGMENT.findall(right)
    for one, other in zip(first, second):
        answer = _compare_segments(one, other)
        if answer:
            return answer
    return _compare_rest(first, second)


def _compare_segments(one: str, other: str) -> int:
    if one == other:
        return 0
    for mark, sign in (("~", -1), ("^", -1)):
        if mark in (one, other):
            return sign if one == mark else -sign
    if one.isdigit() != other.isdigit():
        return 1 if one.isdigit() else -1
    if one.isdigit():
        return _compare_digits(one.lstrip("0"), other.lstrip("0"))
    return 1 if one > other else -1


def _compare_digits(one: str, other: str) -> int:
    # Not through int(): it refuses thousands of digits, and a hostile depot may have them.
    if len(one) != len(other):
        return 1 if len(one) > len(other) else -1
    return (one > other) - (one < other)


def _compare_rest(first: Sequence[str], second: Sequence[str]) -> int:
    if len(first) == len(second):
        return 0
    longer, sign = (first, 1) if len(first) > len(second) else (second, -1)
    rest = longer[min(len(first), len(second))]
    return -sign if rest == "~" else sign


def _sign(one: int, other: int) -> int:
    return (one > other) - (one < other)


@dataclass(frozen=True, order=False)
class Evr:
    """Epoch, version and release. A missing release (``""``) matches every release, as in a dependency."""

    epoch: int = 0
    version: str = ""
    release: str = ""

    @classmethod
    def parse(cls, text: str) -> Evr:
        """Read ``[epoch:]version[-release]``; the last hyphen counts, as in rpm."""
        epoch, colon, rest = text.partition(":")
        if not colon or epoch.strip("0123456789"):
            epoch, rest = "", text
        version, hyphen, release = rest.rpartition("-")
        if not hyphen:
            version, release = rest, ""
        return cls(int(epoch or "0"), version, release)

    def __str__(self) -> str:
        text = f"{self.version}-{self.release}" if self.release else self.version
        return f"{self.epoch}:{text}" if self.epoch else text

    def compare(self, other: Evr) -> int:
        """Return -1, 0 or 1; an empty release on either side is not compared."""
        answer = _sign(self.epoch, other.epoch) or compare_versions(self.version, other.version)
        if answer or not (self.release and other.release):
            return answer
        return compare_versions(self.release, other.release)


@dataclass(frozen=True)
class Nevra:
    """Name, epoch, version, release and architecture: what identifies a package."""

    name: str
    evr: Evr
    arch: str

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.arch}"

    @classmethod
    def parse(cls, text: str) -> Nevra:
        """Read ``name-[epoch:]version-release.arch``; ValueError where it is not one."""
        rest, _, arch = text.rpartition(".")
        start, _, release = rest.rpartition("-")
        name, _, version = start.rpartition("-")
        if not (name and version and release and arch):
            raise ValueError(f"not a NEVRA: {text!r}")
        return cls(name, Evr.parse(f"{version}-{release}"), arch)


@dataclass(frozen=True)
class Relation:
    """One requirement, provision, conflict or obsoletion; ``sense`` is ``""``, ``<``, ``<=``, ``=``, ``>=`` or ``>``.

    ``pre`` marks a requirement that must be met before the package's scriptlets run.
    """

    name: str
    sense: str = ""
    evr: Evr = Evr()
    pre: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.sense} {self.evr}" if self.sense else self.name

    def matches(self, provided: Relation) -> bool:
        """Say whether the range of ``provided`` and ours overlap, as rpmdsCompare does."""
        if self.name != provided.name:
            return False
        if not (self.sense and provided.sense and self.evr.version and provided.evr.version):
            return True
        order = provided.evr.compare(self.evr)
        if order < 0:
            return ">" in provided.sense or "<" in self.sense
        if order > 0:
            return "<" in provided.sense or ">" in self.sense
        return self._overlaps_at_same_version(provided)

    def _overlaps_at_same_version(self, provided: Relation) -> bool:
        # "= 1.0" takes in every release of 1.0, so it meets even "> 1.0-3".
        if provided.evr.release and not self.evr.release and "=" in self.sense:
            return True
        if self.evr.release and not provided.evr.release and "=" in provided.sense:
            return True
        return bool(set(self.sense) & set(provided.sense))


@dataclass(frozen=True)
class Package:
    """A package as the database or a depot describes it, as far as planning needs it.

    ``size`` is the installed payload in bytes. ``files`` has the paths that requirements may name (a depot's
    primary metadata lists only part of them). ``installed_at`` is in seconds since the epoch, 0 for a depot's.
    """

    nevra: Nevra
    provides: tuple[Relation, ...] = ()
    requires: tuple[Relation, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    obsoletes: tuple[Relation, ...] = ()
    files: tuple[str, ...] = ()
    size: int = 0
    installed_at: int = 0

    @property
    def name(self) -> str:
        """The package's name."""
        return self.nevra.name

    def newer_than(self, other: Package) -> bool:
        """Say whether this is a later version than ``other``."""
        return self.nevra.evr.compare(other.nevra.evr) > 0


def relation_to_json(relation: Relation) -> list[Any]:
    """Return ``[name, sense, evr, pre]``."""
    return [relation.name, relation.sense, str(relation.evr), relation.pre]


def relation_from_json(row: Sequence[Any]) -> Relation:
    """Read what ``relation_to_json`` wrote."""
    return Relation(row[0], row[1], Evr.parse(row[2]), bool(row[3]))


def package_to_json(package: Package) -> dict[str, Any]:
    """Return a JSON object of a package."""
    row: dict[str, Any] = {"nevra": str(package.nevra), "size": package.size, "files": list(package.files)}
    if package.installed_at:
        row["installed"] = package.installed_at
    for kind in ("provides", "requires", "conflicts", "obsoletes"):
        row[kind] = [relation_to_json(one) for one in getattr(package, kind)]
    return row


def package_from_json(row: Mapping[str, Any]) -> Package:
    """Read what ``package_to_json`` wrote."""
    relations = {
        kind: tuple(relation_from_json(one) for one in row[kind])
        for kind in ("provides", "requires", "conflicts", "obsoletes")
    }
    return Package(Nevra.parse(row["nevra"]), files=tuple(row["files"]), size=row["size"],
                   installed_at=row.get("installed", 0), **relations)  # fmt: skip


def newest(packages: Sequence[Package]) -> Optional[Package]:
    """Return the latest of some packages of one name, or None of none."""
    best: Optional[Package] = None
    for package in packages:
        if best is None or package.newer_than(best):
            best = package
    return best

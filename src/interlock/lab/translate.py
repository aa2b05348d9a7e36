"""Translates Debian's versions and dependencies into rpm's. Pure.

Every release string begins with the mark of the lab's release (``lab2.9+deb12u13``): the same version of a program
in two releases is thereby an upgrade, and no package name, version and release is in two of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from interlock.lab.debs import Alternatives, Deb, DebRelation
from interlock.lab.ownership import dropped
from interlock.package import Evr, Relation

_SENSES = {"": "", "<<": "<", "<=": "<=", "=": "=", ">=": ">=", ">>": ">="}

# Paths that scriptlets and scripts name, but that lie under /usr in the packages' own lists.
PATH_PROVIDES: Mapping[str, tuple[str, ...]] = {
    "dash": ("/bin/sh",),
    "bash": ("/bin/bash",),
    "libc-bin": ("/sbin/ldconfig",),
}


@dataclass(frozen=True)
class Universe:
    """All packages of one tree that will be RPMs, and the virtual names that they provide."""

    debs: Mapping[str, Deb]
    virtual: Mapping[str, tuple[str, ...]]
    mark: str

    @classmethod
    def of(cls, debs: Iterable[Deb], mark: str) -> Universe:
        """Leave out what has no place on an RPM host, and collect the rest."""
        kept = {deb.name: deb for deb in debs if not dropped(deb.name)}
        virtual: dict[str, tuple[str, ...]] = {}
        for deb in kept.values():
            for one in deb.provides:
                virtual[one.name] = (*virtual.get(one.name, ()), deb.name)
        return cls(kept, virtual, mark)


def translate_version(version: str, mark: str) -> Evr:
    """Return a Debian version as rpm's: ``1:2.3-4+b1`` is ``1:2.3-lab1.4+b1``."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return Evr(int(epoch), upstream.replace("-", "_"), f"{mark}.{revision}" if revision else mark)


def _bound(relation: DebRelation, mark: str, pre: bool = False) -> Relation:
    sense = _SENSES[relation.sense]
    if not sense:
        return Relation(relation.name, pre=pre)
    evr = translate_version(relation.version, mark)
    # A bound without a Debian revision holds for every release string.
    return Relation(relation.name, sense, Evr(evr.epoch, evr.version, _given_release(evr, mark)), pre)


def _given_release(evr: Evr, mark: str) -> str:
    return "" if evr.release == mark else evr.release


def requirements(deb: Deb, universe: Universe) -> tuple[Relation, ...]:
    """Return what ``deb`` requires of the others."""
    chosen = (_choose(element, universe) for element in deb.depends)
    found = [_bound(one, universe.mark) for one in chosen if one is not None and one.name != deb.name]
    return tuple(dict.fromkeys(found))


def _choose(element: Alternatives, universe: Universe) -> Optional[DebRelation]:
    for pool in (universe.debs, universe.virtual):
        for one in element:
            if one.name in pool:
                return one
    return None


def provisions(deb: Deb, universe: Universe) -> tuple[Relation, ...]:
    """Return the virtual names and paths that ``deb`` provides."""
    paths = [Relation(path) for path in PATH_PROVIDES.get(deb.name, ())]
    names = [_bound(one, universe.mark) for one in deb.provides if one.name != deb.name]
    return tuple(dict.fromkeys([*names, *paths]))


def conflicts(deb: Deb, universe: Universe) -> tuple[Relation, ...]:
    """Return the versioned conflicts of ``deb``.

    A name that is also provided is left out: rpm lets a bound match every provision without a version.
    """
    wanted = [one for one in deb.conflicts if one.sense and one.name not in universe.virtual]
    return tuple(dict.fromkeys(_bound(one, universe.mark) for one in wanted if one.name != deb.name))


def successors(old: Iterable[Deb], new: Universe) -> dict[str, list[Deb]]:
    """Return, for packages of ``new``, the vanished packages of the release before that each takes over."""
    result: dict[str, list[Deb]] = {}
    for deb in old:
        if deb.name not in new.debs and not dropped(deb.name):
            result.setdefault(_successor(deb, new), []).append(deb)
    return result


def _successor(deb: Deb, new: Universe) -> str:
    stem = _stem(deb.source)
    kin = [name for name, other in new.debs.items() if _stem(other.source) == stem]
    return _most_alike(deb.name, kin) if kin else "base-files"


def _stem(source: str) -> str:
    return re.sub(r"[-0-9.]+$", "", source)


def _most_alike(name: str, names: Sequence[str]) -> str:
    return max(sorted(names), key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())


def obsoletes(vanished: Iterable[Deb], mark: str) -> tuple[Relation, ...]:
    """Return what makes an upgrade remove packages that have no successor of their name."""
    return tuple(
        Relation(deb.name, "<", Evr(evr.epoch, evr.version, mark))
        for deb in vanished
        for evr in [translate_version(deb.version, mark)]
    )

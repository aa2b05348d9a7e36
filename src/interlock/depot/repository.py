"""Opening a depot: an rpm-md repository in a directory or at a URL.

Every metadata file is checked against the checksum that ``repomd.xml`` has for it before a byte of it is
believed. What is wrong with one package or one bulletin is left out and said in ``Depot.defects``; what is wrong
with a whole file is an error.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import (
    Optional,
    TypeVar,
)

from interlock.depot.bulletin import Bulletin
from interlock.depot.collector import collector_paused
from interlock.depot.errors import BadMetadata, NotARepository
from interlock.depot.metadata import (
    DepotPackage,
    MetadataFile,
    PrimaryReader,
    compatible_arches,
    read_file_lists,
)
from interlock.depot.reading import REPOMD, MetadataReader
from interlock.depot.relevant import RelevantReader
from interlock.depot.source import Source, open_source
from interlock.depot.trust import SIGNED
from interlock.depot.trust_check import TrustCheck
from interlock.depot.trust_errors import UnsignedMetadata
from interlock.depot.updateinfo import UpdateinfoReader
from interlock.package import Nevra, Package, Relation
from interlock.system.run import Runner

DEFECT_LIMIT = 200
T = TypeVar("T")


class _Every(frozenset[str]):
    """All architectures: what is copied is for others as well."""

    def __contains__(self, item: object) -> bool:
        return True


EVERY_ARCH = _Every(("*",))


@dataclass(frozen=True)
class Depot:
    """A depot's contents. ``location`` is as it was given, without a password; ``defects`` is for people.

    ``packages`` may be those alone that can matter to one host; ``total`` is how many the depot has.
    """

    location: str
    revision: str = ""
    packages: tuple[DepotPackage, ...] = ()
    bulletins: tuple[Bulletin, ...] = ()
    defects: tuple[str, ...] = ()
    file_lists: Optional[MetadataFile] = None
    total: int = 0

    @cached_property
    def by_name(self) -> Mapping[str, Sequence[DepotPackage]]:
        """The packages by name."""
        return _grouped((package.name, package) for package in self.packages)

    @cached_property
    def providers(self) -> Mapping[str, Sequence[tuple[Relation, DepotPackage]]]:
        """The packages by the names that they provide."""
        return _grouped((one.name, (one, package)) for package in self.packages for one in package.package.provides)

    @cached_property
    def by_file(self) -> Mapping[str, Sequence[DepotPackage]]:
        """The packages by the paths that the metadata says they have."""
        return _grouped((path, package) for package in self.packages for path in package.package.files)

    @cached_property
    def obsoleters(self) -> Mapping[str, Sequence[tuple[Relation, DepotPackage]]]:
        """The packages by the names that they obsolete."""
        return _grouped((one.name, (one, package)) for package in self.packages for one in package.package.obsoletes)

    @cached_property
    def without_recalled(self) -> tuple[Depot, Sequence[tuple[str, str]]]:
        """This depot without what only recalled bulletins bring, and what was left out: names, and texts for people."""
        recalled = {nevra: one for one in self.bulletins if one.recalled for nevra in one.packages}
        if not recalled:
            return self, ()
        good = {nevra for one in self.bulletins if not one.recalled for nevra in one.packages if nevra in recalled}
        gone = {one.nevra for one in self.packages if one.nevra in recalled and one.nevra not in good}
        texts = [(one.name, f"{one} is left out: {recalled[one].id} has been recalled")
            for one in sorted(gone, key=str)]  # fmt: skip
        return replace(self, packages=tuple(one for one in self.packages if one.nevra not in gone)), texts

    def bulletin(self, identity: str) -> Optional[Bulletin]:
        """Return the bulletin of this id."""
        return next((one for one in self.bulletins if one.id == identity), None)

    def with_file_lists(
        self,
        paths: Optional[Collection[str]] = None,
        runner: Optional[Runner] = None,
    ) -> Depot:
        """Return this depot with the complete list of files, or with those of ``paths`` that packages have.

        Reads one more, large file. Raises BadDepot.
        """
        if self.file_lists is None:
            return self
        wanted = None if paths is None else frozenset(paths)
        reader = MetadataReader(open_source(self.location), runner or Runner())
        found = reader.parsed(self.file_lists, lambda chunks: dict(read_file_lists(chunks, wanted)))
        return replace(self, packages=tuple(_with_files(one, found) for one in self.packages))


def _grouped(pairs: Iterator[tuple[str, T]]) -> Mapping[str, Sequence[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def _with_files(package: DepotPackage, found: Mapping[str, Sequence[str]]) -> DepotPackage:
    more = found.get(package.checksum)
    if not more:
        return package
    files = tuple(dict.fromkeys((*package.package.files, *more)))
    return replace(package, package=replace(package.package, files=files))


def open_depot(
    location: str,
    *,
    arches: Optional[frozenset[str]] = None,
    runner: Optional[Runner] = None,
    trust: Optional[TrustCheck] = None,
    installed: Optional[Sequence[Package]] = None,
) -> Depot:
    """Read the depot at ``location``, a directory, ``file://`` or http(s) URL.

    Only packages of ``arches`` are kept (default: those that this machine can install), and where ``installed`` is
    given only those that can matter to a host with these packages. Without ``trust`` nobody asks who made the metadata.
    Raises DepotMissing, DepotUnreadable, NotARepository, FileMissing, BadMetadata: all of them
    BadDepot, exit status 7; and what trust_errors has, exit status 3.
    """
    with collector_paused():
        reader = MetadataReader(open_source(location), runner or Runner())
        try:
            content = reader.content()
        except NotARepository:
            return _of_esx(reader.source, trust)
        return _believed(reader, content, _Wanted(arches or compatible_arches(os.uname().machine), installed), trust)


@dataclass(frozen=True)
class _Wanted:
    """Which packages are to be read: of these architectures, and where a host is given, what can matter to it."""

    arches: frozenset[str]
    installed: Optional[Sequence[Package]]


def _believed(reader: MetadataReader, content: bytes, wanted: _Wanted, trust: Optional[TrustCheck]) -> Depot:
    place = reader.source.location
    if trust is None:
        return _opened(reader, content, wanted)
    key = trust.signer(reader.source, content)
    seen, notes = trust.look(place, reader.repomd(content)[0], content, key)
    depot = _opened(reader, content, wanted)
    trust.remember(place, seen)
    return replace(depot, defects=(*notes, *depot.defects))


def _of_esx(source: Source, trust: Optional[TrustCheck]) -> Depot:
    """Read a depot of ESX 4, which has no signature of a kind that can be checked. NotARepository where it is none."""
    from interlock.depot.esx import is_esx, read_esx  # noqa: PLC0415 - hardly ever

    if not is_esx(source):
        raise NotARepository(depot=source.location)
    if trust is not None and trust.policy.metadata == SIGNED:
        raise UnsignedMetadata(depot=source.location, detail="a depot in the layout of ESX 4 has no OpenPGP signature")
    packages, bulletins, defects = read_esx(source)
    return Depot(source.location, "", packages, bulletins, _bounded(defects), None, len(packages))


def _opened(reader: MetadataReader, content: bytes, wanted: _Wanted) -> Depot:
    source = reader.source
    revision, files = reader.repomd(content)
    if "primary" not in files:
        raise BadMetadata(depot=source.location, file=REPOMD, detail="it names no primary metadata")
    primary = PrimaryReader(wanted.arches)
    packages, total = _packages(reader, files["primary"], primary, wanted)
    updates = UpdateinfoReader()
    bulletins: tuple[Bulletin, ...] = ()
    if "updateinfo" in files:
        bulletins = reader.parsed(files["updateinfo"], lambda chunks: tuple(updates.read(chunks)))
    kept, twice = _each_once(packages)
    defects = _bounded([*primary.defects, *twice, *updates.defects])
    return Depot(source.location, revision, kept, bulletins, defects, files.get("filelists"), total or len(kept))


def _packages(
    reader: MetadataReader, one: MetadataFile, primary: PrimaryReader, wanted: _Wanted
) -> tuple[tuple[DepotPackage, ...], int]:
    """Return the packages, and how many the depot has where only some of them were read."""
    if wanted.installed is not None:
        found = reader.parsed(one, RelevantReader.of)
        if found is not None:
            return tuple(found.packages(wanted.installed, primary)), found.total
    return reader.parsed(one, lambda chunks: tuple(primary.read(chunks))), 0


def _each_once(packages: Sequence[DepotPackage]) -> tuple[tuple[DepotPackage, ...], list[str]]:
    kept: dict[Nevra, DepotPackage] = {}
    differing: set[Nevra] = set()
    for package in packages:
        first = kept.setdefault(package.nevra, package)
        if first.checksum != package.checksum:
            differing.add(package.nevra)
    defects = [f"the package {nevra} is there with different contents; the first is used" for nevra in differing]
    return tuple(kept.values()), sorted(defects)


def _bounded(defects: Sequence[str]) -> tuple[str, ...]:
    rest = len(defects) - DEFECT_LIMIT
    more = (f"and {rest} more defects",) if rest > 0 else ()
    return (*defects[:DEFECT_LIMIT], *more)

"""rpm-md's packages: ``repomd.xml``, ``primary.xml`` and ``filelists.xml`` read into values, out of chunks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional
from xml.etree.ElementTree import Element

from interlock.depot.digest import Checksum
from interlock.depot.markup import MarkupError, attribute, children, local, records, text
from interlock.depot.source import safe_path
from interlock.package import Evr, Nevra, Package, Relation, package_from_json, package_to_json

SENSES: Mapping[str, str] = {"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
SOURCE_ARCHES = frozenset(("src", "nosrc"))
_NAME = re.compile(r"[A-Za-z0-9_.+%{}()^~][A-Za-z0-9_.+%{}()^~-]*\Z")
_PART = re.compile(r"[A-Za-z0-9_.+%{}^~]+\Z")
_ARCH = re.compile(r"[A-Za-z0-9_]+\Z")
_COMPATIBLE: Mapping[str, tuple[str, ...]] = {
    "x86_64": (
        "x86_64_v4",
        "x86_64_v3",
        "x86_64_v2",
        "amd64",
        "ia32e",
        "athlon",
        "i686",
        "i586",
        "i486",
        "i386",
    ),
    "i686": ("i586", "i486", "i386"),
    "armv7l": ("armv7hl", "armv7hnl"),
    "ppc64": ("ppc",),
    "s390x": ("s390",),
}


def compatible_arches(machine: str) -> frozenset[str]:
    """Return the package architectures that a host of this machine (``uname -m``) can install."""
    return frozenset((machine, "noarch", *_COMPATIBLE.get(machine, ())))


@dataclass(frozen=True)
class MetadataFile:
    """A file that ``repomd.xml`` names. ``size`` is in bytes, -1 where it is not said."""

    kind: str
    location: str
    checksum: Checksum
    size: int


@dataclass(frozen=True)
class DepotPackage:
    """A package that a depot has. ``location`` is relative to the depot, ``download_size`` in bytes."""

    package: Package
    location: str
    checksum_type: str
    checksum: str
    download_size: int

    @property
    def nevra(self) -> Nevra:
        """What identifies the package."""
        return self.package.nevra

    @property
    def name(self) -> str:
        """The package's name."""
        return self.package.nevra.name

    @property
    def digest(self) -> Checksum:
        """The checksum of the package file."""
        return Checksum(self.checksum_type, self.checksum)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "package": package_to_json(self.package),
            "location": self.location,
            "checksum_type": self.checksum_type,
            "checksum": self.checksum,
            "download_size": self.download_size,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DepotPackage:
        """Read what ``to_json`` wrote; ValueError where the location leads out of a depot."""
        checksum = Checksum.parse(row["checksum_type"], row["checksum"])
        return cls(
            package_from_json(row["package"]), safe_path(row["location"]), checksum.kind, checksum.value,
            int(row["download_size"]),
        )  # fmt: skip


def read_repomd(chunks: Iterable[bytes]) -> tuple[str, dict[str, MetadataFile]]:
    """Return the revision and the metadata files by kind. ValueError where one is malformed."""
    revision, files = "", {}
    for record in records(chunks, "repomd"):
        if local(record.tag) == "revision":
            revision = text(record)
        elif local(record.tag) == "data":
            one = _metadata_file(record)
            files[one.kind] = one
    return revision, files


def _metadata_file(record: Element) -> MetadataFile:
    parts = children(record)
    kind = attribute(record, "type")
    checksum = Checksum.parse(attribute(parts.get("checksum"), "type"), text(parts.get("checksum")))
    location = safe_path(attribute(parts.get("location"), "href"))
    return MetadataFile(kind, location, checksum, int(text(parts.get("size")) or -1))


def checked_nevra(name: str, epoch: str, version: str, release: str, arch: str) -> Nevra:
    """Return a NEVRA whose parts are safe to show, to compare and to use in a path; ValueError otherwise."""
    number = epoch or "0"
    if not number.isascii() or not number.isdigit() or len(number) > 10:
        raise ValueError(f"not an epoch: {epoch[:40]!r}")
    if not (_NAME.match(name) and _PART.match(version) and _PART.match(release) and _ARCH.match(arch)):
        raise ValueError(f"not a package name: {f'{name}-{version}-{release}.{arch}'[:200]!r}")
    return Nevra(name, Evr(int(number), version, release), arch)


@dataclass
class PrimaryReader:
    """Reads packages out of ``primary.xml``; what is malformed goes to ``defects`` and is left out.

    Relations and file names that many packages share are kept once, which halves the memory of a large depot.
    """

    arches: frozenset[str]
    defects: list[str] = field(default_factory=list)
    _relations: dict[tuple[tuple[str, str], ...], Relation] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def read(self, chunks: Iterable[bytes]) -> Iterator[DepotPackage]:
        """Yield the packages that a host of these architectures can use. Raises MarkupError."""
        for record in records(chunks, "metadata"):
            parts = children(record)
            arch = text(parts.get("arch"))
            if arch in SOURCE_ARCHES or (arch not in self.arches and arch):
                continue
            try:
                yield self._package(parts)
            except MarkupError:
                raise
            except (ValueError, KeyError) as error:
                self.defects.append(f"the package {text(parts.get('name'))[:80] or '?'} is left out: {error}")

    def _package(self, parts: Mapping[str, Element]) -> DepotPackage:
        version = parts["version"]
        nevra = checked_nevra(
            text(parts["name"]), attribute(version, "epoch"), attribute(version, "ver"),
            attribute(version, "rel"), text(parts["arch"]),
        )  # fmt: skip
        checksum = Checksum.parse(attribute(parts["checksum"], "type"), text(parts["checksum"]))
        size = parts["size"]
        package = self._described(nevra, parts["format"], _number(attribute(size, "installed")))
        location = safe_path(attribute(parts["location"], "href"))
        if attribute(parts["location"], "base"):
            raise ValueError("it lies in another depot (xml:base), which is not supported")
        return DepotPackage(package, location, checksum.kind, checksum.value, _number(attribute(size, "package")))

    def _described(self, nevra: Nevra, form: Element, size: int) -> Package:
        relations: dict[str, Any] = {}
        paths: list[str] = []
        for child in form:
            kind = local(child.tag)
            if kind in ("provides", "requires", "conflicts", "obsoletes"):
                relations[kind] = tuple(map(self._relation, child))
            elif kind == "file" and child.text:
                paths.append(self._paths.setdefault(child.text, child.text))
        return Package(nevra, files=tuple(paths), size=size, **relations)

    def _relation(self, entry: Element) -> Relation:
        key = tuple(entry.items())
        known = self._relations.get(key)
        if known is None:
            known = self._relations[key] = _relation(dict(key))
        return known


def _relation(attributes: Mapping[str, str]) -> Relation:
    name, flags = attributes.get("name"), attributes.get("flags")
    if not name:
        raise ValueError("a relation without a name")
    pre = attributes.get("pre") in ("1", "true")
    if not flags:
        return Relation(name, pre=pre)
    if flags not in SENSES:
        raise ValueError(f"an unknown comparison {flags[:20]!r} with {name[:80]}")
    epoch = _number(attributes.get("epoch") or "0")
    return Relation(name, SENSES[flags], Evr(epoch, attributes.get("ver", ""), attributes.get("rel", "")), pre)


def _number(digits: str) -> int:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise ValueError(f"not a number: {digits[:40]!r}")
    return int(digits)


def read_file_lists(chunks: Iterable[bytes], wanted: Optional[frozenset[str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield (package checksum, paths) from ``filelists.xml``; only the ``wanted`` paths, all for None."""
    for record in records(chunks, "filelists"):
        paths = [
            child.text
            for child in record
            if local(child.tag) == "file" and child.text and (wanted is None or child.text in wanted)
        ]
        if paths:
            yield attribute(record, "pkgid"), paths

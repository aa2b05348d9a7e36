"""Depots of ESX 4: ``index.xml`` names vendors, ``vendor-index.xml`` a ``metadata.zip``, that has VIBs and bulletins.

Layout (see docs/depots.md): ``index.xml`` → ``<code>/vendor-index.xml`` → ``metadata.zip`` with ``vibs/*.xml`` (name,
version, relative path, packed size, SHA-256) and ``bulletins/*.xml``. A VIB is an archive around an RPM, so it is
listed as a package of that name; hosts of today do not install it. A file that makes no sense is left out and said.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from interlock.depot.bulletin import Bulletin, Reference
from interlock.depot.digest import Checksum
from interlock.depot.errors import BadMetadata, FileMissing
from interlock.depot.markup import local, records
from interlock.depot.metadata import DepotPackage, checked_nevra
from interlock.depot.source import Source, safe_path
from interlock.package import Nevra, Package

INDEX, VENDOR_INDEX = "index.xml", "vendor-index.xml"
INDEX_LIMIT = 1024 * 1024
ZIP_LIMIT = 64 * 1024 * 1024
MEMBER_LIMIT = 8 * 1024 * 1024
MOST_MEMBERS = 20_000
# What esxupdate wrote for itself, in the words that we have.
CATEGORIES = {"security": "security", "bugfix": "bugfix", "enhancement": "enhancement", "general": "bugfix"}
Found = tuple[tuple[DepotPackage, ...], tuple[Bulletin, ...], list[str]]


def is_esx(source: Source) -> bool:
    """Say whether a place that has no rpm-md metadata has that of ESX 4."""
    try:
        head = b"".join(source.chunks(INDEX, INDEX_LIMIT))
    except FileMissing:
        return False
    return b"vendor" in head


def read_esx(source: Source) -> Found:
    """Return the packages, the bulletins, and what was left out. Raises BadDepot."""
    defects: list[str] = []
    packages: dict[str, DepotPackage] = {}
    bulletins: dict[str, Bulletin] = {}
    for archive, place in _archives(source):
        for name, content in _members(archive, source, place):
            folder = os.path.dirname(safe_path(name)).rpartition("/")[2]
            try:
                if folder == "vibs":
                    identity, package = _vib(_parts(content, "vib"), os.path.dirname(place))
                    packages[identity] = package
                elif folder == "bulletins":
                    bulletin = _bulletin(_parts(content, "bulletin"), packages)
                    bulletins.setdefault(bulletin.id, bulletin)
            except (ValueError, KeyError) as error:
                defects.append(f"{place}: {name} is left out: {error}")
    return tuple(packages.values()), tuple(bulletins.values()), defects


def _archives(source: Source) -> Iterator[tuple[zipfile.ZipFile, str]]:
    for vendor in _tree(source, INDEX):
        parts = _by_name(vendor)
        code = _text(parts, "code")
        index = safe_path(_text(parts, "indexfile") or f"{code}/{VENDOR_INDEX}")
        folder = os.path.dirname(index)
        for metadata in _tree(source, index):
            url = _text(_by_name(metadata), "url")
            if url:
                place = safe_path(f"{folder}/{url}" if folder else url)
                yield _zip(source, place), place


def _tree(source: Source, path: str) -> list[Element]:
    """Return the children of a small document's root, whatever that is called."""
    content = b"".join(source.chunks(path, INDEX_LIMIT))
    try:
        return list(records([content], None))
    except ValueError as error:
        raise BadMetadata(depot=source.location, file=path, detail=str(error)) from None


def _zip(source: Source, place: str) -> zipfile.ZipFile:
    content = b"".join(source.chunks(place, ZIP_LIMIT))
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BadMetadata(depot=source.location, file=place, detail=f"it is no zip file: {error}") from None
    if len(archive.namelist()) > MOST_MEMBERS:
        raise BadMetadata(depot=source.location, file=place, detail=f"it has more than {MOST_MEMBERS} files")
    return archive


def _members(archive: zipfile.ZipFile, source: Source, place: str) -> Iterator[tuple[str, bytes]]:
    """Yield the XML files, VIBs before the bulletins that name them."""
    for info in sorted(archive.infolist(), key=lambda one: ("vibs/" not in one.filename, one.filename)):
        if not info.filename.endswith(".xml"):
            continue
        try:
            safe_path(info.filename)
            with archive.open(info) as stream:
                content = stream.read(MEMBER_LIMIT + 1)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise BadMetadata(depot=source.location, file=place, detail=f"{info.filename}: {error}") from None
        if len(content) > MEMBER_LIMIT:
            raise BadMetadata(depot=source.location, file=place, detail=f"{info.filename} is larger than it may be")
        yield info.filename, content


def _parts(content: bytes, root: str) -> Mapping[str, list[Element]]:
    """Return the elements of a document at any depth by name; writers differ in how deep they nest, and in dashes."""
    found: dict[str, list[Element]] = {}
    for child in records([content], root):
        for name, some in _by_name(child, whole=True).items():
            found.setdefault(name, []).extend(some)
    return found


def _by_name(element: Element, whole: bool = False) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for one in element.iter():
        if whole or one is not element:
            found.setdefault(local(one.tag).lower().replace("-", "").replace("_", ""), []).append(one)
    return found


def _text(parts: Mapping[str, list[Element]], *names: str) -> str:
    for name in names:
        for one in parts.get(name, ()):
            if one.text and one.text.strip():
                return one.text.strip()
    return ""


def _vib(parts: Mapping[str, list[Element]], base: str) -> tuple[str, DepotPackage]:
    nevra = _nevra(_text(parts, "name"), _text(parts, "version"))
    digest = Checksum.parse("sha256", _last(parts, "checksum"))
    size = _text(parts, "packedsize")
    if not size.isascii() or not size.isdigit() or len(size) > 15:
        raise ValueError(f"not a size: {size[:40]!r}")
    location = safe_path(f"{base}/{_text(parts, 'relativepath')}" if base else _text(parts, "relativepath"))
    identity = _text(parts, "id") or f"{nevra.name}-{nevra.evr}"
    return identity, DepotPackage(Package(nevra, size=int(size)), location, digest.kind, digest.value, int(size))


def _last(parts: Mapping[str, list[Element]], name: str) -> str:
    """Return the innermost text: a checksum element may hold its kind and another of its name."""
    return next((one.text.strip() for one in reversed(parts.get(name, ())) if one.text and one.text.strip()), "")


def _nevra(name: str, version: str) -> Nevra:
    first, _, release = version.partition("-")
    return checked_nevra(name, "0", first, release or "0", "x86_64")


def _bulletin(parts: Mapping[str, list[Element]], packages: Mapping[str, DepotPackage]) -> Bulletin:
    identity = _text(parts, "id")
    if not identity or not identity.isprintable() or len(identity) > 200 or identity.startswith("-"):
        raise ValueError(f"not an id: {identity[:200]!r}")
    named = [one.text.strip() for one in parts.get("vibid", parts.get("vib", ())) if one.text and one.text.strip()]
    kb, category = _text(parts, "kburl"), _text(parts, "category").lower()
    return Bulletin(
        identity,
        title=_text(parts, "summary"),
        severity=_text(parts, "severity"),
        category=CATEGORIES.get(category, category),
        issued=_text(parts, "releasedate")[:40],
        description=_text(parts, "description"),
        vendor=_text(parts, "vendor"),
        reboot=_text(parts, "rebootrequired").lower() in ("true", "1", "yes"),
        maintenance=_text(parts, "maintenancemode").lower() in ("true", "1", "yes"),
        references=(Reference(kb, "", "", "self"),) if kb else (),
        packages=tuple(packages[one].nevra for one in named if one in packages),
    )

"""Says what is wrong with a depot: metadata, bulletins, and each package file, with the place and what to do."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from interlock.depot.errors import DepotUnreadable, FileMissing
from interlock.depot.metadata import DepotPackage
from interlock.depot.reading import REPOMD_LIMIT
from interlock.depot.repository import Depot, open_depot
from interlock.depot.source import DirectorySource, Source, open_source, safe_path
from interlock.depot.trust_check import SIGNATURE

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?.*)?\Z")
# A bad one makes the depot unusable, or an update of it fail; a note is for whoever keeps it.
BAD, NOTE = "bad", "note"
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong: ``level`` is ``bad`` or ``note``, ``where`` a file or a bulletin."""

    level: str
    where: str
    text: str
    advice: str


def lint(location: str, tell: Tell = lambda number, total: None) -> list[Defect]:
    """Return all that is wrong with a depot. Raises BadDepot where it cannot be opened at all."""
    depot, source = open_depot(location), open_source(location)
    found = [Defect(BAD, "metadata", one, "Make the metadata again: createrepo_c.") for one in depot.defects]
    for number, package in enumerate(depot.packages, 1):
        tell(number, len(depot.packages))
        found += _package(package, source)
    found += _bulletins(depot)
    found += _signature(source)
    if isinstance(source, DirectorySource):
        found += _strays(depot, source.directory)
    return found


def _package(package: DepotPackage, source: Source) -> Iterator[Defect]:
    hasher, size = package.digest.hasher(), 0
    try:
        for chunk in source.chunks(package.location, max(package.download_size, 0) + (1 << 20)):
            hasher.update(chunk)
            size += len(chunk)
    except FileMissing:
        yield Defect(BAD, package.location, "it is not there", "Copy it again, or run createrepo_c again.")
        return
    except DepotUnreadable as error:
        yield Defect(BAD, package.location, str(error), "Read it where the depot is kept.")
        return
    if size != package.download_size:
        text = f"it has {size} bytes, the metadata says {package.download_size}"
        yield Defect(BAD, package.location, text, "Copy it again, or run createrepo_c again.")
    elif hasher.hexdigest() != package.checksum:
        text = f"its {package.checksum_type} digest is not the one in the metadata"
        yield Defect(BAD, package.location, text, "It was damaged or exchanged: copy it again.")


def _signature(source: Source) -> Iterator[Defect]:
    try:
        for _ in source.chunks(SIGNATURE, REPOMD_LIMIT):
            return
    except FileMissing:
        text = "the metadata is not signed: hosts refuse it unless they are told not to"
        yield Defect(NOTE, SIGNATURE, text, "Sign it: interlock depot create DIR --sign KEY.")


def _bulletins(depot: Depot) -> Iterator[Defect]:
    there = {one.nevra for one in depot.packages}
    later = Counter(one.name for one in depot.packages)
    known = {one.id for one in depot.bulletins}
    for one in depot.bulletins:
        where = f"bulletin {one.id}"
        if not one.packages:
            yield Defect(NOTE, where, "it names no package", "It applies to nobody: name its packages.")
        for nevra in one.packages:
            if nevra not in there:
                more = "; others of its name are" if later[nevra.name] else ""
                yield Defect(NOTE, where, f"it names {nevra}, which is not in the depot{more}", "Add that package.")
        for name, date in (("issued", one.issued), ("updated", one.updated)):
            if date and not _DATE.match(date):
                yield Defect(NOTE, where, f"its date `{name}` is {date[:40]!r}", "Write it as YYYY-MM-DD HH:MM:SS.")
        if one.recalled and not one.replacement:
            yield Defect(NOTE, where, "it is recalled, and nothing is named that takes its place", "Name one.")
        if one.replacement and one.replacement not in known:
            yield Defect(NOTE, where, f"its replacement {one.replacement} is not here", "Add that bulletin.")


def _strays(depot: Depot, directory: str) -> Iterator[Defect]:
    named = {safe_path(one.location) for one in depot.packages}
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name != "repodata" and not name.startswith(".")]
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), directory)
            if name.endswith(".rpm") and not name.endswith(".src.rpm") and path not in named:
                yield Defect(NOTE, path, "it is not in the metadata for this machine", "Run createrepo_c again.")

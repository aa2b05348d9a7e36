"""Finds package files on the host, to restore from: in the user's depot and in the caches of package managers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

from interlock.package import Nevra
from interlock.rpmdb.reader import nevra_of
from interlock.system.child import call_in_child
from interlock.waits.content_nested import header_of_file
from interlock.waits.hands import StepFailed, Treatment

CACHES = ("/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum", "/var/cache/zypp/packages")
LIMIT = 120.0
MOST_FILES = 20_000


class PackageFile(NamedTuple):
    """A package file: ``header`` is the digest of its header, ``whole`` that of header and payload; hex, or empty."""

    path: str
    nevra: str
    header: str
    whole: str


class Wanted(NamedTuple):
    """A package to be found. ``header`` and ``whole``, where known, say which build of it; ``nevra`` may be empty."""

    name: str
    nevra: str = ""
    header: str = ""
    whole: str = ""

    def is_met_by(self, found: PackageFile) -> bool:
        """Say whether a file is the very package: by a digest where one is known, else by its NEVRA."""
        for mine, its in ((self.header, found.header), (self.whole, found.whole)):
            if mine and its:
                return mine == its
        return bool(self.nevra) and self.nevra == found.nevra


def folders(treatment: Treatment) -> list[str]:
    """Return where package files are looked for, the user's own directory first."""
    named = [treatment.depot] if treatment.depot else []
    return [*named, treatment.host.paths.packages, *CACHES]


def find(treatment: Treatment, wanted: Sequence[Wanted]) -> dict[Wanted, str]:
    """Return a file for each package; StepFailed, naming those without, where one is not found."""
    files = named(treatment, [one.name for one in wanted])
    found = {one: _first(one, files) for one in wanted}
    missing = sorted(one.nevra or one.name for one, path in found.items() if path is None)
    if missing:
        raise StepFailed(
            detail=f"the package file of {', '.join(missing)} is needed, exactly this build, and is not in"
            f" {', '.join(folders(treatment))}. Fetch it, and give its directory with `--depot DIR`"
        )
    return {one: path for one, path in found.items() if path is not None}


def _first(wanted: Wanted, files: Iterable[PackageFile]) -> Optional[str]:
    return next((file.path for file in files if wanted.is_met_by(file)), None)


def named(treatment: Treatment, names: Iterable[str]) -> list[PackageFile]:
    """Return the package files whose package has one of some names."""
    wanted = frozenset(names)
    paths = list(_paths(folders(treatment), wanted, treatment.host.paths.packages))
    rows = call_in_child("reading package files", lambda: _describe(paths, wanted), LIMIT)
    return [PackageFile(*row) for row in rows]


def _paths(places: Iterable[str], names: frozenset[str], by_digest: str) -> Iterator[str]:
    """Yield files that may be wanted: by how they are called, but for those in our own cache, called by digests."""
    starts = tuple(f"{name}-" for name in names)
    seen = 0
    for place in places:
        for folder, _, files in os.walk(place):
            for file in sorted(files):
                if file.endswith(".rpm") and (place == by_digest or file.startswith(starts)) and seen < MOST_FILES:
                    seen += 1
                    yield os.path.join(folder, file)


def _describe(paths: Iterable[str], names: frozenset[str]) -> list[PackageFile]:
    found = []
    for path in paths:
        header = header_of_file(path)
        # A source package has the name of what is built from it, and is not what was installed.
        if header is not None and _text(header["name"]) in names and not header["sourcepackage"]:
            found.append(PackageFile(path, str(nevra_of(header)), _text(header["sha1header"]), _hex(header["sigmd5"])))
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, (bytes, bytearray)) else _text(value)


def identity(treatment: Treatment, nevra: str) -> Wanted:
    """Return an installed package as one to be found, with the digests that the database has of it."""
    form = "%{SHA1HEADER} %{SIGMD5}\n"
    done = treatment.host.runner.run(["rpm", "-q", "--qf", form, label(nevra)], timeout=60, check=False)
    words = done.stdout.split()
    known = done.status == 0 and len(words) == 2
    header, whole = (word if known and not word.startswith("(") else "" for word in (*words, "", "")[:2])
    return Wanted(Nevra.parse(nevra).name, nevra, header, whole)


def label(nevra: str) -> str:
    """Return a NEVRA as every rpm understands it: without its epoch."""
    parsed = Nevra.parse(nevra)
    return f"{parsed.name}-{parsed.evr.version}-{parsed.evr.release}.{parsed.arch}"

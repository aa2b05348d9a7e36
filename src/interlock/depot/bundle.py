"""A depot in one file, for networks without internet: a zip of the signed metadata and the packages.

The signature is the depot's own (``repodata/repomd.xml.asc``): it covers the metadata, which has the digest of every
package, so a bundle is believed for the same reason as the depot it was made from. A bundle of some bulletins has all
of the metadata and only the packages that these bulletins name.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Callable, Optional

from interlock.depot import fetch
from interlock.depot.errors import DepotUnreadable, FileMissing
from interlock.depot.metadata import DepotPackage, read_repomd
from interlock.depot.reading import FILE_LIMIT, REPOMD, REPOMD_LIMIT
from interlock.depot.repository import EVERY_ARCH, Depot, open_depot
from interlock.depot.source import Source, Stream, open_source, safe_path
from interlock.depot.trust_check import SIGNATURE
from interlock.depot.trust_errors import UnsignedMetadata
from interlock.errors import UnknownBulletin
from interlock.package import Nevra
from interlock.system.durable import remove_file, sync_directory

MOST_FILES = 200_000
# Bundles of the same content are the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class BundleSource(Source):
    """Files of a zip. Each name is there once and stays inside; a file is as large as the limit of who reads it."""

    archive: zipfile.ZipFile

    @classmethod
    def of(cls, shown: str, path: str) -> BundleSource:
        """Open a bundle. Raises DepotUnreadable."""
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DepotUnreadable(depot=shown, detail=f"it is no zip file that can be read: {error}") from None
        names = archive.namelist()
        if len(names) > MOST_FILES or len(set(names)) != len(names):
            raise DepotUnreadable(depot=shown, detail="it has a file twice, or too many of them")
        return cls(shown, archive)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Stream]:
        """Open one file."""
        name = safe_path(path)
        try:
            info = self.archive.getinfo(name)
        except KeyError:
            raise FileMissing(depot=self.location, file=path) from None
        if info.flag_bits & 1 or info.compress_type not in _KINDS:
            raise DepotUnreadable(depot=self.location, detail=f"{path} is encrypted, or packed in an unknown way")
        with self._reading(path), self.archive.open(info) as stream:
            yield stream

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """Yield the file's bytes; what the archive itself has wrong is said as such."""
        safe_path(path)
        with self._reading(path):
            yield from super().chunks(path, limit)

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
            raise DepotUnreadable(depot=self.location, detail=f"{path}: {error}") from None
        except Exception as error:
            # zlib.error has no base class of its own but Exception.
            if type(error).__name__ != "error":
                raise
            raise DepotUnreadable(depot=self.location, detail=f"{path}: {error}") from None


@dataclass(frozen=True)
class Exported:
    """What went into a bundle: packages, and the bytes of its file."""

    packages: int
    bytes: int


def export(
    location: str,
    path: str,
    bulletins: Collection[str] = (),
    *,
    allow_unsigned: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write the depot at ``location``, or what some bulletins of it name, into the zip ``path``; whole or not at all.

    Raises BadDepot, UnsignedMetadata, UnknownBulletin, NoSpaceToStage.
    """
    source, depot = open_source(location), open_depot(location, arches=EVERY_ARCH)
    packages = _chosen(depot, bulletins)
    folder = os.path.dirname(os.path.abspath(path))
    partial = f"{path}.part"
    try:
        fetch.check_space(packages, folder)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, content in _metadata(source, allow_unsigned):
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)
            _put_packages(packages, source, archive, folder, tell)
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        os.rename(partial, path)
    finally:
        remove_file(partial)
    sync_directory(folder)
    return Exported(len(packages), os.path.getsize(path))


def _chosen(depot: Depot, bulletins: Collection[str]) -> Sequence[DepotPackage]:
    if not bulletins:
        return depot.packages
    wanted: set[Nevra] = set()
    for name in bulletins:
        found = depot.bulletin(name)
        if found is None:
            known = ", ".join(one.id for one in depot.bulletins[:10]) or "none"
            raise UnknownBulletin(depot=depot.location, bulletin=name, known=known)
        wanted.update(found.packages)
    return [one for one in depot.packages if one.nevra in wanted]


def _metadata(source: Source, allow_unsigned: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the metadata as it is: the signature is over these bytes."""
    content = b"".join(source.chunks(REPOMD, REPOMD_LIMIT))
    yield REPOMD, content
    signature = _optional(source, SIGNATURE)
    if signature is None and not allow_unsigned:
        raise UnsignedMetadata(depot=source.location, detail=f"it has no {SIGNATURE}")
    if signature is not None:
        yield SIGNATURE, signature
    for one in read_repomd([content])[1].values():
        yield safe_path(one.location), b"".join(source.chunks(one.location, FILE_LIMIT))


def _optional(source: Source, name: str) -> Optional[bytes]:
    try:
        return b"".join(source.chunks(name, REPOMD_LIMIT))
    except FileMissing:
        return None


def _put_packages(
    packages: Sequence[DepotPackage],
    source: Source,
    archive: zipfile.ZipFile,
    folder: str,
    tell: Callable[[int, int], None],
) -> None:
    """Add each package after it was fetched and had its digest; one at a time lies beside the bundle."""
    with tempfile.TemporaryDirectory(prefix=".interlock-export-", dir=folder) as work:
        for number, package in enumerate(packages, 1):
            path = fetch.fetch(package, source, work, lambda size: None)
            info = zipfile.ZipInfo(safe_path(package.location), _DATE)
            info.external_attr = 0o644 << 16
            with open(path, "rb") as stream, archive.open(info, "w", force_zip64=True) as target:
                _copy(stream, target)
            os.unlink(path)
            tell(number, len(packages))


def _copy(stream: IO[bytes], target: IO[bytes]) -> None:
    for chunk in iter(lambda: stream.read(1 << 20), b""):
        target.write(chunk)

"""The metadata files of an rpm-md repository: fetched, checked against what ``repomd.xml`` says, unpacked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Callable, TypeVar, cast

from interlock.depot.errors import BadMetadata, FileMissing, NotARepository
from interlock.depot.metadata import MetadataFile, read_repomd
from interlock.depot.source import Source
from interlock.depot.unpack import unpacked
from interlock.errors import BadDepot
from interlock.system.run import Runner

REPOMD = "repodata/repomd.xml"
REPOMD_LIMIT = 16 * 1024 * 1024
FILE_LIMIT = 1024 * 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True)
class MetadataReader:
    """Reads the metadata files of one place. Raises BadDepot."""

    source: Source
    runner: Runner

    def content(self) -> bytes:
        """Return ``repomd.xml`` as it is."""
        try:
            return b"".join(self.source.chunks(REPOMD, REPOMD_LIMIT))
        except FileMissing:
            raise NotARepository(depot=self.source.location) from None

    def repomd(self, content: bytes) -> tuple[str, dict[str, MetadataFile]]:
        """Return the revision and the metadata files."""
        try:
            return read_repomd([content])
        except ValueError as error:
            raise self._bad(REPOMD, str(error)) from None

    def parsed(self, one: MetadataFile, parse: Callable[[Iterator[bytes]], T]) -> T:
        """Fetch a file, check it, unpack it and return what ``parse`` makes of its chunks."""
        with tempfile.NamedTemporaryFile(prefix="interlock-metadata-") as copy:
            self._fetch(one, cast(IO[bytes], copy))
            copy.flush()
            try:
                return parse(unpacked(copy.name, self.runner))
            except ValueError as error:
                raise self._bad(one.location, str(error)) from None

    def _fetch(self, one: MetadataFile, copy: IO[bytes]) -> None:
        hasher, size = one.checksum.hasher(), 0
        limit = one.size if one.size >= 0 else FILE_LIMIT
        for chunk in self.source.chunks(one.location, min(FILE_LIMIT, limit + 1)):
            hasher.update(chunk)
            size += len(chunk)
            copy.write(chunk)
        if one.size not in (-1, size):
            raise self._bad(one.location, f"it has {size} bytes, repomd.xml says {one.size}")
        if hasher.hexdigest() != one.checksum.value:
            raise self._bad(one.location, f"its {one.checksum.kind} checksum is not the one in repomd.xml")

    def _bad(self, file: str, detail: str) -> BadDepot:
        return BadMetadata(depot=self.source.location, file=file, detail=detail)

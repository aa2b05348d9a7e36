"""The one pass over the headers of a private copy, in a process of its own: which there are, and what rpm skips.

rpm passes over a damaged header and says so on stderr only, so stderr is read. Signatures are not checked (the keys
may be missing), digests are: that is how a damaged header shows.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import IO, Any, NamedTuple

from interlock.package import Nevra
from interlock.rpmdb.reader import nevra_of

UNKNOWN = "a package whose name is lost"
_SKIPPED = re.compile(r"(?:h#|header #)\s*(\d+)")


class Row(NamedTuple):
    """One record of the database. ``tid`` is the transaction that it came with: the time at which that began."""

    number: int
    nevra: Nevra
    tid: int
    header: Any

    def tag(self, name: str) -> list[Any]:
        """Return a tag that is a list; empty where the header has none."""
        value = self.header[name]
        return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]

    def text(self, name: str) -> str:
        """Return a tag that is one text."""
        value = self.header[name]
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


class Records(NamedTuple):
    """All of a database: ``skipped`` are the numbers that rpm passes over, ``by_name`` is the index by name."""

    rows: Sequence[Row]
    skipped: frozenset[int]
    by_name: Mapping[str, frozenset[int]]


def open_copy(rpm: ModuleType, copy: str) -> Any:
    """Return a transaction set over a private copy that checks digests, but no signatures."""
    rpm.addMacro("_dbpath", copy)
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(getattr(rpm, "RPMVSF_MASK_NOSIGNATURES", getattr(rpm, "_RPMVSF_NOSIGNATURES", 0)))
    return transaction


def read_records(transaction: Any) -> Records:
    """Read every header that rpm gives, and the index by name."""
    with _stderr() as said:
        rows = list(_rows(transaction))
        index = name_index(transaction)
        said.seek(0)
        skipped = {int(number) for number in _SKIPPED.findall(said.read().decode("utf-8", "replace"))}
    return Records(rows, frozenset(skipped - {row.number for row in rows}), index)


def _rows(transaction: Any) -> Iterator[Row]:
    iterator, seen = transaction.dbMatch(), set()
    for header in iterator:
        number = int(iterator.instance())
        if number in seen:
            # The pages of a database that was torn may lead back to where they came from.
            return
        seen.add(number)
        if header["name"] != "gpg-pubkey":
            yield Row(number, nevra_of(header), int(header["installtid"] or 0), header)


def name_index(transaction: Any) -> dict[str, frozenset[int]]:
    """Return the numbers of the records that the index has for each name.

    An index has each name once. One that was torn as rpm was killed may lead round in circles, for ever.
    """
    try:
        keys = transaction.dbIndex("name")
    except KeyError:
        return {}
    found: dict[str, frozenset[int]] = {}
    seen = set()
    for key in keys:
        if key in seen:
            break
        seen.add(key)
        name = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        if name != "gpg-pubkey":
            found[name] = frozenset(int(number) for number, _ in keys.instances())
    return found


@contextlib.contextmanager
def _stderr() -> Iterator[IO[bytes]]:
    """Have stderr in a file for a while, and give the file."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield stream
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def damaged(transaction: Any, records: Records) -> list[tuple[int, str]]:
    """Return the skipped records with their packages: as the record still says, else by the index."""
    if not records.skipped:
        return []
    names = {number: name for name, numbers in records.by_name.items() for number in numbers}
    transaction.setVSFlags(-1)
    with _stderr():
        readable = {row.number: row.nevra for row in _rows(transaction)}
    found = []
    for number in sorted(records.skipped):
        nevra, name = readable.get(number), names.get(number, "")
        sure = nevra is not None and (not name or nevra.name == name)
        found.append((number, str(nevra) if sure else name or UNKNOWN))
    return found


def not_indexed(records: Records) -> list[str]:
    """Return the packages that the index by name does not lead to."""
    return [str(row.nevra) for row in records.rows if row.number not in records.by_name.get(row.nevra.name, ())]


def dangling(records: Records) -> list[str]:
    """Return the names that the index has although no such record is there."""
    there = {row.number: row.nevra.name for row in records.rows}
    return sorted(
        name
        for name, numbers in records.by_name.items()
        if any(number not in records.skipped and there.get(number) != name for number in numbers)
    )

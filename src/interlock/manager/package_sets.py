"""Each NEVRA once, each set of them once: hosts that have the same packages share one row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from interlock.manager.tables import NEVRAS, PACKAGE_SETS

BATCH = 500


def fingerprint(packages: Sequence[str]) -> str:
    """Return the SHA-256 of a set of NEVRAs, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(packages))).encode()).hexdigest()


def intern_set(connection: Connection, packages: Sequence[str]) -> int:
    """Return the number of a set of NEVRAs, writing it down where it is new."""
    print_of = fingerprint(packages)
    known = connection.execute(select(PACKAGE_SETS.c.id).where(PACKAGE_SETS.c.fingerprint == print_of)).scalar()
    if known is not None:
        return int(known)
    ids = _intern(connection, sorted(set(packages)))
    made = connection.execute(insert(PACKAGE_SETS).values(fingerprint=print_of, nevras=ids))
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def _intern(connection: Connection, texts: Sequence[str]) -> list[int]:
    known = _numbers(connection, texts)
    new = [{"text": text} for text in texts if text not in known]
    if new:
        connection.execute(insert(NEVRAS), new)
        known.update(_numbers(connection, [one["text"] for one in new]))
    return sorted(known[text] for text in texts)


def _numbers(connection: Connection, texts: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(texts), BATCH):
        wanted = texts[start : start + BATCH]
        rows = connection.execute(select(NEVRAS.c.text, NEVRAS.c.id).where(NEVRAS.c.text.in_(wanted)))
        found.update({str(row.text): int(row.id) for row in rows})
    return found


def read_sets(connection: Connection) -> tuple[dict[int, str], dict[int, list[int]]]:
    """Return every NEVRA by its number, and every set by its own."""
    nevras = {int(row.id): str(row.text) for row in connection.execute(select(NEVRAS))}
    return nevras, {int(row.id): list(row.nevras) for row in connection.execute(select(PACKAGE_SETS))}

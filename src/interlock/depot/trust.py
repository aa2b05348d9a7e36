"""What an administrator demands of a depot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

SIGNED, ANY = "signed", "any"
ANSWERS = (SIGNED, ANY)
_FINGERPRINT = re.compile(r"[0-9A-F]{40}(?:[0-9A-F]{24})?\Z")


@dataclass(frozen=True)
class TrustPolicy:
    """What is demanded of metadata and packages (``signed`` or ``any``).

    ``keys`` are the primary fingerprints that may sign (empty: every trusted key); ``max_age`` is in seconds.
    """

    metadata: str = SIGNED
    packages: str = SIGNED
    keys: tuple[str, ...] = ()
    max_age: Optional[float] = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, for ``from_json``."""
        row: dict[str, Any] = {"metadata": self.metadata, "packages": self.packages, "keys": list(self.keys)}
        return row if self.max_age is None else {**row, "max_age": self.max_age}

    @classmethod
    def from_json(cls, row: object) -> TrustPolicy:
        """Read a policy; ValueError names what is wrong, so that a slip of the pen never means less trust."""
        if not isinstance(row, Mapping):
            raise ValueError("trust is not an object")
        unknown = sorted(str(name) for name in row if name not in ("metadata", "packages", "keys", "max_age"))
        if unknown:
            raise ValueError(f"trust has unknown names: {', '.join(unknown)}")
        return cls(_answer(row, "metadata"), _answer(row, "packages"), _keys(row), _age(row))


def _answer(row: Mapping[str, Any], name: str) -> str:
    answer = row.get(name, "signed")
    if answer not in ANSWERS:
        raise ValueError(f"trust.{name} is neither signed nor any")
    return str(answer)


def _keys(row: Mapping[str, Any]) -> tuple[str, ...]:
    rows = row.get("keys", [])
    if not isinstance(rows, (list, tuple)) or not all(isinstance(one, str) for one in rows):
        raise ValueError("trust.keys is not a list of fingerprints")
    keys = tuple(one.replace(" ", "").upper() for one in rows)
    for key in keys:
        if not _FINGERPRINT.match(key):
            raise ValueError(f"trust.keys has {key!r}, which is not a whole fingerprint")
    return keys


def _age(row: Mapping[str, Any]) -> Optional[float]:
    age = row.get("max_age")
    if age is None:
        return None
    if isinstance(age, bool) or not isinstance(age, (int, float)) or not 0 < age < float("inf"):
        raise ValueError("trust.max_age is not a number of seconds above 0")
    return float(age)

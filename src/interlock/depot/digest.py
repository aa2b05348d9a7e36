"""Checksums as rpm-md names them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

# rpm-md's names; "sha" is what createrepo called SHA-1 at first. MD5 is no protection and not accepted.
_KINDS: Mapping[str, str] = {
    "sha": "sha1",
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
}


@dataclass(frozen=True)
class Checksum:
    """A checksum: its kind (a name of hashlib) and its lower-case hexadecimal value."""

    kind: str
    value: str

    @classmethod
    def parse(cls, kind: str, value: str) -> Checksum:
        """Read rpm-md's name of a kind and a value; ValueError where either is not one."""
        known = _KINDS.get(kind.lower())
        if known is None:
            raise ValueError(f"unknown checksum type {kind[:40]!r}")
        digits = value.strip().lower()
        if len(digits) != 2 * hashlib.new(known).digest_size or digits.strip("0123456789abcdef"):
            raise ValueError(f"not a {known} checksum: {value[:140]!r}")
        return cls(known, digits)

    def hasher(self) -> _Hash:
        """Return a hash object that computes this kind."""
        return hashlib.new(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

"""What can be wrong with a depot: its place, its metadata (exit status 7), the trust in it (exit status 3).

Every error has the field ``depot``; those of one package have ``package``.
"""

from __future__ import annotations

from collections.abc import Iterable

from interlock.errors import BadDepot, Refused


class DepotMissing(BadDepot):
    """The depot {depot} does not exist."""

    hint = "Check the path or URL given with --depot."


class DepotUnreadable(BadDepot):
    """The depot {depot} cannot be read: {detail}."""

    hint = "Check the permissions of a directory, or the server and network of a URL."


class NotARepository(BadDepot):
    """{depot} is not a package repository: it has no repodata/repomd.xml."""

    hint = "Run `createrepo_c {depot}`, or give --depot the directory above `repodata`."


class BadMetadata(BadDepot):
    """The depot {depot} has bad metadata in {file}: {detail}."""

    hint = "Make the metadata again with createrepo_c, or ask whoever keeps the depot to."


class FileMissing(BadDepot):
    """The depot {depot} names the file {file}, but does not have it."""

    hint = "The depot is incomplete or was just changed: copy it again, or run createrepo_c again."


class TruncatedPackage(BadDepot):
    """The package {package} of the depot {depot} has {found} bytes instead of {expected}."""

    hint = "The file is cut or was exchanged: copy it again, or run createrepo_c again."


class DigestMismatch(BadDepot):
    """The package {package} of the depot {depot} has the wrong digest: {found} instead of {expected}."""

    hint = "The file was damaged or exchanged after the metadata was made: do not use it; copy it again."


class WrongPackage(BadDepot):
    """The file {file} of the depot {depot} holds {found}, its metadata says {package}."""

    hint = "The metadata does not describe the files: run createrepo_c again."


class DamagedPackage(BadDepot):
    """The package {package} of the depot {depot} is damaged: {detail}."""

    hint = "Its digest is what the metadata says, so it was damaged before: it must be built or copied again."


class UnsignedPackage(Refused):
    """Refused: not signed: {package} of the depot {depot}."""

    hint = "Nothing was changed. Have the package signed, or say explicitly that unsigned packages are allowed."


class UnknownKey(Refused):
    """Refused: the key {key}, which signed {package} of the depot {depot}, is not known to this host."""

    hint = "Nothing was changed. If you trust that key, import it: rpmkeys --import FILE."


class BadSignature(Refused):
    """Refused: the signature of {package} of the depot {depot} does not hold: {detail}."""

    hint = "Nothing was changed. Do not use this package; get it again from whoever signed it."


class NoSpaceToStage(Refused):
    """Refused: no space for the packages in {directory}: {needed} bytes are needed, {free} are free."""

    hint = "Nothing was changed. Free space there, or stage somewhere else."


def some_names(names: Iterable[str], most: int = 3) -> str:
    """Return up to ``most`` names, and how many more there are."""
    known: list[str] = list(names)
    rest = len(known) - most
    return ", ".join(known[:most]) + (f" and {rest} more" if rest > 0 else "")

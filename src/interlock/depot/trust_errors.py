"""Why a depot's metadata is not believed. Each refuses (exit status 3) and nothing is changed."""

from __future__ import annotations

from interlock.errors import Refused


class UntrustedMetadata(Refused):
    """The metadata of the depot {depot} is not trusted: {detail}."""

    hint = "Nothing was changed. Ask who publishes the depot."


class UnsignedMetadata(UntrustedMetadata):
    """The metadata of the depot {depot} is not signed: {detail}."""

    hint = "Have repodata/repomd.xml.asc published, or let the policy of this depot allow unsigned metadata."


class UnknownMetadataKey(UntrustedMetadata):
    """The metadata of the depot {depot} is signed with key {key}, which nobody has added for it."""

    hint = "Compare the fingerprint with what the publisher says; only then add the key."


class ExpiredKey(UntrustedMetadata):
    """The metadata of the depot {depot} is signed with key {key}, which has expired."""

    hint = "Get the publisher's renewed or new key."


class RevokedKey(UntrustedMetadata):
    """The metadata of the depot {depot} is signed with key {key}, which its owner has revoked."""

    hint = "Do not use this depot until its publisher has signed it with another key."


class BadMetadataSignature(UntrustedMetadata):
    """The signature on the metadata of the depot {depot} does not match: {detail}."""

    hint = "The metadata was changed or cut off after it was signed. Sync the depot again."


class ExpiredSignature(UntrustedMetadata):
    """The signature on the metadata of the depot {depot}, by key {key}, has expired."""

    hint = "Sync the depot again; if it stays so, its publisher has to sign it anew."


class WeakSignature(UntrustedMetadata):
    """The signature on the metadata of the depot {depot}, by key {key}, uses a digest that can be forged."""

    hint = "Its publisher has to sign it with SHA-256 or better."


class SignatureToolMissing(UntrustedMetadata):
    """The signature on the metadata of the depot {depot} cannot be checked: {detail}."""

    hint = "Install gnupg2 (Fedora, RHEL), gpg2 (SUSE) or gnupg (Debian)."


class ReplayedMetadata(UntrustedMetadata):
    """The metadata of the depot {depot} is from {found}, but this host has seen newer, from {seen}."""

    hint = (
        "A mirror may be stale, or somebody replays old metadata: use another mirror. If the publisher went back on "
        "purpose: interlock depot forget {depot}"
    )


class StaleMetadata(UntrustedMetadata):
    """The metadata of the depot {depot} is from {found}, older than its policy allows ({limit} days)."""

    hint = "A mirror may be stale: use another one, or change max_age in the depot's configuration."


class BadKey(Refused):
    """Refused: the key file {file} cannot be used: {detail}."""

    hint = "Nothing was changed. Ask the publisher for the public key, as ASCII armor."


class ExpiredPackageKey(Refused):
    """Refused: the key {key}, which signed {package} of the depot {depot}, has expired."""

    hint = "Nothing was changed. Get the publisher's renewed key, or packages signed with a new one."


class RevokedPackageKey(Refused):
    """Refused: the key {key}, which signed {package} of the depot {depot}, was revoked by its owner."""

    hint = "Nothing was changed. Do not use these packages until they are signed with another key."


class BadDepotConfig(Refused):
    """Refused: the depot's configuration {file} cannot be used: {detail}."""

    hint = "Mend the file, or write it anew: interlock depot add NAME LOCATION"

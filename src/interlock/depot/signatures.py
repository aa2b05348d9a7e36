"""Signatures of package files, by the host's own ``rpmkeys``.

``rpmkeys`` is told to demand both digests and a signature over the whole package (``_pkgverify_level all``), so
that a package whose signature covers only a part fails too. Its exit status does not say which file failed nor
why; its verbose output does, one indented line an item, alike since rpm 4.14:

    /path/of/the.rpm:
        Header V4 RSA/SHA256 Signature, key ID 1964c5fc: OK
        Payload SHA256 digest: OK

The words at the end are OK, BAD, NOKEY, NOTTRUSTED and NOTFOUND. rpm 6 names the key by ``key fingerprint:``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from interlock.depot.keys import EXPIRED, REVOKED, Key, owner_of
from interlock.errors import CommandFailed
from interlock.system.run import Completed, Runner, pasteable

BATCH = 100
# As many programs check packages at a time.
AT_A_TIME = 2
_ITEM = re.compile(r"\s+(.+?): (OK|BAD|NOKEY|NOTTRUSTED|NOTFOUND|UNKNOWN)(?: \((.*)\))?\s*\Z")
_KEY = re.compile(r"key (?:ID|fingerprint:?) ([0-9a-fA-F]+)")


class Trust(str, Enum):
    """What can be said of a package file."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    EXPIRED_KEY = "expired-key"
    REVOKED_KEY = "revoked-key"
    BAD_SIGNATURE = "bad-signature"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class SignatureCheck:
    """The answer for one file. ``keys`` are ids or fingerprints of known or unknown keys, as the trust says."""

    trust: Trust
    keys: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class _Item:
    what: str
    answer: str
    detail: str

    @property
    def is_signature(self) -> bool:
        return "signature" in self.what.lower()

    @property
    def key(self) -> str:
        found = _KEY.search(self.what)
        return found.group(1).lower() if found else ""

    def __str__(self) -> str:
        return f"{self.what}: {self.answer}" + (f" ({self.detail})" if self.detail else "")


def parse_checksig(output: str, errors: str, paths: Sequence[str]) -> Mapping[str, SignatureCheck]:
    """Read what ``rpmkeys --checksig --verbose`` printed about ``paths`` to its output and error streams."""
    items: dict[str, list[_Item]] = {}
    headings = {f"{path}:": path for path in paths}
    current: list[_Item] = []
    for line in output.splitlines():
        if line.rstrip() in headings:
            current = items.setdefault(headings[line.rstrip()], [])
            continue
        found = _ITEM.match(line)
        if found:
            current.append(_Item(found.group(1), found.group(2), found.group(3) or ""))
    return {path: _judge(items.get(path, []), _errors_about(path, errors)) for path in paths}


def _errors_about(path: str, errors: str) -> str:
    about = [line for line in errors.splitlines() if path in line]
    return "; ".join(line.replace(f"{path}: ", "").replace("error: ", "").strip() for line in about)


def _judge(items: Sequence[_Item], error: str) -> SignatureCheck:
    signatures = [one for one in items if one.is_signature]
    bad = [one for one in signatures if one.answer in ("BAD", "NOTTRUSTED", "UNKNOWN")]
    bad_digests = [one for one in items if not one.is_signature and one.answer != "OK"]
    good = [one for one in signatures if one.answer == "OK"]
    unknown = [one for one in signatures if one.answer == "NOKEY"]
    if bad:
        return SignatureCheck(Trust.BAD_SIGNATURE, _keys(bad), str(bad[0]))
    if bad_digests or not items:
        detail = str(bad_digests[0]) if bad_digests else error or "it is no package"
        return SignatureCheck(Trust.DAMAGED, (), detail)
    if good and any(one.answer == "NOTFOUND" for one in signatures):
        return SignatureCheck(Trust.BAD_SIGNATURE, _keys(good), "it covers only a part of the package")
    if good:
        return SignatureCheck(Trust.SIGNED, _keys(good))
    if unknown:
        return SignatureCheck(Trust.UNKNOWN_KEY, _keys(unknown))
    return SignatureCheck(Trust.UNSIGNED)


def _keys(items: Sequence[_Item]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.key for one in items if one.key))


def with_states(check: SignatureCheck, keys: Sequence[Key], allowed: Collection[str]) -> SignatureCheck:
    """Return the answer as the states of keys make it: rpm before 4.20 does not know that one expired or was revoked.

    ``allowed`` are the primary fingerprints that may sign; empty for all.
    """
    if check.trust in (Trust.UNSIGNED, Trust.DAMAGED):
        return check
    for identity in check.keys:
        key, state = owner_of(identity, keys)
        if state in (EXPIRED, REVOKED):
            trust = Trust.EXPIRED_KEY if state == EXPIRED else Trust.REVOKED_KEY
            return SignatureCheck(trust, (identity,), check.detail)
        if check.trust is Trust.SIGNED and allowed and (key is None or key.fingerprint not in allowed):
            return SignatureCheck(Trust.UNKNOWN_KEY, (identity,), "the depot's policy does not name it")
    return check


def check_signatures(paths: Sequence[str], runner: Runner, dbpath: str, timeout: float) -> dict[str, SignatureCheck]:
    """Check package files against the keys in the rpm database at ``dbpath``; ``timeout`` in seconds a batch.

    Give a private copy of the database: rpm opens it. Raises CommandMissing, CommandTimedOut, CommandFailed.
    """
    found: dict[str, SignatureCheck] = {}
    for batch in batches(paths):
        argv = [
            "rpmkeys", "--dbpath", dbpath, "--define", "_pkgverify_level all", "--define", "_pkgverify_flags 0x0",
            "--checksig", "--verbose", *batch,
        ]  # fmt: skip
        done = runner.run(argv, check=False, timeout=timeout)
        _check_ran(done, batch)
        found.update(parse_checksig(done.stdout, done.stderr, batch))
    return found


def batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the paths in groups that an argument list can hold, two at least, for as many can be checked at a time."""
    size = max(1, min(BATCH, -(-len(paths) // AT_A_TIME)))
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _check_ran(done: Completed, batch: Sequence[str]) -> None:
    """Raise where the program itself failed, which must not look like packages that are damaged."""
    if done.status < 0 or f"{batch[0]}:" not in done.stdout:
        said = done.stderr.strip() or "it printed nothing about the packages"
        raise CommandFailed(command=pasteable(done.argv[:10]), status=done.status, stderr=said)

"""Detached signatures of metadata, by the host's ``gpg`` in a home that is thrown away.

The keys lie in a keyring file of that home, so nothing is imported: no agent, no keyboxd, no network. A signature
by a key that is expired now is refused whenever it claims to be made, because nothing here gives a trusted time.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Optional

from interlock.depot.trust_errors import (
    BadMetadataSignature,
    ExpiredKey,
    ExpiredSignature,
    RevokedKey,
    SignatureToolMissing,
    UnknownMetadataKey,
    UnsignedMetadata,
    UntrustedMetadata,
    WeakSignature,
)
from interlock.errors import CommandMissing, CommandTimedOut
from interlock.system.run import Runner

SIGNATURE_LIMIT = 64 * 1024
SECONDS = 10.0
STRONG_DIGESTS = frozenset({"8", "9", "10", "11"})  # RFC 4880, 9.4: SHA-256, 384, 512, 224
WEAK_DIGESTS = frozenset({"1", "2", "3"})  # MD5, SHA-1, RIPEMD-160
MARK = "[GNUPG:]"
_NO_KEY = "9"
_BLOCK = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
OPTIONS = (
    "--no-options", "--batch", "--no-tty", "--no-autostart", "--disable-dirmngr", "--no-auto-key-retrieve",
    "--no-auto-check-trustdb", "--weak-digest", "SHA1", "--no-default-keyring",
)  # fmt: skip


@dataclass
class _Signature:
    words: dict[str, list[str]] = field(default_factory=dict)

    def word(self, name: str, index: int) -> str:
        found = self.words.get(name, [])
        return found[index] if len(found) > index else ""

    @property
    def primary(self) -> str:
        return self.word("VALIDSIG", 9) or self.word("VALIDSIG", 0)

    @property
    def key(self) -> str:
        names = ("GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG")
        return self.primary or next((self.word(one, 0) for one in names if one in self.words), "unknown")


def public_keys(armor: str) -> bytes:
    """Return the binary keys of ASCII armor. Raises ValueError where there is none or one is secret."""
    if "PRIVATE KEY BLOCK" in armor:
        raise ValueError("it holds a secret key")
    blocks = _BLOCK.findall(armor)
    if not blocks:
        raise ValueError("it holds no public key")
    return b"".join(map(_decoded, blocks))


def _decoded(block: str) -> bytes:
    lines = [line.strip() for line in block.splitlines()]
    body = lines[lines.index("") + 1 :] if "" in lines else lines
    try:
        return base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its armor is damaged: {error}") from None


def verify_metadata(
    depot: str,
    content: bytes,
    signature: bytes,
    armors: Sequence[str],
    runner: Runner,
    *,
    allowed: Collection[str] = (),
) -> str:
    """Return the primary fingerprint of the key that signed ``content``, the very bytes to be parsed.

    ``allowed`` narrows ``armors`` down to some fingerprints (empty: all). Raises the errors of
    trust_errors, and ValueError where an armor holds no public key or a secret one.
    """
    if not signature.strip():
        raise UnsignedMetadata(depot=depot, detail="its signature is empty")
    if len(signature) > SIGNATURE_LIMIT:
        raise BadMetadataSignature(depot=depot, detail=f"it is larger than {SIGNATURE_LIMIT} bytes")
    keyring = b"".join(map(public_keys, armors))
    try:
        status = _status(content, signature, keyring, runner)
    except CommandMissing:
        raise SignatureToolMissing(depot=depot, detail="gpg is not on this host") from None
    except CommandTimedOut:
        raise BadMetadataSignature(depot=depot, detail=f"gpg could not read it in {SECONDS:g} s") from None
    if MARK not in status:
        raise SignatureToolMissing(depot=depot, detail="gpg does not work on this host")
    return judge(depot, status, allowed)


def _status(content: bytes, signature: bytes, keyring: bytes, runner: Runner) -> str:
    with tempfile.TemporaryDirectory(prefix="interlock-gpg-") as home:
        paths = [os.path.join(home, name) for name in ("trusted.gpg", "signature", "content")]
        for path, text in zip(paths, (keyring, signature, content)):
            with open(path, "wb") as stream:
                stream.write(text)
        ring, *files = paths
        options = [*OPTIONS, "--trust-model", "always", "--homedir", home, "--keyring", ring, "--status-fd", "1"]
        argv = ["gpg", *options, "--verify", *files]
        return runner.run(argv, timeout=SECONDS, check=False).stdout


def judge(depot: str, status: str, allowed: Collection[str] = ()) -> str:
    """Read gpg's status lines: one signature has to be good, and none may be bad."""
    found = _signatures(status)
    if any("BADSIG" in one.words for one in found):
        raise BadMetadataSignature(depot=depot, detail="it was not made for these bytes")
    problems: list[UntrustedMetadata] = []
    for one in found:
        problem = _problem(depot, one, allowed)
        if problem is None:
            return one.primary
        problems.append(problem)
    if problems:
        raise problems[0]
    raise BadMetadataSignature(depot=depot, detail="it holds no signature that gpg can read")


def _signatures(status: str) -> list[_Signature]:
    found: list[_Signature] = []
    for line in status.splitlines():
        mark, _, rest = line.partition(" ")
        if mark != MARK or not rest:
            continue
        name, *words = rest.split(" ")
        if name == "NEWSIG":
            found.append(_Signature())
        elif found:
            found[-1].words[name] = words
    return found


def _problem(depot: str, one: _Signature, allowed: Collection[str]) -> Optional[UntrustedMetadata]:
    key = one.key
    for name, error in (("REVKEYSIG", RevokedKey), ("EXPKEYSIG", ExpiredKey), ("EXPSIG", ExpiredSignature)):
        if name in one.words:
            return error(depot=depot, key=key)
    if "ERRSIG" in one.words:
        if one.word("ERRSIG", 5) == _NO_KEY:
            return UnknownMetadataKey(depot=depot, key=one.word("ERRSIG", 6).strip("-") or key)
        if one.word("ERRSIG", 2) in WEAK_DIGESTS:
            return WeakSignature(depot=depot, key=key)
    return _doubt(depot, one, key, allowed)


def _doubt(depot: str, one: _Signature, key: str, allowed: Collection[str]) -> Optional[UntrustedMetadata]:
    if "GOODSIG" not in one.words or not one.primary:
        return BadMetadataSignature(depot=depot, detail="gpg cannot read it")
    if one.word("VALIDSIG", 7) not in STRONG_DIGESTS:
        return WeakSignature(depot=depot, key=key)
    if allowed and one.primary not in allowed:
        return UnknownMetadataKey(depot=depot, key=key)
    return None

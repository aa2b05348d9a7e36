"""Public keys that may sign: what each is, by the host's ``gpg``, and the directory where an administrator keeps them.

``DIRECTORY/FINGERPRINT.asc`` is one key. rpm's own keyring is read by `interlock.rpmdb.reader`; both count.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from interlock.depot.trust_errors import BadKey
from interlock.depot.trust_gpg import OPTIONS, SECONDS, public_keys
from interlock.errors import CommandMissing
from interlock.system.durable import remove_file, write_file
from interlock.system.run import Runner

VALID, EXPIRED, REVOKED, INVALID = "valid", "expired", "revoked", "invalid"
FILE_LIMIT = 1024 * 1024
MOST = 16
SMALLEST_RSA = 2048
RSA, DSA, ELGAMAL = ("1", "2", "3"), "17", ("16", "20")
_STATES = {"e": EXPIRED, "r": REVOKED, "i": INVALID, "d": INVALID, "n": INVALID}
_NAME = re.compile(r"[0-9A-F]{40}(?:[0-9A-F]{24})?\.asc\Z")


@dataclass(frozen=True)
class Key:
    """One primary key. ``created`` and ``expires`` are seconds since 1970; ``expires`` is None for never.

    ``subkeys`` maps the fingerprint of each subkey to its state, which is never better than the primary's.
    """

    fingerprint: str
    user: str
    state: str
    created: int
    expires: Optional[int]
    algorithm: str
    bits: int
    subkeys: Mapping[str, str]

    @property
    def weakness(self) -> str:
        """Return why signatures by this key prove nothing, or nothing."""
        if self.algorithm in RSA and self.bits < SMALLEST_RSA:
            return f"it is an RSA key of {self.bits} bits; {SMALLEST_RSA} are the least"
        if self.algorithm == DSA or self.algorithm in ELGAMAL:
            return "it is a DSA key, which only weak digests fit"
        return "" if self.state != INVALID else "its own signature is missing, or made with a weak digest"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "fingerprint": self.fingerprint, "user": self.user, "state": self.state, "created": self.created,
            "expires": self.expires, "bits": self.bits, "subkeys": dict(self.subkeys),
        }  # fmt: skip


def describe_keys(armors: Sequence[str], runner: Runner) -> tuple[Key, ...]:
    """Return the keys of some armors. Raises ValueError (see ``public_keys``), CommandMissing without gpg."""
    if not armors:
        return ()
    with tempfile.TemporaryDirectory(prefix="interlock-gpg-") as home:
        path = os.path.join(home, "keys")
        with open(path, "wb") as stream:
            stream.write(b"".join(map(public_keys, armors)))
        argv = ["gpg", *OPTIONS, "--homedir", home, "--with-colons", "--fixed-list-mode", "--show-keys", path]
        return tuple(_parsed(runner.run(argv, timeout=SECONDS, check=False).stdout))


def _parsed(listing: str) -> Iterator[Key]:
    for block in re.split(r"^(?=pub:)", listing, flags=re.MULTILINE):
        rows = [line.split(":") for line in block.splitlines() if line.count(":") >= 9]
        if rows and rows[0][0] == "pub":
            yield _key(rows)


def _key(rows: Sequence[Sequence[str]]) -> Key:
    first, prints = rows[0], [row[9] for row in rows if row[0] == "fpr"]
    state = _STATES.get(first[1][:1], VALID)
    subs = [_STATES.get(row[1][:1], VALID) for row in rows if row[0] == "sub"]
    user = next((row[9] for row in rows if row[0] == "uid"), "")
    return Key(
        prints[0], _unescaped(user), state, int(first[5] or 0), int(first[6]) if first[6] else None, first[3],
        int(first[2] or 0), {one: sub if state == VALID else state for one, sub in zip(prints[1:], subs)},
    )  # fmt: skip


def _unescaped(text: str) -> str:
    """Undo gpg's ``\\x3a``, and leave out what would confuse a terminal."""
    plain = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), text)
    return "".join(one for one in plain if one.isprintable())[:200]


def owner_of(identity: str, keys: Sequence[Key]) -> tuple[Optional[Key], str]:
    """Return whose id this is (the last 8, 16 or all digits of a key or subkey), and the state of that very key."""
    wanted = identity.upper()
    for key in keys:
        for fingerprint, state in {key.fingerprint: key.state, **key.subkeys}.items():
            if fingerprint.endswith(wanted):
                return key, state
    return None, ""


def read_kept(directory: str) -> tuple[list[str], list[str]]:
    """Return the armors that an administrator keeps, and what is wrong with the others."""
    armors: list[str] = []
    defects: list[str] = []
    for path in kept_paths(directory):
        try:
            armors.append(read_armor(path))
        except BadKey as error:
            defects.append(str(error))
    return armors, defects


def kept_paths(directory: str) -> list[str]:
    """Return the files of the keys that are kept."""
    try:
        return sorted(os.path.join(directory, name) for name in os.listdir(directory) if _NAME.match(name))
    except FileNotFoundError:
        return []


def read_armor(path: str) -> str:
    """Return the ASCII armor of a key file, binary ones included. Raises BadKey."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BadKey(file=path, detail=error.strerror or str(error)) from None
    if len(content) > FILE_LIMIT:
        raise BadKey(file=path, detail=f"it is larger than {FILE_LIMIT} bytes")
    # The tag of a public key packet, in both formats of RFC 4880, 4.2.
    text = armored(content) if content[:1] in (b"\x98", b"\x99", b"\x9a", b"\xc6") else content.decode("latin-1")
    try:
        public_keys(text)
    except ValueError as error:
        raise BadKey(file=path, detail=str(error)) from None
    return text


def armored(content: bytes) -> str:
    """Return binary keys as ASCII armor; its checksum is optional and left out."""
    body = "\n".join(textwrap.wrap(base64.b64encode(content).decode(), 64))
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n"


def admissible(path: str, runner: Runner) -> tuple[str, tuple[Key, ...]]:
    """Return the armor of a file and its keys, all of which may be added. Raises BadKey, CommandMissing."""
    armor = read_armor(path)
    keys = describe_keys([armor], runner)
    if not keys or len(keys) > MOST:
        raise BadKey(file=path, detail=f"gpg finds {len(keys)} keys in it; between 1 and {MOST} can be added at once")
    for key in keys:
        problem = key.weakness or (f"it is {key.state}" if key.state != VALID else "")
        if problem:
            raise BadKey(file=path, detail=f"key {key.fingerprint} is of no use: {problem}")
    return armor, keys


def keep(directory: str, path: str, runner: Runner) -> tuple[Key, ...]:
    """Keep the keys of a file, each in a file of its own, durably. Raises BadKey, CommandMissing."""
    armor, keys = admissible(path, runner)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for key in keys:
        text = armor if len(keys) == 1 else armored(_only(armor, key.fingerprint, runner))
        write_file(os.path.join(directory, f"{key.fingerprint}.asc"), text)
    return keys


def _only(armor: str, fingerprint: str, runner: Runner) -> bytes:
    with tempfile.TemporaryDirectory(prefix="interlock-gpg-") as home:
        ring, one = (os.path.join(home, name) for name in ("ring.gpg", "one.gpg"))
        with open(ring, "wb") as stream:
            stream.write(public_keys(armor))
        argv = ["gpg", *OPTIONS, "--homedir", home, "--keyring", ring, "--output", one, "--export", fingerprint]
        runner.run(argv, timeout=SECONDS)
        with open(one, "rb") as stream:
            return stream.read()


def forget(directory: str, fingerprint: str) -> bool:
    """Remove a kept key; False where it is not kept there."""
    path = os.path.join(directory, f"{fingerprint}.asc")
    if not _NAME.match(os.path.basename(path)) or not os.path.exists(path):
        return False
    remove_file(path)
    return True


def states(armors: str, runner: Runner) -> tuple[Key, ...]:
    """Return what is known of keys; nothing on a host without gpg, where rpm's own answers have to do."""
    try:
        return describe_keys([armors] if armors.strip() else [], runner)
    except (CommandMissing, ValueError):
        return ()

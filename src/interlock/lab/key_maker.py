"""Keys and signatures of every kind for tests: good ones, expired, revoked and weak ones, by the real gpg."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from interlock.system.run import Runner

LIMIT = 60
LONG_AGO, THEN = "20200101T000000", "20200110T000000"


class KeyMaker:
    """A GnuPG home. Times are gpg's, ``YYYYMMDDThhmmss``."""

    def __init__(self, home: str) -> None:
        self.home = home

    def gpg(self, *words: str) -> str:
        """Run gpg without anybody to ask, and return what it prints."""
        argv = ["gpg", "--homedir", self.home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
        return Runner().run([*argv, *words], timeout=LIMIT).stdout

    def make(self, name: str, *before: str, expires: str = "never", algorithm: str = "ed25519") -> str:
        """Make a key and return its fingerprint."""
        self.gpg(*before, "--quick-generate-key", name, algorithm, "sign", expires)
        return self.fingerprint(name)

    def make_expired(self, name: str, algorithm: str = "ed25519") -> str:
        """Make a key that has expired since."""
        return self.make(name, "--faked-system-time", LONG_AGO, expires="20200201T000000", algorithm=algorithm)

    def revoke(self, name: str) -> None:
        """Revoke a key."""
        path = Path(self.home) / "openpgp-revocs.d" / f"{self.fingerprint(name)}.rev"
        path.write_text(path.read_text().replace(":-----BEGIN", "-----BEGIN"))
        self.gpg("--import", str(path))

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of a key."""
        lines = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def armor(self, name: str) -> str:
        """Return the public key."""
        return self.gpg("--armor", "--export", name)

    def sign(self, name: str, content: bytes, *more: str) -> bytes:
        """Return a detached signature as ASCII armor."""
        path = Path(self.home) / "content"
        path.write_bytes(content)
        return self.gpg(*more, "--local-user", name, "--armor", "--output", "-", "--detach-sign", str(path)).encode()


@contextmanager
def key_maker() -> Iterator[KeyMaker]:
    """Give a key maker; its home and its agent are gone afterwards."""
    with TemporaryDirectory(prefix="interlock-keys-") as home:
        try:
            yield KeyMaker(home)
        finally:
            Runner().run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=LIMIT)

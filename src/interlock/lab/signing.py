"""The lab's signing key, and signatures on packages. One key for each cache, made once.

RSA 3072 with SHA-256: rpm 4.16, 4.18 and 4.20 (with Sequoia) all accept it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.system.run import Runner

IDENTITY = "Interlock lab (packages of test hosts)"


@dataclass(frozen=True)
class SigningKey:
    """A GnuPG home with one secret key, and its public half as a file."""

    home: Path
    public: Path


def ensure_key(folder: Path, runner: Runner, identity: str = IDENTITY) -> SigningKey:
    """Return the key that lies in ``folder``, making it where there is none."""
    key = SigningKey(folder / "gnupg", folder / "RPM-GPG-KEY-lab")
    if key.public.exists():
        return key
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(key.home, ignore_errors=True)
    key.home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(key.home), "--batch", "--yes"]
    runner.run([*gpg, "--passphrase", "", "--quick-generate-key", identity, "rsa3072", "sign", "never"], timeout=120)
    exported = key.public.with_suffix(".new")
    runner.run([*gpg, "--armor", "--output", str(exported), "--export"])
    runner.run(["gpgconf", "--homedir", str(key.home), "--kill", "all"], check=False)
    os.rename(exported, key.public)
    return key


@contextmanager
def _own_home(key: SigningKey, runner: Runner) -> Iterator[Path]:
    """Give a copy of the key's home, whose agent nobody else uses, and which ends with it.

    gpg starts an agent that would wait for ever; ending the one of the key itself would fail whoever signs meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="lab-sign-") as folder:
        home = Path(folder) / "gnupg"
        shutil.copytree(key.home, home, ignore=lambda _, names: [name for name in names if name.startswith("S.")])
        try:
            yield home
        finally:
            runner.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def sign(packages: Sequence[Path], key: SigningKey, runner: Runner, jobs: int = 2) -> None:
    """Sign packages in place."""
    shares = [list(packages[start::jobs]) for start in range(jobs)]
    with _own_home(key, runner) as home, ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(_sign_share, share, home, runner) for share in shares if share]:
            done.result()


def sign_metadata(folder: Path, key: SigningKey, runner: Runner) -> None:
    """Sign the metadata of the depot in ``folder``."""
    content = folder / "repodata/repomd.xml"
    new, signature = content.with_name("repomd.xml.new"), content.with_name("repomd.xml.asc")
    with _own_home(key, runner) as home:
        gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--digest-algo", "SHA256"]
        runner.run([*gpg, "--armor", "--output", str(new), "--detach-sign", str(content)], timeout=60)
    os.rename(new, signature)


def is_signed(folder: Path) -> bool:
    """Say whether the metadata of a depot has a signature that was made after it."""
    content, signature = folder / "repodata/repomd.xml", folder / "repodata/repomd.xml.asc"
    return signature.exists() and signature.stat().st_mtime_ns >= content.stat().st_mtime_ns


def _sign_share(packages: list[Path], home: Path, runner: Runner) -> None:
    program = shutil.which("gpg") or "gpg"
    macros = {"__gpg": program, "_gpg_name": IDENTITY, "_gpg_path": str(home), "_gpg_digest_algo": "sha256"}
    words = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    argv = ["rpmsign", "--addsign", *words, *map(str, packages)]
    runner.run(argv, timeout=600, env={"HOME": str(home.parent), "GNUPGHOME": str(home)})

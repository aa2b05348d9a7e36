"""Reaches hosts: keys, the words of an ssh command, and waiting until a host answers."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from interlock.errors import InterlockError
from interlock.lab.cache import Cache
from interlock.lab.state import HostRecord
from interlock.system.run import Completed, Runner

PORT = 22


def ensure_login_key(cache: Cache, runner: Runner) -> Path:
    """Return the key that opens all hosts of this cache, making it where there is none."""
    key = cache.keys / "id_ed25519"
    if not key.exists():
        half_made = cache.keys / "id_ed25519.new"
        for path in (half_made, half_made.with_suffix(".new.pub")):
            path.unlink(missing_ok=True)
        runner.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "interlock lab", "-f", str(half_made)])
        os.rename(f"{half_made}.pub", f"{key}.pub")
        os.rename(half_made, key)
    return key


def install_keys(cache: Cache, record: HostRecord, root: Path, runner: Runner) -> None:
    """Give a host its own key, let ours in, and remember its key."""
    login = Path(f"{ensure_login_key(cache, runner)}.pub").read_text()
    folder = root / "root/.ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "authorized_keys").write_text(login)
    (folder / "authorized_keys").chmod(0o600)
    own = root / "etc/ssh/ssh_host_ed25519_key"
    runner.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", record.name, "-f", str(own)])
    kind, key = Path(f"{own}.pub").read_text().split()[:2]
    known_hosts(cache, record.name).write_text(f"{record.address} {kind} {key}\n")


def known_hosts(cache: Cache, name: str) -> Path:
    """Return the file that has one host's key."""
    return cache.state / f"{name}.known_hosts"


def ssh_words(cache: Cache, record: HostRecord, terminal: bool = False) -> list[str]:
    """Return the words that begin an ssh command to a host."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts(cache, record.name)),
        "LogLevel": "ERROR",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    key = str(cache.keys / "id_ed25519")
    return ["ssh", "-F", "/dev/null", "-i", key, *words, "-t" if terminal else "-T", f"root@{record.address}"]


def run_on(
    cache: Cache, record: HostRecord, argv: Sequence[str], runner: Runner, *, timeout: float = 60.0, check: bool = True
) -> Completed:
    """Run a command on a host and return its output."""
    words = [*ssh_words(cache, record), "--", shlex.join(argv)]
    return runner.run(words, timeout=timeout, check=check)


def answers(cache: Cache, record: HostRecord, runner: Runner) -> bool:
    """Say whether a host lets us in now."""
    try:
        with socket.create_connection((record.address, PORT), timeout=1.0):
            pass
        return run_on(cache, record, ["true"], runner, timeout=10, check=False).status == 0
    except (OSError, InterlockError):
        return False


def wait_until_it_answers(
    cache: Cache, record: HostRecord, runner: Runner, alive: Callable[[], bool], seconds: float = 60.0
) -> str:
    """Wait for a host; return an empty string, or why there is no use in waiting longer."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if answers(cache, record, runner):
            return ""
        if not alive():
            return "it ended while it started"
        time.sleep(0.05)
    return "it runs, but ssh does not let us in"

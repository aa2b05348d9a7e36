"""The manager's command line over lab hosts, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import Host

from interlock.lab import state
from interlock.lab.hosts import Lab

PROGRAM = str(Path(sys.executable).parent / "interlock")


class Fleet:
    """The manager's command line, with a database of its own."""

    def __init__(self, lab: Lab, folder: Path, hosts: dict[str, Host]) -> None:
        self.lab, self.folder, self.hosts = lab, folder, hosts

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "INTERLOCK_DATABASE": str(self.folder / "manager.db")}
        return subprocess.run(
            [PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def killed(self, seconds: float, *words: str) -> bool:
        """Run a command, and kill it after some time; True where it was still at work."""
        environment = {**os.environ, "INTERLOCK_DATABASE": str(self.folder / "manager.db")}
        child = subprocess.Popen([PROGRAM, *words], env=environment, stdout=subprocess.DEVNULL)
        try:
            child.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return True

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def address(self, name: str) -> str:
        return state.load(self.lab.cache, self.hosts[name].name).address

    def key(self, name: str) -> str:
        return (Path(self.hosts[name].root) / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()

    def row(self, name: str, of: str = "", **more: object) -> dict[str, object]:
        identity = str(self.lab.cache.keys / "id_ed25519")
        return {"name": name, "address": self.address(of or name), "identity": identity, **more}

    def enrol(self, *rows: dict[str, object]) -> None:
        (self.folder / "hosts.json").write_text(json.dumps(rows))
        done = self.run("hosts", "import", str(self.folder / "hosts.json"))
        assert done.returncode == 0, done.stderr

"""One running host as a scenario sees it: from inside by ssh, from outside by its processes and its root directory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from interlock.boot.rescue_install import read_data
from interlock.errors import CommandTimedOut, InterlockError
from interlock.lab import groups, ssh, state, verbs
from interlock.lab.hosts import Lab
from interlock.system.run import Completed

# What `timeout` ends with where it had to kill its command (the second: newer ones); ssh where there is no connection.
TIMED_OUT = (124, 137)
NO_CONNECTION = 255
REBOOT_SECONDS = 60.0
RESCUE_SECONDS = 120.0
_MARK = "/run/interlock-lab-before-reboot"


@dataclass(frozen=True)
class HostHandle:
    """A host by its name. Every command has a time limit: on a wedged host any of them may hang."""

    lab: Lab
    name: str

    @property
    def root(self) -> Path:
        """Where this machine sees the host's root directory."""
        return self.lab.root_of(self.name)

    def run(self, argv: Sequence[str], seconds: float) -> Completed:
        """Run a command on the host; its status is one of TIMED_OUT where it had to be ended."""
        record = state.load(self.lab.cache, self.name)
        words = ["timeout", "--foreground", "-s", "KILL", f"{seconds:g}", *argv]
        try:
            return ssh.run_on(self.lab.cache, record, words, self.lab.runner, timeout=seconds + 10, check=False)
        except CommandTimedOut:
            return Completed(tuple(words), TIMED_OUT[0], "", "", seconds)

    def pids(self) -> list[int]:
        """Return the host's processes, as this machine numbers them."""
        return groups.members(self.lab.cache, self.name)

    def pid_inside(self, pid: int) -> Optional[int]:
        """Return how the host itself numbers a process."""
        try:
            text = (self.lab.proc.root / str(pid) / "status").read_text()
        except OSError:
            return None
        return next((int(line.split()[-1]) for line in text.splitlines() if line.startswith("NSpid:")), None)

    def switch_agent(self, agent: str, on: bool) -> None:
        """Start or stop an agent."""
        verbs.switch_agent(self.lab, self.name, agent, on)

    def reboot(self) -> Optional[float]:
        """Reboot as an administrator does; return the seconds until ssh answers again, or None."""
        begun = time.monotonic()
        self.run(["touch", _MARK], 10)
        self.run(["systemctl", "reboot"], 10)
        while time.monotonic() - begun < REBOOT_SECONDS:
            if self.run(["test", "!", "-e", _MARK], 10).status == 0:
                return time.monotonic() - begun
            time.sleep(0.2)
        return None

    def reset(self) -> Optional[float]:
        """Press the reset button; return the seconds until ssh answers again, or None.

        A container has no initramfs: the script that would run in it is run here, on the root of the host that is off.
        """
        begun = time.monotonic()
        verbs.power_cut(self.lab, self.name)
        self._rescue()
        try:
            verbs.boot(self.lab, self.name)
        except InterlockError:
            return None
        return time.monotonic() - begun

    def _rescue(self) -> None:
        with tempfile.TemporaryDirectory() as memory:
            script = Path(memory, "rescue.sh")
            script.write_text(read_data("rescue.sh"))
            self.lab.runner.run(["sh", str(script), str(self.root), memory], timeout=RESCUE_SECONDS, check=False)

    def describe_query(self, seconds: float) -> str:
        """Say what comes of one `rpm -qa`: it answers, fails, or hangs."""
        done = self.run(["rpm", "-qa"], seconds)
        if done.status in TIMED_OUT:
            return f"hangs (ended after {seconds:g} s)"
        if done.status == NO_CONNECTION and "error:" not in done.stderr:
            return "cannot be run: ssh does not let us in"
        if done.status != 0:
            return f"fails: {first_error(done.stderr)}"
        return f"answers: {sum(not is_key(line) for line in done.stdout.splitlines())} packages"


def is_key(package: str) -> bool:
    """Say whether an entry of a package database is a key, not a package."""
    return package.startswith("gpg-pubkey")


def first_error(text: str) -> str:
    """Return the line that says best what went wrong: Berkeley DB's own word, else the first error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for mark in ("DB_RUNRECOVERY", "PANIC", "error:", ""):
        found = next((line for line in lines if mark in line), None)
        if found:
            at = found.find("error:")
            return found[at + 6 :].strip() if at >= 0 else found
    return "it said nothing"

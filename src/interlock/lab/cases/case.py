"""What a case of the lab is, and what it is given to be made with."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from interlock.errors import InterlockError
from interlock.lab.handle import HostHandle
from interlock.lab.recipe import Recipe, build, make_depot
from interlock.lab.signing import ensure_key, sign
from interlock.system.run import Completed


class CaseNotMade(InterlockError):
    """The case {case} did not come about on {host}: {detail}."""

    hint = "Chance is part of some cases: try again, with another --seed."


@dataclass(frozen=True)
class Made:
    """What was made, for whoever checks the diagnosis: pids as the host numbers them, and paths.

    ``lasts`` is false where the case ends by itself after a while.
    """

    text: str
    pids: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[str] = ()
    packages: Sequence[str] = ()
    lasts: bool = True


@dataclass(frozen=True)
class Scene:
    """A fresh host, and the tools to make a case on it."""

    host: HostHandle
    work: Path
    random: random.Random

    def run(self, *words: str, seconds: float = 30.0) -> Completed:
        """Run a command on the host; it is ended at its limit (status 124 or 137)."""
        return self.host.run(list(words), seconds)

    def shell(self, text: str, seconds: float = 30.0) -> Completed:
        """Run a shell script on the host."""
        return self.run("sh", "-c", text, seconds=seconds)

    def must(self, text: str, seconds: float = 60.0) -> str:
        """Run a shell script on the host that has to succeed; return what it prints."""
        done = self.shell(text, seconds)
        if done.status != 0:
            raise self.failed(f"`{text}` ended with {done.status}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def start(self, unit: str, text: str, terminal: bool = False) -> None:
        """Start a shell script in a unit of its own; with ``terminal``, on a terminal of its own."""
        script = f"exec script -qec {shlex.quote(text)} /dev/null" if terminal else text
        words = ["systemd-run", "--quiet", f"--unit={unit}", "--property=KillMode=process", "--", "sh", "-c", script]
        done = self.run(*words)
        if done.status != 0:
            raise self.failed(f"unit {unit} could not be started: {done.stderr.strip()}")

    def wait(self, text: str, seconds: float = 30.0, what: str = "") -> str:
        """Run a shell script again and again until it succeeds; return what it printed then."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            done = self.shell(text, 10)
            if done.status == 0:
                return done.stdout.strip()
            time.sleep(0.1)
        raise self.failed(f"waited {seconds:g} s in vain for {what or text}")

    def pid(self, pattern: str) -> Optional[int]:
        """Return the oldest process of the host whose whole command matches, as the host numbers it."""
        done = self.run("pgrep", "-o", "-f", "--", pattern)
        return int(done.stdout) if done.status == 0 else None

    def packages(self, *recipes: Recipe) -> list[str]:
        """Build and sign packages, put them onto the host, and return their paths there."""
        target = self.host.root / "srv/case"
        made = build(recipes, target, self.work, self.host.lab.runner)
        sign(made, ensure_key(self.host.lab.cache.keys, self.host.lab.runner), self.host.lab.runner)
        return [f"/srv/case/{path.name}" for path in made]

    def depot(self, name: str, *recipes: Recipe) -> str:
        """Make a depot on the host and return its path there."""
        key = ensure_key(self.host.lab.cache.keys, self.host.lab.runner)
        make_depot(self.host.root / "srv" / name, recipes, self.work, self.host.lab.runner, key)
        return f"/srv/{name}"

    def failed(self, detail: str) -> CaseNotMade:
        """Return the error that says why the case did not come about."""
        return CaseNotMade(case="wanted", host=self.host.name, detail=detail)


@dataclass(frozen=True)
class LabCase:
    """How the lab makes one entry of the catalogue. ``options`` are what `doctor --cure` needs besides ``--yes``."""

    id: str
    release: str
    make: Callable[[Scene], Made]
    options: Sequence[str] = ()
    seconds: float = 15.0


def to_json(made: Made) -> dict[str, Any]:
    """Return what ``--json`` prints of a case that was made."""
    return {
        "text": made.text, "pids": dict(made.pids), "files": list(made.files), "packages": list(made.packages)
    }  # fmt: skip

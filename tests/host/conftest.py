"""Real hosts for tests: made by the lab, each with its own root directory, removed at the end."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from interlock.lab import ssh, state, verbs
from interlock.lab.cache import Cache, default_home
from interlock.lab.hosts import Lab
from interlock.lab.recipe import Recipe, make_depot
from interlock.lab.signing import SigningKey, ensure_key
from interlock.system.proc import ProcReader
from interlock.system.run import Completed, Runner

COUNTER = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """A running lab host."""

    lab: Lab
    name: str
    release: str

    @property
    def root(self) -> Path:
        return self.lab.root_of(self.name)

    def run(self, *words: str, timeout: float = 120.0, check: bool = True) -> Completed:
        """Run a command on the host, over ssh; with ``check``, its exit status must be 0."""
        record = state.load(self.lab.cache, self.name)
        argv = ["timeout", "-s", "KILL", str(timeout), *words]
        done = ssh.run_on(self.lab.cache, record, argv, self.lab.runner, timeout=timeout + 30, check=False)
        assert done.status == 0 or not check, f"{words}: {done.status}\n{done.stdout}\n{done.stderr}"
        return done

    def shell(self, text: str, timeout: float = 120.0, check: bool = True) -> Completed:
        return self.run("sh", "-c", text, timeout=timeout, check=check)

    def update(self, depot: str, *more: str, check: bool = False, **environment: str) -> Completed:
        """Run ``interlock update`` without asking."""
        words = ["env", *(f"{name}={value}" for name, value in environment.items())]
        return self.run(*words, "interlock", "update", "--depot", depot, "--yes", *more, check=check, timeout=300)

    def packages(self) -> list[str]:
        return sorted(self.run("rpm", "-qa", "--qf", "%{NEVRA}\n").stdout.split())

    def json(self, *words: str) -> Any:
        return json.loads(self.run("interlock", *words, "--json", check=False).stdout)

    def database(self) -> str:
        """Return a digest of the package database's main file, read without rpm."""
        for name in ("rpmdb.sqlite", "Packages.db", "Packages"):
            path = self.root / "var/lib/rpm" / name
            if path.exists():
                return hashlib.sha256(path.read_bytes()).hexdigest()
        raise AssertionError("no package database")

    def json_file(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())

    def journal(self) -> list[dict[str, Any]]:
        """Return the records of the last operation."""
        folders = sorted((self.root / "var/lib/interlock/operations").iterdir())
        return [json.loads(line) for line in (folders[-1] / "journal.jsonl").read_text().splitlines()]

    def json_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a file of the last operation."""
        folders = sorted((self.root / "var/lib/interlock/operations").iterdir())
        return [json.loads(line) for line in (folders[-1] / name).read_text().splitlines()]

    def states(self) -> list[str]:
        return [record["name"] for record in self.journal() if record["kind"] == "state"]

    def leftovers(self) -> list[str]:
        """Return shadows and old databases beside the database."""
        return sorted(path.name for path in (self.root / "var/lib").glob(".rpm.interlock-*"))


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Return the lab of this machine, its images made."""
    home = Cache(default_home(os.environ))
    found = Lab(home, Runner(), ProcReader(), dict(os.environ), lambda text: print(text, file=sys.stderr))
    verbs.build(found, [])
    return found


@pytest.fixture(scope="session")
def new_host(lab: Lab) -> Callable[..., Host]:
    """Return a function that boots a host; the caller removes it."""

    def make(release: str, *agents: str, filesystem: str = "btrfs") -> Host:
        name = f"test-{os.getpid()}-{next(COUNTER)}"
        verbs.up(lab, name, release, None, list(agents), filesystem=filesystem)
        return Host(lab, name, release)

    return make


@pytest.fixture
def host_of(lab: Lab, new_host: Callable[..., Host]) -> Iterator[Callable[..., Host]]:
    """Return a function that boots a host for one test."""
    made: list[Host] = []

    def make(release: str, *agents: str, filesystem: str = "btrfs") -> Host:
        made.append(new_host(release, *agents, filesystem=filesystem))
        return made[-1]

    yield make
    verbs.down(lab, [host.name for host in made], False)


@pytest.fixture(scope="session")
def lab_key(lab: Lab) -> SigningKey:
    """Return the key that every lab host trusts."""
    return ensure_key(lab.cache.keys, lab.runner)


@pytest.fixture
def depot_on(tmp_path: Path, lab_key: SigningKey) -> Callable[..., str]:
    """Return a function that makes a depot on a host and returns its path there."""

    def make(host: Host, recipes: Sequence[Recipe], key: SigningKey | None = lab_key) -> str:
        inside = f"/srv/test-depot-{next(COUNTER)}"
        folder = host.root / inside.lstrip("/")
        # The metadata is the lab's own: who signs a package is another question than who signs what is said of it.
        make_depot(folder, recipes, tmp_path / "work", host.lab.runner, key, metadata_key=lab_key)
        return inside

    return make

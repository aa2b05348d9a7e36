"""Random small upgrades in a storm, again and again, each checked from outside.

Only the upgrades are random here: which release, which of its twelve tools, to which versions. ``kills.py`` has kills.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
from pathlib import Path

from interlock.cli.lab import make_lab
from interlock.lab import evidence, releases, verbs
from interlock.lab.demo import operation_state
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab
from interlock.lab.recipe import index
from interlock.lab.signing import ensure_key

TOOLS = 12
LAST_VERSION = 9
FOLDER = "var/tmp/soak"
LIMIT = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description="random small upgrades under storm, on all releases")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed} (repeat with --seed {seed})", flush=True)
    return Soak(make_lab(), random.Random(seed)).run(options.rounds)


class Soak:
    """One host of each release, made anew when its tools have come to their last version."""

    def __init__(self, lab: Lab, chance: random.Random) -> None:
        self.lab, self.chance = lab, chance
        self.hosts: dict[str, HostHandle] = {}
        self.versions: dict[str, list[int]] = {}

    def run(self, rounds: int) -> int:
        for release in releases.NAMES:
            verbs.depot_paths(self.lab, f"{release}-updates-2..{LAST_VERSION}")
        failed = 0
        try:
            for number in range(1, rounds + 1):
                release = self.chance.choice(releases.NAMES)
                fault = self._round(release)
                failed += bool(fault)
                print(f"{number}/{rounds} {release}: {fault or 'ok'}", flush=True)
                if fault:
                    self._remove(release)
        finally:
            for release in list(self.hosts):
                self._remove(release)
        print(f"{rounds - failed} committed and as planned, {failed} not")
        return 1 if failed else 0

    def _remove(self, release: str) -> None:
        verbs.down(self.lab, [self.hosts.pop(release).name], everything=False)

    def _host(self, release: str) -> HostHandle:
        if release in self.hosts and min(self.versions[release]) >= LAST_VERSION:
            self._remove(release)
        if release not in self.hosts:
            name = f"bench-soak-{os.getpid()}-{release}"
            verbs.up(self.lab, name, release, None, ["storm"])
            self.hosts[release] = HostHandle(self.lab, name)
            self.versions[release] = [1] * TOOLS
        return self.hosts[release]

    def _round(self, release: str) -> str:
        """Upgrade some tools; return what is not as it should be."""
        host = self._host(release)
        versions = self.versions[release]
        left = [number for number in range(TOOLS) if versions[number] < LAST_VERSION]
        chosen = self.chance.sample(left, self.chance.randint(1, len(left)))
        target = {number: self.chance.randint(versions[number] + 1, LAST_VERSION) for number in chosen}
        before = evidence.database_state(host).packages
        mark = releases.find_release(release).mark
        gone = {_nevra(number, versions[number], mark) for number in chosen}
        expected = sorted((set(before) - gone) | {_nevra(number, target[number], mark) for number in chosen})
        self._make_depot(host, release, target)
        done = host.run(["interlock", "update", "--depot", f"/{FOLDER}", "--yes"], LIMIT)
        for number in chosen:
            versions[number] = target[number]
        state, after = operation_state(host), evidence.database_state(host)
        if done.status != 0 or state != "committed":
            return f"exit status {done.status}, {state}: {done.stderr.strip()[-300:]}"
        if after.problem or after.twice:
            return f"the database: {after.text}"
        wrong = set(expected) ^ set(after.packages)
        return f"not as planned: {', '.join(sorted(wrong))}" if wrong else ""

    def _make_depot(self, host: HostHandle, release: str, target: dict[int, int]) -> None:
        folder = host.root / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, version in target.items():
            source = self.lab.cache.depots / f"{release}-updates-{version}"
            shutil.copy(_package(source, number), folder)
        index(folder, self.lab.runner, ensure_key(self.lab.cache.keys, self.lab.runner))


def _package(depot: Path, number: int) -> Path:
    return next(depot.glob(f"lab-tool-{number + 1:02d}-*.rpm"))


def _nevra(number: int, version: int, mark: str) -> str:
    return f"lab-tool-{number + 1:02d}-{version}-{mark}.noarch"


if __name__ == "__main__":
    sys.exit(main())

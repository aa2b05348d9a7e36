"""Kills at random moments of small and whole-system upgrades; after recovery the whole tree is old or new.

Each round: a release (each on its own file system), a size, who dies (engine, worker, both, or the machine), and
when, by chance; the seed is printed. The kill comes from outside, at whatever instruction that hits. Then `interlock
resume`, and the whole tree is compared (content, mode, owner, links, times, attributes) with what it was; what was
committed is rolled back first, so that this is compared as well.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from interlock.cli.lab import make_lab
from interlock.lab import releases, verbs
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab
from interlock.lab.tree import Content, Seen, differences, tree

WHOLE = {"classic": "classic-current", "current": "current-next"}
FILESYSTEMS = {"classic": "ext4", "current": "btrfs", "next": "xfs"}
LIMIT = 180.0
# The exit status of ssh itself.
NO_SSH = 255
NOT_WHOLE = "Python is not whole"
# How long an upgrade takes here, in seconds, before one has been measured.
USUAL = {"small": 3.0, "whole": 10.0}
WHO = ("engine", "worker", "both", "machine")


def main() -> int:
    parser = argparse.ArgumentParser(description="kills at random moments, and what recovery makes of them")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="leave the first N rounds of this seed out")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed} (repeat with --seed {seed})", flush=True)
    kills = Kills(make_lab(), random.Random(seed))
    try:
        return kills.run(options.kills, options.after)
    finally:
        verbs.down(kills.lab, [host.name for host in kills.hosts.values()], everything=False)


@dataclass
class Kills:
    """One host of each release, which is as before after every round."""

    lab: Lab
    chance: random.Random
    hosts: dict[str, HostHandle] = field(default_factory=dict)
    trees: dict[str, dict[str, Seen]] = field(default_factory=dict)
    content: Content = field(default_factory=dict)
    lasts: dict[tuple[str, str], float] = field(default_factory=dict)

    def run(self, rounds: int, after: int = 0) -> int:
        outcomes: Counter[str] = Counter()
        for number in range(1, rounds + 1):
            release = self.chance.choice(releases.NAMES)
            size = self.chance.choice(["small", "small", "whole"]) if release in WHOLE else "small"
            who, when = self.chance.choice(WHO), self.chance.random()
            if number <= after:
                continue
            outcome = self._round(release, size, who, when)
            outcomes[outcome.partition(":")[0]] += 1
            print(f"{number}/{rounds} {release} {size}, {who} at {when:.3f}: {outcome}", flush=True)
        print(", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())))
        return 1 if set(outcomes) - {"old", "new", "old, by a reset", "new, by a reset"} else 0

    def _host(self, release: str) -> HostHandle:
        if release not in self.hosts:
            name = f"bench-kills-{os.getpid()}-{release}"
            verbs.up(self.lab, name, release, None, [], filesystem=FILESYSTEMS[release])
            self.hosts[release] = HostHandle(self.lab, name)
            self.trees[release] = tree(self.hosts[release].root, self.content)
        return self.hosts[release]

    def _round(self, release: str, size: str, who: str, when: float) -> str:
        """Upgrade, kill, recover; return ``old``, ``new``, or what is wrong."""
        host = self._host(release)
        depot = WHOLE[release] if size == "whole" else f"{release}-updates-2"
        host.run(
            ["sh", "-c", f"setsid interlock update --yes --depot /srv/depots/{depot} >/dev/null 2>&1 </dev/null &"], 10
        )
        engine = self._await_engine(host)
        started = time.monotonic()
        time.sleep(when * self.lasts.get((release, size), USUAL[size]))
        hit = self._kill(host, engine, who)
        if not hit:
            # It was quicker than the last one.
            self.lasts[release, size] = max(0.5, (time.monotonic() - started) * 0.8)
        self._await_end(host, started)
        return self._recovered(host, release)

    def _await_engine(self, host: HostHandle) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = [pid for pid in host.pids() if self._is_engine(pid)]
            if found:
                return min(found)
            time.sleep(0.02)
        raise SystemExit(f"no engine came on {host.name}")

    def _is_engine(self, pid: int) -> bool:
        """Say whether a process is an engine, or its worker, which is a fork of it."""
        try:
            words = (self.lab.proc.root / str(pid) / "cmdline").read_text().split("\0")
        except OSError:
            return False
        return words[1:2] != [] and words[1].endswith("/interlock") and words[2:3] == ["engine"]

    def _kill(self, host: HostHandle, standby: int, who: str) -> bool:
        """Kill from outside; False where there was nobody any more."""
        if who == "machine":
            return host.reset() is not None
        # The first process is the standby, its child the engine, and the engine's the worker.
        engines = self.lab.proc.children(standby)
        workers = [pid for engine in engines for pid in self.lab.proc.children(engine)]
        victims = {"engine": engines, "worker": workers, "both": [standby, *workers, *engines]}[who]
        hit = False
        for pid in victims:
            if self._is_engine(pid):
                os.kill(pid, signal.SIGKILL)
                hit = True
        return hit

    def _await_end(self, host: HostHandle, started: float) -> None:
        while time.monotonic() - started < LIMIT:
            if not any(map(self._is_engine, host.pids())):
                return
            time.sleep(0.1)

    def _recovered(self, host: HostHandle, release: str) -> str:
        done, how = host.run(["interlock", "resume"], LIMIT), ""
        if done.status == NO_SSH or NOT_WHOLE in done.stderr:
            # Half an sshd lets nobody in, half a Python starts nothing, and the standby was killed as well. There is
            # the reset button, and recovery at boot does the rest.
            host.reset()
            done, how = host.run(["interlock", "resume"], LIMIT), ", by a reset"
        if done.status != 0:
            verbs.down(self.lab, [self.hosts.pop(release).name], everything=False)
            return f"held: {(done.stdout + done.stderr).strip()[-300:]}"
        # What was committed is taken back; where nothing was, there is nothing to take back.
        back = host.run(["interlock", "rollback", "--yes"], LIMIT)
        wrong = differences(self.trees[release], tree(host.root, self.content))
        if wrong or back.status not in (0, 2):
            text = f"between: {'; '.join(wrong[:3])[:400]} {back.stderr.strip()[-200:]}"
            verbs.down(self.lab, [self.hosts.pop(release).name], everything=False)
            return text
        verified = host.run(["sh", "-c", "rpmdb --verifydb 2>&1 && rpm -qa | wc -l"], 60)
        return (
            f"{'new' if back.status == 0 else 'old'}{how}"
            if verified.status == 0
            else f"database: {verified.stdout[-200:]}"
        )


if __name__ == "__main__":
    sys.exit(main())

"""Times `interlock scan` on a lab host against a depot of 20,000 packages and 3,000 bulletins, beside dnf's answers.

.venv/bin/python bench/scan.py [--rounds N] [--packages N] [--bulletins N] [--release R]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from interlock.lab import verbs
from interlock.lab.handle import HostHandle
from interlock.lab.signing import ensure_key, sign_metadata
from interlock.package import Nevra
from kills import make_lab
from made_depot import make_metadata

SEED = 20261123
# What each is measured by: GNU time is not on every host, Python is.
TIMED = """
import os, resource, sys, time
begun = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", 1, 0)])
status = os.waitpid(pid, 0)[1]
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - begun, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""
DNF = ["dnf", "-q", "--setopt=reposdir=/nowhere", "--repofrompath=made,file:///srv/made", "--repo=made", "--nogpgcheck",
       "updateinfo", "list"]  # fmt: skip
OURS = ["interlock", "scan", "--depot", "/srv/made"]


def timed(host: HostHandle, words: list[str]) -> tuple[float, float]:
    """Return seconds and the largest memory in MiB of a command and its children, on the host."""
    done = host.run(["python3", "-c", TIMED, *words], 300)
    seconds, memory, status = done.stdout.split()
    if status != "0":
        raise SystemExit(f"{words[0]} ended with status {status}")
    return float(seconds), float(memory)


def measure(release: str, rounds: int, packages: int, bulletins: int) -> dict[str, dict[str, float]]:
    """Return the medians; every round of dnf begins without its cache, as every scan of ours does."""
    lab = make_lab()
    name = f"bench-scan-{os.getpid()}"
    verbs.up(lab, name, release, None, [])
    try:
        host = HostHandle(lab, name)
        query = host.run(["rpm", "-qa", "--qf", "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\\n"], 60).stdout
        installed = [Nevra.parse(line) for line in query.splitlines() if not line.startswith("gpg-pubkey")]
        folder = Path(host.root) / "srv/made"
        make_metadata(folder, installed, packages, bulletins, SEED)
        sign_metadata(folder, ensure_key(lab.cache.keys, lab.runner), lab.runner)
        found: dict[str, list[tuple[float, float]]] = {"interlock": [], "dnf": []}
        for _ in range(rounds):
            found["interlock"].append(timed(host, OURS))
            host.run(["sh", "-c", "rm -rf /var/cache/dnf"], 60)
            found["dnf"].append(timed(host, DNF))
    finally:
        verbs.down(lab, [name], False)
    return {who: {"seconds": statistics.median(one for one, _ in rows), "MiB": max(one for _, one in rows)}
            for who, rows in found.items()}  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packages", type=int, default=20_000)
    parser.add_argument("--bulletins", type=int, default=3_000)
    parser.add_argument("--release", default="current")
    options = parser.parse_args()
    rows = measure(options.release, options.rounds, options.packages, options.bulletins)
    rows["ratio"] = {"seconds": rows["interlock"]["seconds"] / rows["dnf"]["seconds"]}
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

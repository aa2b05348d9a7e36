"""Power cuts at random and inside glibc's own replacement, each in a virtual machine whose disk loses its cache.

Every cut is one whole-system upgrade (classic to current) that is killed, and one boot with the initramfs and systemd;
afterwards every file must be as before, or the upgrade complete.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/vm"))

from machine import MAKERS
from power import PowerCuts, inside_glibc, power_cuts

# How long the part between the point of no return and the commit takes on a quiet machine, in seconds.
SPAN = 75.0
INSIDE = (0.0, 0.25, 0.5, 0.75, 0.9)


def main() -> int:
    parser = argparse.ArgumentParser(description="power cuts in the middle of a whole-system upgrade")
    parser.add_argument("--cuts", type=int, default=10, help="how many, every third inside glibc (default: 10)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--maker", choices=sorted(MAKERS), default="initramfs-tools", help="what makes the initramfs")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed} (repeat with --seed {seed})", flush=True)
    with tempfile.TemporaryDirectory(prefix="interlock-power-") as folder:
        return run(power_cuts(Path(folder) / "machine", options.maker), random.Random(seed), options.cuts)


def run(cuts: PowerCuts, chance: random.Random, number: int) -> int:
    failed = 0
    for one in range(1, number + 1):
        inside = one % 3 == 0
        delay = 0.0 if inside else chance.uniform(0.0, SPAN)
        done = cuts.run(inside_glibc(chance.choice(INSIDE)) if inside else begun, chance.randrange(1 << 32), delay)
        failed += done.state == "between"
        print(f"{one}/{number} {'inside glibc' if inside else f'{delay:.1f} s after the begin'}: {done}", flush=True)
        for line in done.differences[:20]:
            print(f"    {line}", flush=True)
    return 1 if failed else 0


def begun(line: str) -> bool:
    """Say whether the point of no return has just been passed."""
    return line.lstrip().startswith("applying")


if __name__ == "__main__":
    sys.exit(main())

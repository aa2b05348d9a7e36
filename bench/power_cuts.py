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

from machine import MAKERS, Cut
from power import PowerCuts, inside_glibc, power_cuts

# Lines of the console between the first package and the end: packages, removals, states.
LINES = 470
INSIDE = (0.0, 0.25, 0.5, 0.75, 1.0)


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
        cut = inside_glibc(chance.choice(INSIDE)) if inside else after_lines(chance.randrange(LINES))
        done = cuts.run(cut, chance.randrange(1 << 32), chance.random())
        failed += done.state == "between"
        print(f"{one}/{number} {'inside glibc' if inside else 'at random'}: {done}", flush=True)
        for line in done.differences[:20]:
            print(f"    {line}", flush=True)
    return 1 if failed else 0


def after_lines(number: int) -> Cut:
    """Cut after so many lines that follow the point of no return, or at the end of the upgrade."""
    left = [-1]

    def cut(line: str) -> bool:
        if line.lstrip().startswith("applying"):
            left[0] = number
        elif left[0] >= 0 and "POWER glibc" not in line:
            left[0] -= 1
        return "POWER ended" in line or left[0] == 0

    return cut


if __name__ == "__main__":
    sys.exit(main())

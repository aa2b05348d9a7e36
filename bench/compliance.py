"""Times the compliance of a large fleet on one core: hosts with distinct package sets against a large depot.

.venv/bin/python bench/compliance.py [--hosts N] [--sets N] [--set-size N] [--packages N] [--bulletins N]

Beside it, in the same run: the same states by looking at one host after the other, for some of the sets.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from dataclasses import replace

from interlock.depot.bulletin import Bulletin, bulletin_states
from interlock.depot.metadata import DepotPackage
from interlock.depot.repository import Depot
from interlock.manager.baselines import Baseline
from interlock.manager.compliance import Evaluator
from interlock.manager.inventory import Entry, Known
from interlock.manager.measure import measured_by
from interlock.package import Evr, Nevra, Package

SEED = 20261123
ONE_BY_ONE = 20


def made(options: argparse.Namespace, chance: random.Random) -> tuple[Depot, dict[int, str], dict[int, list[int]]]:
    """Make a depot, all NEVRAs that hosts have, and the sets: versions before, at and after the depot's."""
    offered = [Nevra(f"p{number:05d}", Evr(0, f"2.{number % 9}", "1"), "x86_64") for number in range(options.packages)]
    bulletins = tuple(
        Bulletin(f"B-{number}", severity=chance.choice(["Critical", "Important", "Low"]), category="security",
                 issued="2026-01-01", packages=tuple(chance.sample(offered, chance.randint(1, 8))))
        for number in range(options.bulletins)
    )  # fmt: skip
    packages = tuple(DepotPackage(Package(one), "x.rpm", "sha256", "0" * 64, 1) for one in offered)
    versions = [
        replace(one, evr=Evr(0, version, "1")) for one in offered for version in ("1.0", one.evr.version, "3.0")
    ]
    nevras = {number: str(one) for number, one in enumerate(versions)}
    every = range(options.packages)
    sets = {
        number: [3 * one + chance.choice((0, 0, 1, 2)) for one in chance.sample(every, options.set_size)]
        for number in range(options.sets)
    }
    return Depot("/made", packages=packages, bulletins=bulletins), nevras, sets


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (
        ("hosts", 100_000),
        ("sets", 1000),
        ("set-size", 700),
        ("packages", 20_000),
        ("bulletins", 3000),
    ):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    depot, nevras, sets = made(options, random.Random(SEED))
    hosts = [Known(number, Entry(f"h{number}"), "reachable", package_set=number % options.sets)
             for number in range(options.hosts)]  # fmt: skip
    baseline = Baseline("critical", "dynamic", "/made", severity=("Critical", "Important"))
    begun = time.process_time()
    evaluator = Evaluator(depot, nevras)
    found = measured_by(hosts, baseline, evaluator, sets)
    first = time.process_time() - begun
    begun = time.process_time()
    taken_back = replace(depot.bulletins[0], recalled=True)
    measured_by(hosts, baseline, evaluator.changed((taken_back, *depot.bulletins[1:])), sets)
    again = time.process_time() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.process_time()
    for number in range(ONE_BY_ONE):
        bulletin_states(depot, [Package(Nevra.parse(nevras[one])) for one in sets[number]])
    alone = (time.process_time() - begun) / ONE_BY_ONE * options.sets
    print(json.dumps({
        "hosts": len(found), "non-compliant": sum(one.state == "non-compliant" for one in found),
        "seconds": round(first, 2), "seconds after a recall": round(again, 2), "MiB": round(memory),
        "ratio to one set after the other": round(first / alone, 3),
    }, indent=1))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())

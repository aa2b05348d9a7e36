"""Rolls out over simulated hosts with faults: the real workflows, the real database, and what they cost.

.venv/bin/python bench/fleet.py [--hosts N] [--faults SHARE] [--at-a-time N] [--database URL]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from interlock.manager import inventory, rollouts, workflows
from interlock.manager.inventory import Entry
from interlock.manager.rollouts import Spec
from interlock.manager.scan import Scanner
from interlock.manager.simulated import SimulatedFleet
from interlock.manager.store import open_store
from interlock.manager.waves import Amount, cut

SEED = 20261123


def main() -> int:
    """Measure and print; status 1 where a host did not come to what it has to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--at-a-time", type=int, default=100)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="interlock-bench-fleet-") as folder:
        print(json.dumps(measure(options, Path(folder)), indent=1))
    return 0


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Roll out, and return what came of it."""
    engine = open_store(options.database or f"sqlite:///{folder / 'manager.db'}")
    hosts = [f"h{number:06d}" for number in range(options.hosts)]
    inventory.bring(engine, [Entry(name) for name in hosts])
    fleet = SimulatedFleet(SEED, share=options.faults, seconds=1.0, delay=0.005, file=str(folder / "fleet.db"))
    context = workflows.Context(engine, b"program", Scanner(fleet.connect, b"program", lambda: 0.0), 0.5, 0.5)
    workflows.launch(context, options.database or f"sqlite:///{folder / 'engine.db'}", "bench", options.at_a_time)
    spec = Spec("bench", "/depot", cut(hosts, 1, Amount.parse("100%")), health="true", budget="100%", patience=5.0)
    rollouts.create(engine, spec, time.time())
    threads, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            threads[0] = max(threads[0], threading.active_count())

    threading.Thread(target=watch, daemon=True).start()
    begun, used = time.monotonic(), time.process_time()
    workflows.begin("bench").get_result(polling_interval_sec=0.2)
    seconds, used = time.monotonic() - begun, time.process_time() - used
    stop.set()
    rows = rollouts.standing(engine, "bench").hosts
    wrong = [str(one["host"]) for one in rows if one["outcome"] != fleet.expected(str(one["host"]))]
    twice = [name for name in hosts if fleet.upgrades(name) > 1]
    workflows.end()
    return {
        "hosts": len(hosts), "outcomes": Counter(str(one["outcome"]) for one in rows), "wrong": wrong[:5],
        "twice": twice,
        "seconds": round(seconds, 1), "hosts a second": round(len(hosts) / seconds, 1),
        "processor seconds": round(used, 1), "most threads": threads[0],
        "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

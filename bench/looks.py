"""How long one look takes on a machine with 2,000 processes: `interlock locks`, beside `fuser FILE` and `lsof FILE`.

The three run in turn, who is first changes each round, and each is timed from its start to its end, the start of the
interpreter included. What is compared is their processor time and their wall time in the same round, so that what
else the machine does meets all three. Memory is the peak of `interlock locks`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROCESSES = 2000
ROUNDS = 15
HALF, FIFTH, MEMORY_MIB = 0.5, 0.2, 60.0
PROGRAM = Path(sys.executable).parent / "interlock"


class Run(NamedTuple):
    """One run of a program: seconds on the wall, seconds of a processor, and the peak of its memory in MiB."""

    wall: float
    processor: float
    memory: float


@contextmanager
def sleepers(wanted: int) -> Iterator[int]:
    """Fill the machine up to a number of processes; they end with this block."""
    have = sum(name.isdigit() for name in os.listdir("/proc"))
    program = shutil.which("sleep") or "/bin/sleep"
    made = [os.posix_spawn(program, ["sleep", "100000"], os.environ) for _ in range(max(0, wanted - have))]
    try:
        yield sum(name.isdigit() for name in os.listdir("/proc"))
    finally:
        for pid in made:
            os.kill(pid, signal.SIGKILL)
        for pid in made:
            os.waitpid(pid, 0)


def run(argv: Sequence[str]) -> Run:
    """Run a program to its end; what it prints is thrown away."""
    begun = time.perf_counter()
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = 0
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(programs: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
    """Run all programs in turn, and each round begin with another."""
    found: dict[str, list[Run]] = {name: [] for name in programs}
    names = list(programs)
    for name in names:
        run(programs[name])
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(run(programs[name]))
    return found


def ratio(found: dict[str, list[Run]], other: str) -> float:
    """Return the median of our time against another's in the same round."""
    return statistics.median(ours.wall / theirs.wall for ours, theirs in zip(found["interlock"], found[other]))


def main() -> int:
    parser = argparse.ArgumentParser(description="one look, beside fuser and lsof")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--program", nargs="+", default=[str(PROGRAM)], help="how interlock is started")
    parser.add_argument("--root", metavar="DIR", help="look at this container from outside")
    parser.add_argument("--out", metavar="FILE", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    for name in ("fuser", "lsof"):
        if shutil.which(name) is None:
            print(f"{name} is not installed: nothing to compare with (Debian: psmisc, lsof)", file=sys.stderr)
            return 2
    with tempfile.NamedTemporaryFile() as file, sleepers(options.processes) as number:
        where = ["--root", options.root] if options.root else []
        programs = {
            "fuser": ["fuser", file.name], "lsof": ["lsof", file.name],
            "interlock": [*options.program, "locks", *where],
        }  # fmt: skip
        found = measure(programs, options.rounds)
    return report(found, number, options.out)


def report(found: dict[str, list[Run]], number: int, out: Path | None) -> int:
    """Print what was measured; return 0 where it is as fast and as small as it should be."""
    print(f"{number} processes, {len(found['interlock'])} rounds; median (least) of each")
    for name, runs in found.items():
        wall, used = [one.wall * 1000 for one in runs], [one.processor * 1000 for one in runs]
        print(
            f"  {name:10} {statistics.median(wall):6.0f} ms ({min(wall):.0f}), processor "
            f"{statistics.median(used):.0f} ms, {max(one.memory for one in runs):.0f} MiB"
        )
    half, fifth, memory = ratio(found, "fuser"), ratio(found, "lsof"), max(one.memory for one in found["interlock"])
    good = half <= HALF and fifth <= FIFTH and memory < MEMORY_MIB
    print(f"  interlock / fuser {half:.2f} (at most {HALF}), / lsof {fifth:.2f} (at most {FIFTH}): "
          f"{'good' if good else 'TOO SLOW OR TOO BIG'}")  # fmt: skip
    if out:
        row = {"processes": number, "fuser": half, "lsof": fifth, "memory": memory,
               "runs": {name: [one._asdict() for one in runs] for name, runs in found.items()}}  # fmt: skip
        out.write_text(json.dumps(row, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long going back takes, beside the upgrade that is taken back, and how large the undo store is.

A whole system is upgraded and rolled back on a fresh host, both timed on the host from the command's start to its end.
The store's own size is what it takes beside the old files, which it only keeps from going away: copies and lists.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchhost import fresh_host, load_average, make_lab, say, timed, update_command, warm
from interlock.lab import disks
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab

WAYS = (("classic", "classic-current"), ("current", "current-next"))


@dataclass
class Way:
    """The figures of one way there and back: seconds, and MiB."""

    depot: str
    filesystem: str
    upgrade: list[float] = field(default_factory=list)
    rollback: list[float] = field(default_factory=list)
    kept: float = 0.0
    own: float = 0.0

    def row(self) -> str:
        there, back = statistics.median(self.upgrade), statistics.median(self.rollback)
        return (
            f"| `{self.depot}` | {self.filesystem} | {there:.2f} | {back:.2f} | **{100 * back / there:.0f} %** "
            f"| {self.kept:.0f} | {self.own:.1f} ({100 * self.own / self.kept:.1f} %) |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="rollbacks, beside the upgrades that they take back")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filesystem", choices=disks.NAMES, action="append")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"load average: {load_average() or 0:.2f}")
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as work:
        lab = make_lab(Path(work))
        ways = [
            _measure(lab, release, Way(depot, filesystem), options.rounds)
            for filesystem in options.filesystem or disks.NAMES
            for release, depot in WAYS
        ]
    print(table(ways))
    if options.json:
        options.json.write_text(json.dumps([asdict(way) for way in ways], indent=1) + "\n")
    return 0


def table(ways: Sequence[Way]) -> str:
    head = (
        "| whole system | file system | upgrade, s | rollback, s | share | old files, MiB | the store itself, MiB |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    return "\n".join([head, *(way.row() for way in ways)])


def _measure(lab: Lab, release: str, way: Way, rounds: int) -> Way:
    warm(lab, way.depot)
    for number in range(rounds):
        with fresh_host(lab, release, filesystem=way.filesystem) as host:
            there = timed(host, update_command(way.depot))
            _weigh(host, way)
            back = timed(host, "interlock rollback --yes")
        if there.status or back.status:
            raise SystemExit(f"{way.depot} on {way.filesystem}: {there.said} {back.said}")
        way.upgrade.append(round(there.seconds, 3))
        way.rollback.append(round(back.seconds, 3))
        say(f"{way.depot} on {way.filesystem}, round {number + 1}: {there.seconds:.2f} s, back {back.seconds:.2f} s")
    return way


def _weigh(host: HostHandle, way: Way) -> None:
    store = next((host.root / "var/lib/interlock/undo").iterdir())
    events = next((host.root / "var/lib/interlock/operations").iterdir()) / "events.jsonl"
    kept = next(row for row in map(json.loads, events.read_text().splitlines()) if row["type"] == "undo.kept")
    lists = sum(path.stat().st_size for path in store.iterdir() if path.is_file())
    way.kept = sum(path.lstat().st_size for path in (store / "files").rglob("*") if path.is_file()) / (1 << 20)
    way.own = (kept["bytes"] + lists) / (1 << 20)


if __name__ == "__main__":
    sys.exit(main())

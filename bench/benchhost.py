"""Fresh hosts for measurements, and commands timed on them.

Times are taken on the host itself, around the command, so that neither the connection nor our own waiting is in them.
What else the machine did meanwhile is measured too: a figure taken beside other work can be seen, and repeated.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from interlock.lab import groups, verbs
from interlock.lab.cache import Cache, default_home
from interlock.lab.handle import TIMED_OUT, HostHandle
from interlock.lab.hosts import Lab
from interlock.system.proc import ProcReader
from interlock.system.run import Runner
from interlock.system.zipapp import find_zipapp

DEPOTS = "/srv/depots"
LONG_LIMIT = 400.0
# More than this many cores kept busy by others, and a run is not begun, or taken again.
QUIET_CORES = 0.35
PATIENCE_SECONDS = 90.0
_NUMBERS = itertools.count(1)
_TICKS = os.sysconf("SC_CLK_TCK")
_MARK = "bench-times"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_lab(work: Path) -> Lab:
    """Return this machine's lab; all hosts of a run get the same build, whoever rebuilds it meanwhile."""
    environment = dict(os.environ)
    built = find_zipapp(environment)
    if built is None:
        raise SystemExit("there is no build/interlock.pyz: `make setup` makes it")
    environment["INTERLOCK_ZIPAPP"] = str(shutil.copy(built, work / "interlock.pyz"))
    lab = Lab(Cache(default_home(os.environ)), Runner(), ProcReader(), environment, say)
    verbs.build(lab, [])
    return lab


@contextmanager
def fresh_host(lab: Lab, release: str, *agents: str, filesystem: str = "btrfs") -> Iterator[HostHandle]:
    """Boot a host, wait until its boot is over, and take it down at once after use."""
    _wait_until_quiet()
    name = f"bench-{os.getpid()}-{next(_NUMBERS)}"
    verbs.up(lab, name, release, None, list(agents), filesystem=filesystem)
    try:
        host = HostHandle(lab, name)
        host.run(["systemctl", "is-system-running", "--wait"], 30)
        lab.runner.run(["sync"], timeout=120)
        time.sleep(0.5)
        yield host
    finally:
        verbs.down(lab, [name], False)


def _wait_until_quiet() -> None:
    """Wait, but not for ever, until others leave the machine alone."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        before = _machine_seconds()
        time.sleep(1.0)
        if _machine_seconds() - before < QUIET_CORES:
            return


def warm(lab: Lab, depot: str) -> None:
    """Read a depot once, so that the first to be measured does not pay for the disk."""
    for folder in verbs.depot_paths(lab, depot):
        for path in folder.glob("*.rpm"):
            path.read_bytes()


@dataclass(frozen=True)
class Timed:
    """One command. ``begin`` and ``end`` are seconds since the epoch; ``foreign``: how many cores others kept busy."""

    command: str
    status: int
    begin: float
    end: float
    foreign: float
    said: str

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def hung(self) -> bool:
        return self.status in TIMED_OUT


def timed(host: HostHandle, command: str, limit: float = LONG_LIMIT) -> Timed:
    """Run a shell command on the host, killed with all its children after the limit."""
    ended = f"timeout -s KILL {limit:g} bash -c {shlex.quote(command)}"
    script = f'begin=$EPOCHREALTIME; {ended}; status=$?; echo; echo "{_MARK} $begin $EPOCHREALTIME $status"'
    before = _busy(host)
    done = host.run(["bash", "-c", script], limit + 20)
    after = _busy(host)
    times = next((line.split() for line in done.stdout.splitlines() if line.startswith(_MARK)), None)
    if times is None:
        now = time.time()
        return Timed(command, TIMED_OUT[0], now - limit, now, 0.0, done.stderr[-200:])
    foreign = ((after[1] - before[1]) - (after[2] - before[2])) / (after[0] - before[0])
    said = "" if times[3] == "0" else (done.stderr.strip() or done.stdout)[-300:]
    return Timed(command, int(times[3]), float(times[1]), float(times[2]), round(max(foreign, 0.0), 2), said)


def update_command(depot: str, options: Sequence[str] = ()) -> str:
    return shlex.join(["interlock", "update", "--depot", f"{DEPOTS}/{depot}", "--yes", *options])


def plain_command(depot: str) -> str:
    return f"rpm -Uvh {DEPOTS}/{depot}/*.rpm"


def _busy(host: HostHandle) -> tuple[float, float, float]:
    """Return now, the processor seconds of the whole machine, and those of the host."""
    return time.monotonic(), _machine_seconds(), _host_seconds(host)


def _machine_seconds() -> float:
    words = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, words[1:9])
    return (user + nice + system + irq + soft + steal) / _TICKS


def _host_seconds(host: HostHandle) -> float:
    mount = groups.find_mount()
    if mount is None:
        return 0.0
    text = (mount / groups.folder_name(host.lab.cache) / host.name / "cpu.stat").read_text()
    return int(text.split()[1]) / 1e6


def machine_facts(lab: Lab) -> Mapping[str, str]:
    """Return what a reader needs to compare figures with those of another machine."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    kind = lab.runner.run(["stat", "-f", "-c", "%T", str(lab.cache.mount)]).stdout.strip()
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{int(memory.split()[1]) / (1 << 20):.0f} GiB",
        "kernel": os.uname().release,
        "file system": f"{kind}, in a file behind a loop device",
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def _processor() -> str:
    rows = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return rows[0].partition(":")[2].strip() if rows else os.uname().machine


def load_average() -> Optional[float]:
    return os.getloadavg()[0]

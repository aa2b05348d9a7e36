"""The reboot guard: while a host is between two states, no ordinary way to reboot it works, and each says why.

Before systemd 257 an inhibitor does not bind root, and a masked target says no more than that it is masked. So what
every way ends in (``reboot``, ``shutdown``, ``init 6``, logind's calls, the power button, ctrl-alt-del) is overridden
for this boot: the targets and services that end it become units of ours that refuse to be started, that cannot start
where nobody is asked (a signal to PID 1, a unit's ``FailureAction=``), and that pull nothing in. That needs no program:
PID 1 refuses by itself, whatever happens to the C library. `guard_units` has the units, some of which only explain.

Layout and order: ``/var/lib/interlock/dirty.json`` is the marker that outlives a crash and that only proof removes. It
is durable before the first unit is there, and it goes before the units go. ``/run/initctl``, the pipe of the old way,
is set aside, so that ``reboot`` does not end with status 0 after it was refused. The units are in
``/run/systemd/system.control``, which comes before ``/etc``, so that an administrator's own ``reboot.target`` changes
nothing; they end with the boot, and `raise_again` brings them back. ``reboot -f``, ``systemctl --force``, the signals
SIGRTMIN+13 to +17 and sysrq ask nobody: the rescue is there for these.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from typing import Optional

from interlock.boot.guard_units import EXPLAINERS, FIFO, FIFO_KEPT, REFUSED_WRITES, is_ours, links_and_units
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.host.hold import FOREIGN, read_hold
from interlock.host.paths import Paths
from interlock.system import durable

LOG = logging.getLogger("interlock.guard")
LIMIT = 60.0


@dataclass(frozen=True)
class Dirty:
    """Why this host must not be rebooted. ``at`` is in seconds since the epoch; ``boot`` the boot it began in."""

    operation: str
    reason: str
    at: float
    boot: str


def raise_guard(host: Host, operation: str, reason: str) -> None:
    """Refuse reboots from now on, and mark the host durably. Doing it again changes the reason.

    Raises CommandFailed or CommandTimedOut where systemd does not take the units; the marker stays.
    """
    marker = Dirty(operation, " ".join(reason.split()), host.clock.now(), host.proc.boot_id())
    durable.write_file(host.paths.dirty, json.dumps(asdict(marker), indent=1) + "\n")
    _put_units(host, marker)


def raise_again(host: Host) -> None:
    """Put back what refuses where the marker is there: after a boot, or after somebody removed it."""
    marker = read_dirty(host.paths)
    if marker is not None:
        _put_units(host, marker)


def lower_guard(host: Host, reload: bool = True) -> None:
    """Allow reboots again: the host has been proven. Harmless where no guard is up.

    Without ``reload`` systemd learns of it when somebody else makes it read its units anew.
    Not where something else than Interlock has half upgraded the host: an operation that mends this, or fails to, has
    proven less than that the host is whole.
    """
    hold = read_hold(host.paths)
    if hold is not None and hold.operation == FOREIGN:
        raise_guard(host, FOREIGN, hold.reason)
        return
    for path in (host.paths.dirty, *durable.half_written(host.paths.dirty)):
        durable.remove_file(path)
    clear_units(host, reload)


def read_dirty(paths: Paths) -> Optional[Dirty]:
    """Return the marker; an unreadable one counts as one: unknown never is allowed."""
    try:
        with open(paths.dirty, encoding="utf-8") as stream:
            return Dirty(**json.load(stream))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        return Dirty("unknown", f"{paths.dirty} cannot be read: {error}", 0.0, "")


def our_units(host: Host) -> list[str]:
    """Return the paths of this boot that are the guard's."""
    folder = units_folder(host)
    links, units = links_and_units("")
    paths = [os.path.join(folder, name) for name in (*links, *units)]
    # An engine that was killed while it wrote one has left a part of it.
    halves = [half for path in paths for half in durable.half_written(path)]
    return [path for path in paths if is_ours(path)] + halves


def units_folder(host: Host) -> str:
    """Return where the units go: before the administrator's own, and gone with the boot."""
    return f"{host.paths.systemd}.control"


def clear_units(host: Host, reload: bool = True) -> None:
    """Remove the units. Where systemd does not answer it goes on refusing, which is the safe side, and we say so."""
    _give_fifo_back(host)
    found = our_units(host)
    if not found:
        return
    _systemctl(host, "stop", "--no-block", *EXPLAINERS)
    for path in found:
        durable.remove_file(path)
    if reload:
        _systemctl(host, "daemon-reload")


def _put_units(host: Host, marker: Dirty) -> None:
    if not os.path.isdir(host.paths.systemd):
        return
    folder = units_folder(host)
    os.makedirs(folder, exist_ok=True)
    links, units = links_and_units(marker.reason)
    for name, text in units.items():
        durable.write_file(os.path.join(folder, name), text)
    for name, target in links.items():
        _link(target, os.path.join(folder, name))
    host.runner.run(["systemctl", "daemon-reload"], timeout=LIMIT)
    _systemctl(host, "start", "--no-block", *EXPLAINERS)
    _take_fifo(host)


def _link(target: str, path: str) -> None:
    temporary = f"{path}.tmp{os.getpid()}"
    durable.remove_file(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)


def _systemctl(host: Host, *words: str) -> None:
    """Do what only explains, or only allows: no reason to fail for."""
    try:
        done = host.runner.run(["systemctl", *words], timeout=LIMIT, check=False)
        problem = done.stderr.strip() if done.status else ""
    except InterlockError as error:
        problem = str(error)
    if problem:
        LOG.warning("systemctl %s: %s", words[0], problem)


def _take_fifo(host: Host) -> None:
    """Let `reboot` and its like fail where they would ask the old way, and be told that they succeeded."""
    fifo, kept = (os.path.join(host.paths.root, name) for name in (FIFO, FIFO_KEPT))
    if os.path.lexists(fifo) and not os.path.islink(fifo):
        os.rename(fifo, kept)
        _link(REFUSED_WRITES, fifo)


def _give_fifo_back(host: Host) -> None:
    fifo, kept = (os.path.join(host.paths.root, name) for name in (FIFO, FIFO_KEPT))
    for half in durable.half_written(fifo):
        durable.remove_file(half)
    if not os.path.lexists(kept):
        return
    if os.path.islink(fifo) or not os.path.lexists(fifo):
        os.rename(kept, fifo)
    else:
        # Its unit was started anew meanwhile, and has made another one.
        durable.remove_file(kept)

"""May this host be rebooted? Everything that speaks against it, in one verdict; and the reboot itself."""

from __future__ import annotations

import os
from collections.abc import Sequence

from interlock.boot.check import check_boot
from interlock.boot.guard import clear_units, our_units, read_dirty
from interlock.boot.verdict import Reason, Verdict
from interlock.errors import InterlockError, Refused
from interlock.host.context import Host
from interlock.host.hold import left_by, read_hold
from interlock.host.lease import current_owner

LIMIT = 60.0


class RebootRefused(Refused):
    """This host must not be rebooted: {reasons}."""

    hint = "{advice}"


class NotUnderSystemd(Refused):
    """systemd is not in charge of this host ({folder} is not there), so nothing would refuse a reboot, or do one."""

    hint = "`interlock guard` gives the verdict; reboot by the means of what is in charge."


def verdict(host: Host, more: Sequence[Reason] = ()) -> Verdict:
    """Return all reasons against a reboot: what others know (``more``), what is under way, then the boot check's."""
    found = check(host)
    return Verdict((*states(host), *more, *found.reasons), found.looked_at)


def states(host: Host) -> tuple[Reason, ...]:
    """Return what the host's own state says against a reboot: quick, no look at what would be booted."""
    return tuple(reason for find in (_running, _between, _held) for reason in find(host))


def check(host: Host) -> Verdict:
    """Return the boot check's verdict; a check that cannot be made denies, for unknown never is allowed."""
    try:
        return check_boot(host)
    except (InterlockError, OSError, ValueError) as error:
        advice = "Mend what it names and run `interlock guard` again."
        return Verdict((Reason("boot-check-failed", "the boot check", f"could not be made: {error}", advice),))


def _running(host: Host) -> list[Reason]:
    owner = current_owner(host.paths)
    if owner is None:
        return []
    advice = "Wait until it ends: `interlock status --follow`."
    return [Reason("operation-running", f"operation {owner.operation}", f"runs (pid {owner.pid})", advice)]


def _between(host: Host) -> list[Reason]:
    dirty = read_dirty(host.paths)
    if dirty is None:
        return []
    advice = (
        "While it runs, wait for its end; where it was cut off, run `interlock resume`, which finishes or undoes it."
    )
    detail = f"has not ended: {dirty.reason}"
    return [Reason("between-two-states", left_by(dirty.operation), detail, advice)]


def _held(host: Host) -> list[Reason]:
    hold = read_hold(host.paths)
    if hold is None:
        return []
    advice = "Run `interlock status`, then `interlock resume`."
    return [Reason("on-hold", hold.by, f"left the host on hold: {hold.reason}", advice)]


def refuse(found: Verdict) -> None:
    """Raise RebootRefused with all reasons where a verdict denies."""
    if not found.allowed:
        said = "; ".join(f"{one.subject} {one.detail}".rstrip(".") for one in found.reasons)
        advice = " ".join(dict.fromkeys(one.advice for one in found.reasons))
        raise RebootRefused(reasons=said, advice=advice)


def reboot(host: Host) -> None:
    """Reboot by systemd; what a guard left behind is taken away. RebootRefused where a marker says otherwise.

    The caller has the verdict and the host's lease, so that no operation begins between the two.
    """
    refuse(Verdict((*_between(host), *_held(host))))
    if not os.path.isdir(host.paths.systemd):
        raise NotUnderSystemd(folder=host.paths.systemd)
    if our_units(host):
        clear_units(host)
    host.runner.run(["systemctl", "reboot"], timeout=LIMIT)

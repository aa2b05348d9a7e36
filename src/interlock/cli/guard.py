"""The verbs about ending a boot: ``guard`` says whether it is allowed, ``reboot`` does it when it is."""

from __future__ import annotations

import argparse
import os
from typing import Any, Optional

from interlock.boot.reboot import reboot, refuse, verdict
from interlock.boot.verdict import Reason, Verdict
from interlock.cli.output import consent, print_json, say
from interlock.errors import ExitStatus, Refused
from interlock.host.context import Host, this_host
from interlock.host.lease import Lease
from interlock.upgrade.settle import interrupted

DEPTHS = ("container", "qemu")


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    guard = subparsers.add_parser("guard", help="whether this host may be rebooted, and why not")
    guard.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    guard.set_defaults(func=run_guard)
    again = subparsers.add_parser("reboot", help="reboot, if nothing speaks against it")
    again.add_argument(
        "--rehearse", nargs="?", const=DEPTHS[0], choices=DEPTHS, metavar="DEPTH",
        help="boot a copy first: `container` (its user space; the default) or `qemu` (its kernel and initramfs too)",
    )  # fmt: skip
    again.add_argument("--yes", "-y", action="store_true", help="do not ask")
    again.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    again.set_defaults(func=run_reboot)


def run_guard(options: argparse.Namespace) -> int:
    """Print the verdict. Exit status 0 where a reboot is allowed, 3 where it is denied."""
    found = _verdict(this_host())
    if options.json:
        print_json(found.to_json())
    else:
        _say(found)
    return int(ExitStatus.DONE if found.allowed else ExitStatus.REFUSED)


def _verdict(host: Host) -> Verdict:
    _as_root()
    return verdict(host, _cut_off(host))


def _as_root() -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="only root can read all that a verdict on a reboot needs; run it as root")


def _cut_off(host: Host) -> list[Reason]:
    """Return the operation that was cut off: its journal says so, whether or not a marker is there."""
    operation = interrupted(host)
    if operation is None:
        return []
    advice = "Run `interlock resume`, which finishes or undoes it."
    return [Reason("operation-cut-off", f"operation {operation.id}", "was cut off and is not settled", advice)]


def _say(found: Verdict) -> None:
    say("A reboot is allowed." if found.allowed else "A reboot is REFUSED:")
    for one in found.reasons:
        say(f"  {one.subject}: {one.detail}")
        say(f"    → {one.advice}")
    if found.looked_at:
        say("What would be booted:")
    for line in found.looked_at:
        say(f"  {line}")


def run_reboot(options: argparse.Namespace) -> int:
    """Ask every judge, then the person, then reboot. Exit status 3 where one of them says no."""
    host = this_host()
    found, rehearsal = _verdict(host), None
    if found.allowed and options.rehearse:
        found, rehearsal = _rehearse(host, found, options)
    if not options.json:
        _say(found)
    if not found.allowed:
        return _end(options, found, rehearsal, ExitStatus.REFUSED)
    if not consent("Reboot now?", options.yes):
        say("Not rebooted.")
        return 0
    with Lease(host.paths, "reboot", host.clock, host.proc):
        # Something may have begun, and died, while the person thought.
        refuse(Verdict(tuple(_cut_off(host))))
        reboot(host)
    return _end(options, found, rehearsal, ExitStatus.DONE)


def _rehearse(host: Host, found: Verdict, options: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    """Boot a copy; return the verdict with what it adds, and what came of it."""
    from interlock.boot.rehearse import rehearse  # noqa: PLC0415 - it is large, and asked for rarely

    if not options.json:
        say(f"Rehearsing ({options.rehearse})...")
    result = rehearse(host, options.rehearse)
    if not options.json:
        ended = "passed" if result.passed else "FAILED"
        say(f"The rehearsal {ended} after {result.seconds:.1f} s; what the console said: {result.console}")
    unsaid = Reason("rehearsal-failed", "the rehearsal", "did not pass", f"Read {result.console}.")
    reasons = () if result.passed else (tuple(result.reasons) or (unsaid,))
    return Verdict(reasons, found.looked_at), result.to_json()


def _end(
    options: argparse.Namespace, found: Verdict, rehearsal: Optional[dict[str, Any]], status: ExitStatus
) -> int:  # fmt: skip
    rebooting = status == ExitStatus.DONE
    if options.json:
        print_json({"rebooting": rebooting, **found.to_json(), "rehearsal": rehearsal})
    elif rebooting:
        say("Rebooting.")
    return int(status)

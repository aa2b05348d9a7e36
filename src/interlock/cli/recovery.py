"""The verbs that bring a host back: ``rollback`` and ``resume``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from interlock.boot.guard import raise_again
from interlock.cli import half
from interlock.cli.output import consent, print_json, say, say_end
from interlock.cli.progress import Progress
from interlock.errors import Refused
from interlock.host.context import Host, this_host
from interlock.host.lease import Lease, busy, current_owner
from interlock.rpmdb.backend import find_database
from interlock.upgrade.operation import Operation
from interlock.upgrade.rollback import explain, find_undoable, obstacles
from interlock.upgrade.service import ROLLBACK_EVENTS, follow, launch
from interlock.upgrade.settle import interrupted, lower_stale_guard, resume_held, settle_dead
from interlock.upgrade.undo_policy import expire, read_policy
from interlock.upgrade.undo_restore import Change

SHOWN = 20
WORDS = {
    "content": "gets its old content", "metadata": "gets its old mode, owner, time or attributes",
    "missing": "comes back", "kind": "becomes what it was", "extra": "goes: the upgrade brought it",
}  # fmt: skip


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    back = subparsers.add_parser("rollback", help="take an operation back: files, accounts and package database")
    back.add_argument("operation", nargs="?", metavar="ID", help="which one (default: the last that can be taken back)")
    back.add_argument("--dry-run", action="store_true", help="show what would change and end")
    back.add_argument("--expire", action="store_true", help="only drop what the policy does not keep any longer")
    back.add_argument("--yes", "-y", action="store_true", help="do not ask")
    back.add_argument("--verbose", "-v", action="store_true", help="show every path")
    back.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    back.set_defaults(func=run_rollback)
    resume = subparsers.add_parser("resume", help="finish or undo what was cut off, and try again what is on hold")
    half.add_options(resume)
    resume.add_argument("--boot", action="store_true", help=argparse.SUPPRESS)
    resume.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    resume.set_defaults(func=run_resume)


def run_rollback(options: argparse.Namespace) -> int:
    """Show what going back changes, ask, and do it."""
    host = this_host()
    _refuse(host)
    if options.expire:
        return _expire(host, options.json)
    operation = find_undoable(host, options.operation)
    changes: list[Change] = []
    if options.dry_run or options.json or options.verbose or not options.yes:
        changes = _explain(host, operation, options)
    if options.dry_run or not consent("Go back?", options.yes):
        return 0
    launch(host, operation, "--rollback")
    end = follow(host, operation, (lambda _event: None) if options.json else Progress(), ROLLBACK_EVENTS)
    if options.json:
        print_json({"operation": operation.id, "changes": [change._asdict() for change in changes], "end": end})
    else:
        say_end(end)
    return 0 if end["error"] is None else int(end["exit_status"])


def _explain(host: Host, operation: Operation, options: argparse.Namespace) -> list[Change]:
    """Look, for whoever has to consent, at what the engine looks at again."""
    reasons = obstacles(host, operation, find_database(host.runner))
    if reasons:
        raise Refused(reasons="; ".join(reasons))
    changes = explain(host, operation)
    if options.dry_run and options.json:
        print_json({"operation": operation.id, "changes": [change._asdict() for change in changes]})
    if not options.json:
        _say_changes(operation, changes, options.verbose)
    return changes


def _expire(host: Host, as_json: bool) -> int:
    with Lease(host.paths, "expire", host.clock, host.proc):
        dropped = [one.id for one in expire(host, read_policy(host.paths))]
    if as_json:
        print_json({"expired": dropped})
    else:
        say("\n".join(f"operation {one} cannot be taken back any more" for one in dropped) or "Nothing has expired.")
    return 0


def _refuse(host: Host) -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="this changes the host and must be run as root")
    owner = current_owner(host.paths)
    if owner is not None:
        raise busy(owner, host.clock)


def _say_changes(operation: Operation, changes: list[Change], everything: bool) -> None:
    theirs = [change for change in changes if change.theirs]
    say(f"Taking operation {operation.id} back changes {len(changes)} paths.")
    for change in changes if everything else theirs[:SHOWN]:
        say(f"  {change.path}: {WORDS[change.what]}{', what it is now is kept aside' if change.theirs else ''}")
    if theirs and not everything:
        say(f"  {len(theirs)} were changed since by somebody else; what they are now is kept aside.")


def run_resume(options: argparse.Namespace) -> int:
    """Bring everything that was cut off to an end. Exit status 5 where the host is, or stays, on hold."""
    host = this_host()
    _refuse(host)
    with Lease(host.paths, "resume", host.clock, host.proc):
        # At boot nothing refuses yet: until it is known what this host is, it is not to be rebooted again.
        raise_again(host)
        done = settle_dead(host) if interrupted(host) is not None else []
        if not options.boot:
            done += resume_held(host)
        done += lower_stale_guard(host)
    mended = half.Mended() if options.boot else half.mend(host, options, done)
    return half.report(host, mended, done + mended.done, options)

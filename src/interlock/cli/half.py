"""The part of ``resume`` and ``check`` that is about a host which something else has half upgraded."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Optional

from interlock.cli.options import add_unsigned_option, lasting
from interlock.cli.output import consent, print_json, say
from interlock.cli.plan import StageLine, plan_row, quiet, say_plan
from interlock.cli.progress import Progress
from interlock.errors import InterlockError
from interlock.host.context import Host
from interlock.host.hold import FOREIGN, read_hold
from interlock.host.lease import Lease, current_owner
from interlock.upgrade.half import Half, end_hold, look_and_hold, remembered, some
from interlock.upgrade.half_bindings import NoBindings, bindings_work, lay_down
from interlock.upgrade.half_mend import BACK, Offer, StillHalf, Way, back, forward, prepare, undo_preparation
from interlock.upgrade.half_proof import prove, torn_packages
from interlock.upgrade.operation import Operation, Request, create_operation, list_operations
from interlock.upgrade.preflight import Reason
from interlock.upgrade.prepare import fetch, refuse_problems
from interlock.upgrade.service import follow, launch
from interlock.upgrade.settle import interrupted, settle_dead
from interlock.upgrade.state import RolledBack
from interlock.upgrade.undo import UndoStore
from interlock.upgrade.verify import Finding, summary
from interlock.waits.hands import Treatment

PROOF_LIMIT = 3600.0
LAID_DOWN = "INTERLOCK_BINDINGS_LAID_DOWN"
SUBJECT = "cut-off transaction"
ADVICE = (
    "Do not reboot, and install nothing. `interlock resume --depot DIR` completes it with the packages of that upgrade,"
    " or undoes it with those from before"
)
VERBS = {"complete": "completes", "undo": "undoes"}


@dataclass
class Mended:
    """What came of it. ``whole`` says whether the host has been proven so."""

    half: Optional[Half] = None
    whole: bool = False
    done: list[str] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)


def look_for_half(host: Host) -> tuple[Optional[Half], list[Reason]]:
    """Look whether the host is half upgraded, and put it on hold if so; for ``check``, which goes on in any case."""
    if os.geteuid() != 0 or current_owner(host.paths) is not None or interrupted(host) is not None:
        return None, []
    try:
        with Lease(host.paths, "check", host.clock, host.proc):
            half = look_and_hold(host)
    except (InterlockError, OSError) as error:
        return None, [Reason(SUBJECT, "unknown", f"could not be looked for: {error}")]
    return (half, _reasons(host, half)) if remembered(host.paths) is not None else (None, _reasons(host, half))


def _reasons(host: Host, half: Optional[Half]) -> list[Reason]:
    if half is None:
        return [Reason(SUBJECT, "note", "a transaction of rpm's runs; nothing can be said until it has ended")]
    if remembered(host.paths) is not None:
        return [Reason(SUBJECT, "deny", f"{half.reason}. {ADVICE}", 5)]
    if half.leftovers:
        text = f"none, but rpm left unfinished files ({some(half.leftovers)}); `interlock doctor` says more"
        return [Reason(SUBJECT, "note", text)]
    return [Reason(SUBJECT, "ok", "none")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``resume`` can be told about such a host."""
    parser.add_argument("--depot", metavar="D", help="packages to complete, or to undo, what rpm itself left half done")
    parser.add_argument("--undo", action="store_true", help="go back to the packages from before, do not complete")
    add_unsigned_option(parser)
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def mend(host: Host, options: argparse.Namespace, done: Sequence[str]) -> Mended:
    """Bring a half-upgraded host to a whole state; nothing is done, and ``half`` is None, where it is whole.

    ``done`` is what was done before, to be said in any case. Raises StillHalf, and whatever the depot, the plan or the
    operation raises: the host then stays on hold.
    """
    mended = Mended()
    with Lease(host.paths, "resume", host.clock, host.proc):
        half = look_and_hold(host)
        if half is None or remembered(host.paths) is None:
            return mended
        mended.half = half
        mended.whole = _proven(host, half, mended)
    if mended.whole:
        return mended
    if half is not None and not half.names and not options.depot:
        raise StillHalf(detail=summary([Finding(**one) for one in mended.row["findings"]]))
    if not options.json:
        for line in done:
            say(f"  {line}")
    _complete(host, options, half, mended)
    return mended


def _proven(host: Host, half: Half, mended: Mended) -> bool:
    """End the hold where the host is whole; someone may have mended it by hand."""
    mended.row["findings"] = [vars(one) for one in prove(host, half)]
    if mended.row["findings"]:
        return False
    end_hold(host)
    for operation in list_operations(host.paths):
        if operation.request().mends == FOREIGN:
            # It would lead back to a host that is half upgraded.
            UndoStore(host, operation.id).shrink()
    mended.done.append(
        "the host is whole: no trace of the cut-off transaction is left, requirements are met, files are their"
        " packages', and it would boot. The hold has ended, reboots are allowed"
    )
    return True


def _complete(host: Host, options: argparse.Namespace, half: Half, mended: Mended) -> None:
    if not options.depot:
        raise StillHalf(detail=f"{half.reason}. {_needed(half)}; no depot was given with --depot")
    location = lasting(host, options.depot)
    if not bindings_work():
        _lay_bindings_down(host, options, location)
    way = _choose(host, half, Offer(location, options.allow_unsigned), options.undo)
    mended.row |= {"way": way.kind, "plan": plan_row(way.picture.plan)}
    if not options.json:
        say(f"{half.reason[0].upper()}{half.reason[1:]}.")
        say_plan(way.picture)
        say(f"This {VERBS[way.kind]} it, as an operation of its own that can fail without making it worse.")
    if not consent("Go on?", options.yes):
        raise StillHalf(detail="nothing was changed")
    _operate(host, options, half, way, mended)


def _lay_bindings_down(host: Host, options: argparse.Namespace, location: str) -> NoReturn:
    """Make the bindings work first, which the rest needs; then this program is started anew, with what was asked."""
    if LAID_DOWN in os.environ:
        raise NoBindings(detail="they do not load although their files were laid down")
    if not options.json:
        say("What Interlock itself needs of rpm is half upgraded too: its files come first, out of the same depot.")
    if not consent("Go on?", options.yes):
        raise StillHalf(detail="nothing was changed")
    with Lease(host.paths, "resume", host.clock, host.proc):
        laid = lay_down(host, location, options.allow_unsigned, quiet if options.json else StageLine())
    if not options.json:
        say(f"  the files of {len(laid)} packages were laid down")
    argv = [*program(), *sys.argv[1:]]
    os.execve(argv[0], argv, {**os.environ, LAID_DOWN: "1"})


def _needed(half: Half) -> str:
    later, earlier = half.later, [rows[-1] for rows in half.pairs]
    torn = sorted({package for package, _ in half.torn} | {package for package, _ in half.broken})
    if not later:
        return f"Needed are {some(torn)} or later"
    return f"Needed are, to complete it, {some(later)} or later; to undo it, {some(earlier)}"


def _choose(host: Host, half: Half, offer: Offer, undo: bool) -> Way:
    """Return the way that the depot's packages allow; forward where both are open."""
    ahead = None if undo else forward(host, half, offer)
    if ahead is not None and ahead.open and not ahead.picture.plan.empty:
        return ahead
    behind = back(host, half, offer, torn_packages(host, half))
    if behind.open and not behind.picture.plan.empty:
        return behind
    if ahead is not None and not ahead.missing:
        refuse_problems(ahead.picture.plan)
    lacks = [f"to undo it, {some(behind.missing) or 'nothing that it could go back to'}"]
    if ahead is not None:
        lacks.insert(0, f"to complete it, {some(ahead.missing) or 'anything later than what is installed'}")
    raise StillHalf(detail=f"{half.reason}. The depot {offer.location} lacks, {'; '.join(lacks)}")


def _operate(host: Host, options: argparse.Namespace, half: Half, way: Way, mended: Mended) -> None:
    request = Request(way.location, [], allow_unsigned=options.allow_unsigned, mends=FOREIGN, back=way.kind == BACK)
    staged = fetch(host, way.picture, request, quiet if options.json else StageLine())
    row = {
        "directory": staged.directory, "files": {str(nevra): path for nevra, path in staged.files.items()},
        "installed": [str(package.nevra) for package in way.picture.installed],
    }  # fmt: skip
    with Lease(host.paths, "resume", host.clock, host.proc):
        treatment = prepare(host, half, way)
    operation = create_operation(host, request, way.picture.plan.to_json(), row)
    end = _follow_to_the_end(host, options, operation, treatment)
    mended.row |= {"operation": operation.id, "end": end}
    mended.done.append(f"operation {operation.id}: {end['message']}")
    # By the interpreter that is there now: this one's bindings of rpm may have gone with its packages.
    answer = host.runner.run([*program(), "resume", "--json"], timeout=PROOF_LIMIT, check=False)
    mended.row["proof"] = said = json.loads(answer.stdout)
    if "error" in said:
        raise StillHalf(detail=f"operation {operation.id} is done, but {said['message']}")
    mended.whole = said["hold"] is None
    mended.done += said["done"]


def _follow_to_the_end(
    host: Host, options: argparse.Namespace, operation: Operation, treatment: Treatment
) -> dict[str, Any]:
    """Return the operation's last event. StillHalf where it failed: database and files are then as they were found."""
    try:
        launch(host, operation)
        end = follow(host, operation, (lambda _event: None) if options.json else Progress())
        problem = "" if end["exit_status"] == 0 else str(end["message"])
    except InterlockError as error:
        problem = str(error)
    if not problem:
        return end
    with Lease(host.paths, "resume", host.clock, host.proc):
        settle_dead(host)
        if isinstance(operation.state(), RolledBack):
            undo_preparation(host, treatment)
    raise StillHalf(detail=f"operation {operation.id} failed, {problem}")


def program() -> list[str]:
    """Return how this program is started anew, not by a name that this interpreter alone has."""
    archive = os.path.abspath(sys.argv[0])
    if archive.endswith("__main__.py"):
        return [sys.executable, "-m", "interlock"]
    return [archive] if os.access(archive, os.X_OK) else [shutil.which("python3") or sys.executable, archive]


def report(host: Host, mended: Mended, done: list[str], options: argparse.Namespace) -> int:
    """Print what ``resume`` has done about all that was cut off; return its exit status."""
    hold = read_hold(host.paths)
    if options.json:
        half = mended.half.to_json() if mended.half else None
        print_json({"done": done, "hold": vars(hold) if hold else None, "half": half, **mended.row})
        return 5 if hold else 0
    for line in done:
        say(f"  {line}")
    if hold:
        say(f"ON HOLD, {hold.by} left it so: {hold.reason}")
    elif not done:
        say("Nothing was cut off, nothing is on hold.")
    return 5 if hold else 0

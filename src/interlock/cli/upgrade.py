"""The verbs of the main job: ``check``, ``stage``, ``update``, and the hidden ``engine``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional

from interlock.advice.rules import Advice, telling
from interlock.cli.advice import add_file_option, say_advice, say_defects
from interlock.cli.half import look_for_half
from interlock.cli.options import DEPOT, add_unsigned_option, lasting
from interlock.cli.output import consent, print_json, say, say_end
from interlock.cli.plan import StageLine, headline, plan_row, quiet, say_plan
from interlock.cli.progress import EventCopy, Handler, Progress, all_of
from interlock.depot.bulletin import bulletin_states
from interlock.errors import InterlockError, Refused
from interlock.host.context import Host, this_host
from interlock.host.hold import refuse_when_held
from interlock.host.lease import Lease, busy, current_owner
from interlock.package import Package
from interlock.rpmdb.backend import Database
from interlock.upgrade.advise import advise, hold_affected, refuse_denied, wants_quiet
from interlock.upgrade.aside import Asked
from interlock.upgrade.half import refuse_half, see_half
from interlock.upgrade.once import check_name, find_asked, making
from interlock.upgrade.operation import Operation, Request, create_operation, find_operation
from interlock.upgrade.plan import Plan
from interlock.upgrade.preflight import Reason, Verdict, preflight
from interlock.upgrade.prepare import Picture, fetch, read_installed, refuse_problems, take_picture
from interlock.upgrade.service import follow, launch, launch_left, serve, serve_rollback, unit_name
from interlock.upgrade.settle import interrupted, settle_dead
from interlock.upgrade.stage import Staged

MARKS = {"ok": "✓", "note": "·", "deny": "✗", "unknown": "?"}


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    check = _verb(subparsers, "check", "pre-flight: what stands between this host and an upgrade", run_check)
    stage = _verb(subparsers, "stage", "fetch and check the packages, change nothing", run_stage)
    update = _verb(subparsers, "update", "upgrade this host", run_update)
    for parser in (stage, update):
        parser.add_argument("--depot", required=True, metavar="D", help=DEPOT)
    for parser in (check, update):
        add_file_option(parser)
    update.add_argument("--ignore-advisory", action="append", default=[], metavar="ID",
                        help="go on although this advisory rule speaks against it (repeatable)")  # fmt: skip
    check.add_argument("--depot", metavar="D", help="also check whether everything in this depot fits the host")
    for parser in (check, stage, update):
        parser.add_argument("--bulletin", action="append", default=[], metavar="ID", help="only this one (repeatable)")
        add_unsigned_option(parser)
    _update_options(update)
    engine = subparsers.add_parser("engine")
    engine.add_argument("operation")
    engine.add_argument("--rollback", action="store_true")
    engine.set_defaults(func=run_engine, json=False)


def _verb(subparsers: Any, name: str, text: str, function: Any) -> Any:
    parser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=function)
    return parser


def _update_options(update: Any) -> None:
    update.add_argument("--isolation", choices=("auto", "shadow", "gate"), default="auto",
                        help="how others are kept apart from the upgrade (default: shadow where it works)")  # fmt: skip
    update.add_argument("--quiesce", action="store_true",
                        help="stop agents that use the package database, and start them again afterwards")  # fmt: skip
    update.add_argument("--dry-run", action="store_true", help="show the plan and end")
    update.add_argument("--yes", "-y", action="store_true", help="do not ask")
    text = "a name for this wish: asked for again, it is the same operation, and happens once"
    update.add_argument("--id", default="", metavar="NAME", help=text)
    update.add_argument("--detach", action="store_true", help="do not wait for the end; `interlock status` follows")
    update.add_argument("--events", metavar="FILE", help="append the operation's events to FILE, as JSON Lines")
    update.add_argument("--nice", type=int, default=0, metavar="N", help="run rpm at this niceness")
    update.add_argument("--script-limit", type=_limit, default=0.0, metavar="SECONDS",
                        help="end a scriptlet that takes longer; it then counts as failed (default: none)")  # fmt: skip
    update.add_argument("--verbose", "-v", action="store_true", help="show every package and scriptlet")


def _limit(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def run_check(options: argparse.Namespace) -> int:
    """Print the pre-flight verdict; its exit status is the verdict's."""
    host = this_host()
    half, reasons = look_for_half(host)
    verdict = preflight(host)
    verdict = Verdict([*verdict.reasons, *reasons])
    if options.depot and os.geteuid() == 0:
        verdict = Verdict([*verdict.reasons, *_check_depot(host, options)])
    elif os.geteuid() == 0:
        verdict = Verdict([*verdict.reasons, *_check_advice(host, options)])
    if options.json:
        rows = [vars(reason) for reason in verdict.reasons]
        print_json({"verdict": verdict.answer, "reasons": rows, "half": half.to_json() if half else None})
    else:
        _say_verdict(verdict)
    return verdict.exit_status


def _check_depot(host: Host, options: argparse.Namespace) -> list[Reason]:
    """Plan and fetch as an update would, and say as reasons what came of it."""
    found: list[Reason] = []
    try:
        request = Request(lasting(host, options.depot), options.bulletin, allow_unsigned=options.allow_unsigned)
        picture = take_picture(host, request.depot, options.bulletin, allow_unsigned=request.allow_unsigned)
        found.append(Reason("depot", "ok", f"{picture.depot.total} packages, {headline(picture.plan)}"))
        found += _recalled(picture)
        found += _advice_reasons(host, options, picture.database, picture.installed, picture.plan)
        refuse_problems(picture.plan)
        staged = fetch(host, picture, request, quiet)
    except InterlockError as error:
        return [*found, Reason("depot", "deny", str(error), int(error.exit_status))]
    return [*found, Reason("signatures", "ok", f"{len(staged.files)} packages fetched, digests and signatures good")]


def _recalled(picture: Picture) -> list[Reason]:
    """Flag what is installed here and was recalled since, with what takes its place."""
    recalled = [one for one in bulletin_states(picture.depot, picture.installed) if one.bulletin.recalled and one.here]
    return [
        Reason(f"recalled bulletin {one.bulletin.id}", "note", one.reason + (
            f" (interlock update --bulletin {one.bulletin.replacement})" if one.bulletin.replacement else ""))
        for one in recalled
    ]  # fmt: skip


def _check_advice(host: Host, options: argparse.Namespace) -> list[Reason]:
    """Say what rules say of the host as it is; where its packages cannot be read the pre-flight has said so."""
    try:
        database, installed = read_installed(host)
    except (InterlockError, OSError):
        return []
    return _advice_reasons(host, options, database, installed, None)


def _advice_reasons(
    host: Host, options: argparse.Namespace, database: Database, installed: Sequence[Package], plan: Optional[Plan]
) -> list[Reason]:
    found, rules = advise(host, database, installed, plan, options.advisories)
    hold_affected(host, found)
    reasons = [_advice_reason(one) for one in telling(found)]
    reasons += [Reason("advisory rules", "note", f"left out: {defect}") for defect in rules.defects]
    return reasons or [Reason("advisory rules", "ok", f"none of {len(rules.rules)} affects this host")]


def _advice_reason(one: Advice) -> Reason:
    level = "deny" if one.stops and one.state == "affected" else "unknown" if one.stops else "note"
    names = f" ({', '.join(one.names[:8])})" if one.names else ""
    unknown = f"; it cannot be judged, because {one.why} is not known" if one.state == "unknown" else ""
    text = f"{one.rule.title}{names}{unknown}. {one.rule.explanation} → {one.rule.solution}"
    return Reason(f"advisory {one.rule.id}", level, text, 5 if one.rule.verdict == "hold" and level == "deny" else 3)


def _say_verdict(verdict: Verdict) -> None:
    for reason in verdict.reasons:
        say(f"  {MARKS[reason.level]} {reason.subject}: {reason.detail}")
    say(f"\nverdict: {verdict.answer}")


def run_stage(options: argparse.Namespace) -> int:
    """Fetch and check; print what lies ready."""
    host = this_host()
    _need_root()
    refuse_when_held(host.paths)
    picture = _picture_of_whole(host, options.depot, options)
    refuse_problems(picture.plan)
    request = Request(options.depot, options.bulletin, allow_unsigned=options.allow_unsigned)
    staged = fetch(host, picture, request, quiet if options.json else StageLine())
    if options.json:
        print_json({"plan": plan_row(picture.plan), "directory": staged.directory, "files": _paths(staged)})
    else:
        say(f"{len(staged.files)} packages lie ready in {staged.directory}, digests and signatures checked")
    return 0


def run_update(options: argparse.Namespace) -> int:
    """Upgrade this host, and wait for the end unless told otherwise."""
    host = this_host()
    _need_root()
    known = find_asked(host.paths, check_name(options.id)) if options.id else None
    if known is not None:
        return _again(host, options, known)
    _settle(host, options)
    request = Request(
        lasting(host, options.depot),
        options.bulletin,
        options.isolation,
        options.allow_unsigned,
        options.nice,
        options.script_limit,
        quiesce=options.quiesce,
        asked=options.id,
    )
    picture = _picture_of_whole(host, request.depot, options)
    refuse_problems(picture.plan)
    if not options.json:
        say_plan(picture)
    request = _advised(host, options, request, picture)
    if picture.plan.empty or options.dry_run:
        return _say_unchanged(picture, options)
    if not consent("Go on?", options.yes):
        say("Nothing was changed.")
        return 0
    staged = fetch(host, picture, request, quiet if options.json else StageLine())
    return _start(host, options, request, picture, staged)


def _advised(host: Host, options: argparse.Namespace, request: Request, picture: Picture) -> Request:
    """Return the request as advisory rules want it; refused or held where one of them speaks against the update."""
    found, rules = advise(host, picture.database, picture.installed, picture.plan, options.advisories)
    ignored = options.ignore_advisory
    if not options.json:
        say_advice([one for one in telling(found) if one.rule.id not in ignored])
        say_defects(rules.defects)
    hold_affected(host, found, ignored)
    refuse_when_held(host.paths)
    refuse_denied(found, ignored)
    return replace(request, quiesce=request.quiesce or wants_quiet(found, ignored))


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="this changes the host and must be run as root")


def _settle(host: Host, options: argparse.Namespace) -> None:
    """Refuse where somebody is at work or a person is needed; clear up after an engine that died."""
    owner = current_owner(host.paths)
    if owner is not None:
        raise busy(owner, host.clock)
    if interrupted(host) is not None:
        with Lease(host.paths, "settle", host.clock, host.proc):
            for line in settle_dead(host):
                if not options.json:
                    say(f"  {line}")
    refuse_when_held(host.paths)


def _picture_of_whole(host: Host, depot: str, options: argparse.Namespace) -> Picture:
    """Return what a request meets; refused where something else has half upgraded the host, which is on hold then."""
    looking = Asked(lambda: see_half(host))
    try:
        return take_picture(host, depot, options.bulletin, allow_unsigned=options.allow_unsigned)
    finally:
        seen = looking.answer()
        with Lease(host.paths, "look", host.clock, host.proc):
            refuse_half(host, seen)


def _paths(staged: Staged) -> dict[str, str]:
    return {str(nevra): path for nevra, path in staged.files.items()}


def _say_unchanged(picture: Picture, options: argparse.Namespace) -> int:
    if options.json:
        print_json({"operation": None, "plan": plan_row(picture.plan)})
    elif picture.plan.empty:
        say("Nothing to do: this host has all that applies.")
    return 0


def _start(host: Host, options: argparse.Namespace, request: Request, picture: Picture, staged: Staged) -> int:
    row = {
        "directory": staged.directory, "files": _paths(staged),
        "installed": [str(package.nevra) for package in picture.installed],
    }  # fmt: skip
    with making(host.paths):
        known = find_asked(host.paths, request.asked) if request.asked else None
        if known is None:
            operation = create_operation(host, request, picture.plan.to_json(), row)
            launch(host, operation)
    if known is not None:
        return _again(host, options, known)
    if options.detach:
        _say_detached(operation.id, options)
        return 0
    if not options.json:
        say(f"operation {operation.id} runs in {unit_name(operation)}; this terminal may be closed")
    end = follow(host, operation, _handlers(options))
    if options.json:
        print_json({"operation": operation.id, "plan": plan_row(picture.plan), "end": end})
    else:
        say_end(end)
        _say_reboot(picture.plan, end)
    return int(end["exit_status"])


def _again(host: Host, options: argparse.Namespace, operation: Operation) -> int:
    """Say what became of a wish that was made before; nothing is done anew."""
    if not options.json:
        say(f"{options.id} was asked for before: operation {operation.id}")
    with making(host.paths):
        launch_left(host, operation)
    if options.detach:
        _say_detached(operation.id, options)
        return 0
    end = follow(host, operation, _handlers(options))
    if options.json:
        print_json({"operation": operation.id, "again": True, "end": end})
    else:
        say_end(end)
    return int(end["exit_status"])


def _say_detached(name: str, options: argparse.Namespace) -> None:
    if options.json:
        print_json({"operation": name, "detached": True})
    else:
        say(f"operation {name} goes on by itself; `interlock status` follows it")


def _handlers(options: argparse.Namespace) -> Handler:
    handlers: list[Handler] = [] if options.json else [Progress(verbose=options.verbose)]
    if options.events:
        handlers.append(EventCopy(options.events))
    return all_of(handlers)


def _say_reboot(plan: Plan, end: dict[str, Any]) -> None:
    if plan.reboot and end["state"] == "done":
        say(f"A reboot is needed for all of it to take effect: {', '.join(plan.reboot_reasons)}.")


def run_engine(options: argparse.Namespace) -> int:
    """Be the engine of one operation; started by ``update`` in a unit of its own."""
    host = this_host()
    operation = find_operation(host.paths, options.operation)
    return int(serve_rollback(host, operation) if options.rollback else serve(host, operation))

"""``interlock doctor``: what is wrong with the package database, or with who waits for it, and its cure."""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from interlock.cli.output import consent, count, print_json, say
from interlock.errors import Refused, UsageError
from interlock.host.context import Host, this_host
from interlock.host.lease import Lease
from interlock.system.clock import age
from interlock.system.proc import ProcReader
from interlock.waits import treat
from interlock.waits.catalogue import catalogue
from interlock.waits.cure import Cure
from interlock.waits.diagnose import diagnose
from interlock.waits.facts import Facts
from interlock.waits.finding import PROVEN, Finding
from interlock.waits.graph import build_graph
from interlock.waits.hands import Treatment
from interlock.waits.look import Place, examine, look
from interlock.waits.plan_cure import plan_cure

FOUND, DECIDE = 3, 5
SHOWN = 8
ROUNDS = 6
SURE = {"proven": "proven", "likely": "likely", "waits": "a wait, which may end by itself"}


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "what is wrong with the package database, and its cure"
    parser = subparsers.add_parser(
        "doctor", help=text, description=f"{text[0].upper()}{text[1:]}. Without --cure it only looks.",
        epilog="Exit status: 0 nothing wrong, or cured; 3 something is wrong; 5 a person has to decide.",
    )  # fmt: skip
    parser.add_argument("--cure", action="store_true", help="show the least that helps, ask, and do it")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--depot", metavar="DIR", help="a directory with package files to restore from")
    parser.add_argument("--undo", nargs="?", const="", metavar="ID", help="take a cure back; without ID, list them")
    parser.add_argument("--root", metavar="DIR", help="look at the container or tree whose root directory this is")
    parser.add_argument("--proc", metavar="DIR", help="read this captured /proc instead of the kernel's")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=run_doctor)


def place_of(host: Host, root: Optional[str], proc: Optional[str]) -> Place:
    """Return where to look: this host, a tree or container below it, or a captured ``/proc``."""
    for path in (root, proc):
        if path is not None and not os.path.isdir(path):
            raise UsageError(detail=f"{path} is not a directory")
    reader = ProcReader(Path(os.path.abspath(proc))) if proc else host.proc
    scratch = f"{host.paths.scratch}-doctor-{os.getpid()}"
    return Place(reader, Path(os.path.realpath(root or "/")), host.runner, host.clock, scratch, live=proc is None)


def run_doctor(options: argparse.Namespace) -> int:
    """Look, say what is found, and cure it where that is wanted."""
    host = this_host()
    if options.undo is not None:
        return _undo(host, options)
    place = place_of(host, options.root, options.proc)
    if options.cure and not place.ours:
        raise UsageError(detail="--cure works on the host that it runs on; run it inside the container")
    if options.cure and os.geteuid() != 0:
        raise Refused(reasons="a cure changes the host and must be run as root")
    facts, findings = _diagnose(place)
    if options.cure and findings:
        with Lease(host.paths, "doctor --cure", host.clock, host.proc):
            return _cure(host, place, options, facts, findings)
    return _report(facts, findings, options)


def _diagnose(place: Place) -> tuple[Facts, tuple[Finding, ...]]:
    facts = examine(place, look(place))
    return facts, diagnose(facts, build_graph(facts))


def _report(facts: Facts, findings: Sequence[Finding], options: argparse.Namespace) -> int:
    if options.json:
        print_json(_rows(facts, findings))
    else:
        _say_head(facts)
        for finding in findings:
            _say_finding(finding, plan_cure(finding, facts))
        say(_summary(facts, findings))
    return FOUND if findings else 0


def _rows(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "database": {"path": facts.database.path, "backend": facts.database.backend},
        "complete": facts.complete,
        "findings": [_row(one, plan_cure(one, facts)) for one in findings],
    }


def _row(finding: Finding, cure: Cure) -> dict[str, Any]:
    case = catalogue()[finding.id]
    return {
        **finding._asdict(), "number": case.number, "title": case.title, "means": case.means,
        "cure": {"steps": [step.text for step in cure.steps], "decide": cure.decide},
    }  # fmt: skip


def _say_head(facts: Facts) -> None:
    backend = facts.database.backend or "no database"
    say(f"{facts.database.path} ({backend}), {len(facts.processes)} processes")
    if not facts.complete:
        say("  Not run as root: processes of other users could not be asked.")


def _say_finding(finding: Finding, cure: Cure) -> None:
    case = catalogue()[finding.id]
    since = f", for up to {age(finding.since)}" if finding.since else ""
    say(f"\n{case.number}. {case.title}  [{finding.id}; {SURE[finding.sure]}{since}]")
    _say_wrapped("", case.means)
    for line in finding.proof:
        _say_wrapped("proof: ", line)
    for name, things in (("files", finding.files), ("packages", finding.packages)):
        if things:
            more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
            _say_wrapped(f"{name}: ", f"{', '.join(things[:SHOWN])}{more}")
    for step in cure.steps:
        _say_wrapped("cure: ", step.text)
    if cure.decide:
        _say_wrapped("to decide: ", cure.decide)


def _say_wrapped(head: str, text: str) -> None:
    """Print a paragraph within the terminal, its later lines below the text of the first."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 120)
    first = f"   {head}"
    say(textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False,
                      break_long_words=False))  # fmt: skip


def _summary(facts: Facts, findings: Sequence[Finding]) -> str:
    if not findings and not facts.database.backend:
        return "\nThere is no package database here; nobody waits for one."
    if not findings:
        return "\nNothing is wrong: no deadlock, no orphaned lock, and the database is whole."
    proven = sum(finding.sure == PROVEN for finding in findings)
    return f"\n{count(len(findings), 'finding')}, {proven} proven. `interlock doctor --cure` shows the cure and asks."


def _undo(host: Host, options: argparse.Namespace) -> int:
    if options.undo:
        with Lease(host.paths, "doctor --undo", host.clock, host.proc):
            text = treat.undo(host, options.undo)
        print_json({"undone": options.undo, "text": text}) if options.json else say(text)
    else:
        names = treat.cures(host)
        print_json(names) if options.json else say("\n".join(names) or "no cure has been done on this host")
    return 0


def _cure(host: Host, place: Place, options: argparse.Namespace, facts: Facts, findings: tuple[Finding, ...]) -> int:
    """Cure round by round: what a first cure uncovers is found by the next look."""
    before = list(facts.state.packages) if facts.state else []
    treatment: Optional[Treatment] = None
    outcomes: list[treat.Outcome] = []
    for _ in range(ROUNDS):
        cures = [plan_cure(finding, facts) for finding in findings]
        if not any(cure.steps for cure in cures) or any(one.error for one in outcomes):
            break
        if not options.json:
            _say_head(facts)
            for finding, cure in zip(findings, cures):
                _say_finding(finding, cure)
            say(f"\nA copy of {facts.database.path} is made first; `interlock doctor --undo ID` puts it back.")
        if not consent("Go on?", options.yes):
            say("Nothing was changed.")
            return FOUND
        treatment = treatment or treat.begin(host, facts, findings, before)
        treatment.facts, treatment.depot = facts, options.depot
        quiet = bool(options.json)
        outcomes += [treat.carry_out(treatment, cure, _silent if quiet else _say_step) for cure in cures if cure.steps]
        facts, findings = _diagnose(place)
    return _end(options, facts, findings, treatment, outcomes)


def _silent(_text: str) -> None:
    """Say nothing: programs get it all at the end."""


def _say_step(text: str) -> None:
    say(f"   done: {text}")


def _end(
    options: argparse.Namespace, facts: Facts, findings: Sequence[Finding], treatment: Optional[Treatment],
    outcomes: Sequence[treat.Outcome],
) -> int:  # fmt: skip
    after = facts.state.packages if facts.state else ()
    lost = treat.lost_packages(treatment.packages, after, treatment.meant) if treatment else []
    name = os.path.basename(treatment.folder) if treatment else ""
    if options.json:
        print_json({
            **_rows(facts, findings), "lost": lost, "undo": name,
            "outcomes": [vars(one) for one in outcomes],
        })  # fmt: skip
    else:
        _say_outcome(facts, findings, outcomes, lost, name)
    return DECIDE if findings or lost or any(one.error for one in outcomes) else 0


def _say_outcome(
    facts: Facts, findings: Sequence[Finding], outcomes: Sequence[treat.Outcome], lost: Sequence[str], name: str
) -> None:
    for one in outcomes:
        if one.error:
            say(f"   FAILED: {one.error}")
    if lost:
        say(f"\nPACKAGES MISSING NOW: {', '.join(lost)}. Take the cure back with `interlock doctor --undo {name}`.")
    for finding in findings:
        _say_finding(finding, plan_cure(finding, facts))
    if findings:
        say("\nThis is left; where it says so, a person has to decide.")
    elif outcomes:
        number = len(facts.state.packages) if facts.state else 0
        say(f"\nCured: {count(number, 'package')}, none lost. `interlock doctor --undo {name}` takes it back.")

"""``interlock lab cases`` and ``lab reproduce``: the catalogue, made for real on a fresh host."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from typing import Any, Callable, Optional

from interlock.cli.output import print_json, say, table
from interlock.lab import verbs
from interlock.lab.cases.case import LabCase, Made, to_json
from interlock.lab.cases.reproduce import CASES, Diagnosis, ask_doctor, find_case, reproduce, works
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab
from interlock.waits.catalogue import catalogue

MakeLab = Callable[[], Lab]


def add_parsers(inner: Any, make_lab: MakeLab) -> None:
    """Add the verbs to those of the lab."""
    cases = _verb(inner, "cases", "list the catalogue: how package databases break, and what each case needs")
    cases.set_defaults(func=run_cases)
    one = _verb(inner, "reproduce", "make a case of the catalogue on a fresh host, and let its doctor look")
    one.add_argument("case", metavar="CASE", help="an id of `interlock lab cases`")
    one.add_argument("--name", metavar="NAME", help="the host's name (default: from the case)")
    one.add_argument("--seed", type=int, metavar="N", help="the seed of what is left to chance (default: a new one)")
    one.add_argument("--cure", action="store_true", help="go on to the cure, and show that the host works again")
    one.add_argument("--no-keep", action="store_true", help="remove the host in the end")
    one.set_defaults(func=lambda options: run_reproduce(options, make_lab()))


def _verb(inner: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = inner.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run_cases(options: argparse.Namespace) -> int:
    """``lab cases``."""
    rows = [
        {
            "number": case.number, "id": case.id, "title": case.title,
            "made": case.made if case.id in CASES else "tree",
            "release": CASES[case.id].release if case.id in CASES else "", "needs": case.needs,
        }
        for case in catalogue().values()
    ]  # fmt: skip
    if options.json:
        print_json(rows)
        return 0
    shown = [(row["number"], row["id"], row["release"] or "-", row["title"]) for row in rows]
    say("\n".join(table(("", "CASE", "RELEASE", "WHAT HAPPENS"), shown)))
    for row in rows:
        if row["made"] != "real":
            what = "A made tree is among the tests." if row["made"] == "tree" else ""
            say(f"\n  {row['id']} is not the real thing here: it needs {row['needs']}. {what}".rstrip())
    say("\n  `interlock lab reproduce CASE` makes one on a fresh host; with --cure it goes on to the cure.")
    return 0


def run_reproduce(options: argparse.Namespace, lab: Lab) -> int:
    """``lab reproduce``: 0 where the doctor names the case (and, with --cure, where the host works again)."""
    case = find_case(options.case)
    seed = options.seed if options.seed is not None else secrets.randbelow(1 << 31)
    name = options.name or f"case-{case.id}"[:40].rstrip("-")
    _say(options, f"making {case.id} on a fresh host of release {case.release}; seed {seed}")
    try:
        host, made = reproduce(lab, case, name, seed)
        _say(options, f"made: {made.text}\n\n{name}# interlock doctor")
        first = _look(options, host)
        second = _cure(options, host, case) if options.cure else None
        wrong = works(host) if options.cure else {}
    except BaseException:
        verbs.down(lab, [name], False)
        raise
    if options.no_keep:
        verbs.down(lab, [name], False)
    return _end(options, case, (seed, made), (first, second), wrong)


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        say(text)


def _look(options: argparse.Namespace, host: HostHandle) -> Diagnosis:
    if not options.json:
        say(host.run(["interlock", "doctor"], 120).stdout)
    return ask_doctor(host)


def _cure(options: argparse.Namespace, host: HostHandle, case: LabCase) -> Diagnosis:
    words = ["interlock", "doctor", "--cure", "--yes", *case.options]
    if options.json:
        return ask_doctor(host, words[2:])
    say(f"{host.name}# {' '.join(words)}")
    done = host.run(words, 180)
    say(done.stdout + done.stderr)
    return Diagnosis(done.status, ask_doctor(host).report)


def _end(
    options: argparse.Namespace, case: LabCase, origin: tuple[int, Made],
    looks: tuple[Diagnosis, Optional[Diagnosis]], wrong: dict[str, str],
) -> int:  # fmt: skip
    first, second = looks
    named = first.ids == [case.id]
    cured = second is None or (second.status == 0 and not second.ids and not wrong)
    if options.json:
        print_json({
            "case": case.id, "seed": origin[0], "made": to_json(origin[1]), "named": named, "doctor": first.report,
            "cure": second.report if second else None, "works": wrong or None,
        })  # fmt: skip
    else:
        _say_end(options, (named, first.ids), second, wrong)
    return 0 if named and cured else 1


def _say_end(
    options: argparse.Namespace, named: tuple[bool, Sequence[str]], second: Optional[Diagnosis], wrong: dict[str, str]
) -> None:
    say(f"named rightly, and alone: {'yes' if named[0] else 'NO: ' + (', '.join(named[1]) or 'nothing was named')}")
    if second is not None:
        left = [*second.ids, *(f"{what} {how}" for what, how in wrong.items())]
        say(f"cured, a query and a transaction work: {'NO: ' + '; '.join(left) if left else 'yes'}")
    if not options.no_keep:
        say("The host stays for a look; `interlock lab list` has its name.")

"""``interlock baselines`` and ``interlock compliance``: what hosts should have, and what they lack."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from interlock.cli.hosts import choosing, chosen, store, verb
from interlock.cli.output import print_json, say, table
from interlock.depot.repository import EVERY_ARCH, open_depot
from interlock.errors import UsageError
from interlock.manager import baselines
from interlock.manager.baselines import DYNAMIC, FIXED, GROUP, Baseline
from interlock.manager.measure import COMPLIANT, NOT_MEASURED, measure
from interlock.manager.package_sets import read_sets

SHOWN = 3


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    text = "what hosts should have: lists of bulletins, fixed, or by what bulletins say, or groups of these"
    parser = subparsers.add_parser("baselines", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="baselines_verb", metavar="VERB", required=True)
    add = verb(inner, "add", "write a baseline down, or anew", run_add)
    verb(inner, "list", "the baselines", run_list)
    remove = verb(inner, "remove", "remove a baseline", run_remove)
    for one in (add, remove):
        one.add_argument("baseline", metavar="NAME")
    _definition(add)
    text = "which hosts have what their baselines want, and what they lack; exit status 3 where one lacks something"
    compliance = subparsers.add_parser("compliance", help=text, description=f"{text[0].upper()}{text[1:]}.")
    compliance.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    compliance.add_argument("--baseline", action="append", default=[], metavar="B", help="only by this (repeatable)")
    compliance.set_defaults(func=run_compliance)
    choosing(compliance)


def _definition(add: Any) -> None:
    add.add_argument("--depot", default="", metavar="D", help="where its bulletins are")
    for name, metavar, text in (
        ("bulletin", "ID", "fixed: this bulletin"), ("severity", "S", "dynamic: of this severity"),
        ("category", "C", "dynamic: of this category"), ("include", "ID", "dynamic: this one in any case"),
        ("exclude", "ID", "never this one"), ("baseline-of", "B", "group: this baseline"),
    ):  # fmt: skip
        add.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=f"{text} (repeatable)")
    add.add_argument("--after", default="", metavar="DAY", help="dynamic: issued on that day or later (YYYY-MM-DD)")
    add.add_argument("--before", default="", metavar="DAY", help="dynamic: issued before that day")
    add.add_argument("--product", default="", metavar="P", help="only for hosts of this product (`RHEL 9`)")


def run_add(options: argparse.Namespace) -> int:
    """Write a baseline down."""
    kind = GROUP if options.baseline_of else FIXED if options.bulletin else DYNAMIC
    one = Baseline(
        options.baseline, kind, options.depot, tuple(options.bulletin), tuple(options.severity),
        tuple(options.category), options.after, options.before, options.product, tuple(options.include),
        tuple(options.exclude), tuple(options.baseline_of),
    )  # fmt: skip
    baselines.put(store(), one)
    if options.json:
        print_json(one.to_json())
    else:
        say(f"{one.name}: {kind}")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Print the baselines."""
    known = baselines.read_all(store())
    if options.json:
        print_json([one.to_json() for one in known.values()])
        return 0
    rows = [(one.name, one.kind, one.depot or ", ".join(one.baselines), _conditions(one)) for one in known.values()]
    say("\n".join(table(("BASELINE", "KIND", "DEPOT", "WANTS"), rows)) if rows else "  no baselines")
    return 0


def _conditions(one: Baseline) -> str:
    row = {name: value for name, value in one.to_json().items() if name not in ("name", "kind", "depot", "baselines")}
    return "; ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in row.items())


def run_remove(options: argparse.Namespace) -> int:
    """Remove a baseline."""
    baselines.remove(store(), options.baseline)
    if options.json:
        print_json({"removed": options.baseline})
    else:
        say(f"{options.baseline} is removed")
    return 0


def run_compliance(options: argparse.Namespace) -> int:
    """Print what each host lacks."""
    engine = store()
    known = baselines.read_all(engine)
    if not known:
        raise UsageError(detail="there is no baseline yet: interlock baselines add")
    hosts = chosen(engine, options)
    with engine.connect() as connection:
        sets = read_sets(connection)
    found = measure(hosts, baselines.unfold(known, options.baseline or list(known)), sets,
                    lambda place: open_depot(place, arches=EVERY_ARCH))  # fmt: skip
    bad = any(one.state not in (COMPLIANT, NOT_MEASURED) for one in found)
    if options.json:
        print_json([one.to_json() for one in found])
        return 3 if bad else 0
    rows = []
    for one in found:
        more = f" and {len(one.missing) - SHOWN} more" if len(one.missing) > SHOWN else ""
        rows.append((one.host, one.baseline, one.state, ", ".join(one.missing[:SHOWN]) + more, one.reason))
    say("\n".join(table(("HOST", "BASELINE", "STATE", "LACKS", "REASON"), rows)) if rows else "  no hosts")
    say("\n" + ", ".join(f"{number} {state}" for state, number in sorted(Counter(one.state for one in found).items())))
    return 3 if bad else 0

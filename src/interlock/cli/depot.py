"""``interlock depot``: make, copy, check depots, and recall bulletins of them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from interlock.cli import depot_named
from interlock.cli.output import count, print_json, say, size, table
from interlock.depot.lint import BAD, lint
from interlock.depot.make import create_depot, recall
from interlock.depot.repository import open_depot
from interlock.depot.sync import SyncProgress, sync
from interlock.system.run import Runner

UNUSABLE = 7


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "make, copy and check depots, and recall bulletins"
    parser = subparsers.add_parser("depot", help=text, description=f"{text[0].upper()}{text[1:]}.")
    inner = parser.add_subparsers(dest="depot_verb", metavar="VERB", required=True)
    create = _inner(inner, "create", "write the metadata of the packages in a directory (createrepo_c)", run_create)
    create.add_argument("--bulletins", metavar="FILE", default="", help="a JSON list of bulletins")
    listing = _inner(inner, "list", "what a depot has; without one, the depots that have a name", run_list, "?")
    listing.set_defaults(depot="")
    _inner(inner, "lint", "everything that is wrong with a depot; reads every package", run_lint)
    copy = _inner(inner, "sync", "copy a depot into a directory; go on where an earlier copy was cut off", run_sync)
    copy.add_argument("target", metavar="DIR")
    copy.add_argument("--jobs", type=int, default=8, metavar="N", help="files at a time (default: 8)")
    back = _inner(inner, "recall", "mark a bulletin as recalled: nobody installs it any more", run_recall)
    back.add_argument("bulletin", metavar="ID")
    back.add_argument("--reason", required=True, metavar="TEXT", help="why, for those who have it")
    back.add_argument("--replacement", default="", metavar="ID", help="the bulletin that takes its place")
    for one in (create, back):
        one.add_argument("--sign", metavar="KEY", default="", help="sign with this secret key of your own GnuPG")
    depot_named.add_parsers(inner, _inner)


def _inner(inner: Any, name: str, text: str, function: Any, nargs: Any = None) -> Any:
    parser = inner.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("depot", metavar="DEPOT", nargs=nargs, help="a directory, or a URL or name to read from")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=function)
    return parser


def run_create(options: argparse.Namespace) -> int:
    """Make a depot."""
    depot = create_depot(options.depot, options.bulletins, Runner(), options.sign)
    row = {"depot": options.depot, "packages": len(depot.packages), "bulletins": [one.id for one in depot.bulletins]}
    if options.json:
        print_json(row)
    else:
        say(f"{options.depot}: {count(len(depot.packages), 'package')}, {count(len(depot.bulletins), 'bulletin')}")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Print what a depot has, or which ones have a name."""
    if not options.depot:
        return depot_named.run_names(options)
    depot = open_depot(options.depot)
    rows = [
        {
            "id": one.id, "severity": one.severity, "category": one.category, "issued": one.issued, "title": one.title,
            "recalled": one.recalled, "packages": len(one.packages),
        }
        for one in depot.bulletins
    ]  # fmt: skip
    if options.json:
        print_json({"packages": len(depot.packages), "bulletins": rows, "defects": list(depot.defects)})
        return 0
    shown = [
        (row["id"], "recalled" if row["recalled"] else row["severity"], row["category"], row["issued"], row["title"])
        for row in rows
    ]
    say("\n".join(table(("BULLETIN", "SEVERITY", "CATEGORY", "ISSUED", "TITLE"), shown)) if rows else "  no bulletins")
    for defect in depot.defects:
        say(f"  defect: {defect}")
    say(f"\n{count(len(depot.packages), 'package')}")
    return 0


def run_lint(options: argparse.Namespace) -> int:
    """Print what is wrong. Exit status 7 where something makes the depot, or an update from it, fail."""
    found = lint(options.depot)
    bad = [one for one in found if one.level == BAD]
    if options.json:
        print_json({"usable": not bad, "defects": [vars(one) for one in found]})
        return UNUSABLE if bad else 0
    for one in found:
        say(f"  {one.level}: {one.where}: {one.text}\n      → {one.advice}")
    say(f"{len(bad)} bad, {count(len(found) - len(bad), 'note')}")
    return UNUSABLE if bad else 0


def run_sync(options: argparse.Namespace) -> int:
    """Copy a depot."""
    shows = sys.stderr.isatty() and not options.json
    done = sync(
        options.depot, os.path.abspath(options.target), jobs=max(1, options.jobs), tell=_show if shows else _hide
    )
    if shows:
        print(file=sys.stderr)
    if options.json:
        print_json(vars(done))
    else:
        say(
            f"{options.target}: {count(done.packages, 'package')}: {done.fetched} fetched ({size(done.bytes)}), "
            f"{done.kept} were there, {done.removed} removed"
        )
    return 0


def _hide(progress: SyncProgress) -> None:
    """Show nothing."""


def _show(progress: SyncProgress) -> None:
    part = f"{size(progress.bytes_done)} of {size(progress.bytes_total)}"
    print(f"\r\x1b[K  {progress.packages}/{progress.total} packages, {part}", end="", file=sys.stderr, flush=True)


def run_recall(options: argparse.Namespace) -> int:
    """Recall a bulletin."""
    recall(options.depot, options.bulletin, options.reason, options.replacement, Runner(), key=options.sign)
    if options.json:
        print_json({"depot": options.depot, "recalled": options.bulletin, "replacement": options.replacement})
    else:
        instead = f"; {options.replacement} takes its place" if options.replacement else ""
        say(f"{options.bulletin} is recalled{instead}. Hosts hear of it at their next scan or check.")
    return 0

"""The verbs about bulletins: ``scan``."""

from __future__ import annotations

import argparse
from typing import Any

from interlock.cli.output import print_json, say, table
from interlock.cli.plan import headline, plan_row, say_defects
from interlock.depot.bulletin import bulletin_states
from interlock.host.context import this_host
from interlock.upgrade.prepare import Picture, take_picture


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    text = "which bulletins of a depot apply to this host"
    scan = subparsers.add_parser("scan", help=text, description=text[0].upper() + text[1:] + ".")
    scan.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    scan.add_argument("--depot", required=True, metavar="D", help="directory or URL of an rpm-md repository")
    scan.set_defaults(func=run_scan)


def run_scan(options: argparse.Namespace) -> int:
    """Print which bulletins apply."""
    picture = take_picture(this_host(), options.depot, [])
    states = bulletin_states(picture.depot, picture.installed)
    if options.json:
        print_json({
            "depot": options.depot, "defects": list(picture.depot.defects), "upgrade": plan_row(picture.plan),
            "bulletins": [_bulletin_row(picture, one) for one in states],
        })  # fmt: skip
        return 0
    rows = [
        (row["id"], row["state"], row["severity"], row["category"], row["title"])
        for row in (_bulletin_row(picture, one) for one in states)
    ]
    say("\n".join(table(("BULLETIN", "STATE", "SEVERITY", "CATEGORY", "TITLE"), rows)) if rows else "  no bulletins")
    say_defects(picture)
    say(f"\n{headline(picture.plan)}")
    return 0


def _bulletin_row(picture: Picture, one: Any) -> dict[str, Any]:
    bulletin = one.bulletin
    return {
        "id": bulletin.id, "state": one.status.value, "reason": one.reason, "severity": bulletin.severity,
        "category": bulletin.category, "title": bulletin.title, "issued": bulletin.issued,
        "reboot": bulletin.reboot,
    }  # fmt: skip

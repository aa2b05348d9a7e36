"""The verbs about bulletins: ``scan``, ``query`` and ``info``."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Optional

from interlock.cli.options import DEPOT, add_unsigned_option
from interlock.cli.output import print_json, say, table
from interlock.cli.plan import headline, plan_row, say_defects
from interlock.depot.bulletin import BulletinState, BulletinStatus, bulletin_states
from interlock.errors import UnknownBulletin
from interlock.host.context import this_host
from interlock.upgrade.bulletins import carried_out, refined, refined_states
from interlock.upgrade.prepare import Picture, take_picture

QUIET = (BulletinStatus.NOT_APPLICABLE,)
WIDTH = 110


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    scan = _verb(subparsers, "scan", "which bulletins of a depot apply to this host", run_scan)
    scan.add_argument("--all", action="store_true", help="show those that do not apply as well")
    for name in ("severity", "category"):
        scan.add_argument(f"--{name}", action="append", default=[], metavar="S", help=f"only this {name} (repeatable)")
    query = _verb(subparsers, "query", "which bulletins are installed on this host, and since when", run_query)
    info = _verb(subparsers, "info", "all that is known of one bulletin, and what it is on this host", run_info)
    info.add_argument("bulletin", metavar="ID")
    for parser, needed in ((scan, True), (query, False), (info, True)):
        parser.add_argument("--depot", required=needed, metavar="D", help=DEPOT)
        add_unsigned_option(parser)


def _verb(subparsers: Any, name: str, text: str, function: Any) -> Any:
    parser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=function)
    return parser


def run_scan(options: argparse.Namespace) -> int:
    """Print which bulletins apply."""
    host = this_host()
    picture = take_picture(host, options.depot, [], allow_unsigned=options.allow_unsigned)
    found = [one for one in refined_states(host, picture) if _wanted(one, options)]
    if options.json:
        print_json({
            "depot": options.depot, "defects": list(picture.depot.defects), "upgrade": plan_row(picture.plan),
            "notes": list(picture.plan.notes), "bulletins": [_bulletin_row(one) for one in found],
            "counts": dict(Counter(one.status.value for one in found)),
        })  # fmt: skip
        return 0
    shown = [one for one in found if options.all or one.status not in QUIET]
    rows = [
        (one.bulletin.id, one.status.value, one.bulletin.severity, one.bulletin.category, one.bulletin.title)
        for one in shown
    ]
    say("\n".join(table(("BULLETIN", "STATE", "SEVERITY", "CATEGORY", "TITLE"), rows)) if rows else "  no bulletins")
    _say_reasons(shown)
    if len(found) > len(shown):
        say(f"  {len(found) - len(shown)} do not apply here (--all shows them)")
    say_defects(picture)
    for note in picture.plan.notes:
        say(f"  note: {note}")
    say(f"\n{headline(picture.plan)}")
    return 0


def _wanted(one: BulletinState, options: argparse.Namespace) -> bool:
    for asked, has in ((options.severity, one.bulletin.severity), (options.category, one.bulletin.category)):
        if asked and has.lower() not in {word.lower() for word in asked}:
            return False
    return True


def _say_reasons(shown: Sequence[BulletinState]) -> None:
    for one in shown:
        if one.status in (BulletinStatus.RECALLED, BulletinStatus.CONFLICT, BulletinStatus.NOT_INSTALLABLE,
                          BulletinStatus.MISSING_PACKAGE, BulletinStatus.UNKNOWN):  # fmt: skip
            say(f"  {one.bulletin.id}: {one.reason}")


def _bulletin_row(one: BulletinState) -> dict[str, Any]:
    bulletin = one.bulletin
    return {
        "id": bulletin.id, "state": one.status.value, "reason": one.reason, "severity": bulletin.severity,
        "category": bulletin.category, "title": bulletin.title, "issued": bulletin.issued,
        "reboot": bulletin.reboot, "maintenance": bulletin.maintenance, "recalled": bulletin.recalled,
        "replacement": bulletin.replacement, "installed_here": [str(nevra) for nevra in one.here],
    }  # fmt: skip


def run_query(options: argparse.Namespace) -> int:
    """Print the bulletins that are installed: what Interlock has carried out, and what a depot's packages say."""
    host = this_host()
    done = carried_out(host)
    rows = {name: {**row, "title": "", "state": "installed", "reason": ""} for name, row in done.items()}
    if options.depot:
        picture = take_picture(host, options.depot, [], allow_unsigned=options.allow_unsigned)
        for one in bulletin_states(picture.depot, picture.installed):
            if one.status is BulletinStatus.INSTALLED or (one.status is BulletinStatus.RECALLED and one.here):
                known = done.get(one.bulletin.id, {"id": one.bulletin.id, "at": None, "operation": ""})
                row = {"title": one.bulletin.title, "state": one.status.value, "reason": one.reason}
                rows[one.bulletin.id] = {**known, **row}
    if options.json:
        print_json(list(rows.values()))
        return 0
    shown = [(row["id"], row["state"], _when(row["at"]), row["title"]) for row in rows.values()]
    say("\n".join(table(("BULLETIN", "STATE", "INSTALLED (UTC)", "SUMMARY"), shown)) if shown else "  none")
    for row in rows.values():
        if row["state"] == "recalled":
            say(f"  {row['id']}: {row['reason']}")
    return 0


def _when(seconds: Optional[float]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) if seconds else "not by Interlock"


def run_info(options: argparse.Namespace) -> int:
    """Print one bulletin."""
    host = this_host()
    picture = take_picture(host, options.depot, [], allow_unsigned=options.allow_unsigned)
    found = next(
        (one for one in bulletin_states(picture.depot, picture.installed) if one.bulletin.id == options.bulletin), None
    )
    if found is None:
        known = ", ".join(one.id for one in picture.depot.bulletins[:10]) or "none"
        raise UnknownBulletin(depot=options.depot, bulletin=options.bulletin, known=known)
    if found.status is BulletinStatus.APPLICABLE:
        found = refined(host, picture, found)
    row = _info_row(picture, found, carried_out(host).get(options.bulletin, {}).get("at"))
    if options.json:
        print_json(row)
        return 0
    for name, value in row.items():
        _say_field(name, value)
    return 0


def _info_row(picture: Picture, one: BulletinState, at: Optional[float]) -> dict[str, Any]:
    bulletin = one.bulletin
    return {
        **_bulletin_row(one), "installed": at, "updated": bulletin.updated, "vendor": bulletin.vendor,
        "rights": bulletin.rights, "restart": bulletin.restart, "recall_reason": bulletin.recall_reason,
        "packages": list(map(str, bulletin.packages)), "would_install": list(map(str, one.upgrades)),
        "references": [vars(reference) for reference in bulletin.references], "description": bulletin.description,
    }  # fmt: skip


def _say_field(name: str, value: Any) -> None:
    if value in ("", None, [], False):
        return
    if name == "references":
        value = [" ".join(filter(None, (one["kind"], one["identity"], one["href"]))) for one in value]
    if name == "installed":
        value = _when(value)
    texts = value if isinstance(value, list) else str(value).splitlines()
    for number, text in enumerate(texts):
        label = f"{name.replace('_', ' ')}:" if number == 0 else ""
        say(textwrap.fill(str(text), WIDTH, initial_indent=label.ljust(16), subsequent_indent=" " * 16))

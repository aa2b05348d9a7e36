"""``interlock inventory``: all that a manager wants to know of this host, in one answer."""

from __future__ import annotations

import argparse
from typing import Any

from interlock.cli.output import print_json
from interlock.cli.records import status_row
from interlock.host.context import this_host
from interlock.upgrade.advise import gather_facts
from interlock.upgrade.prepare import read_installed

FORMAT = 1


def add_parsers(subparsers: Any) -> None:
    """Add the verb, which is for programs and not shown in the help."""
    parser = subparsers.add_parser("inventory")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(func=run_inventory, json=True)


def run_inventory(_options: argparse.Namespace) -> int:
    """Print facts, packages and status as one JSON object; ``now`` is this host's clock, seconds since 1970."""
    host = this_host()
    database, installed = read_installed(host)
    print_json({
        "format": FORMAT, "now": host.clock.now(), "status": status_row(host),
        "facts": gather_facts(host, database, installed), "packages": sorted(str(one.nevra) for one in installed),
    })  # fmt: skip
    return 0

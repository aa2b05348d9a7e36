"""What a manager asks of a host: ``interlock inventory``, what it is, and ``interlock operation``, how far one is."""

from __future__ import annotations

import argparse
from typing import Any

from interlock.cli.output import print_json
from interlock.cli.records import status_row
from interlock.host.context import this_host
from interlock.upgrade.advise import gather_facts
from interlock.upgrade.once import find_asked
from interlock.upgrade.operation import Operation, list_operations
from interlock.upgrade.prepare import read_installed
from interlock.upgrade.service import events_since, running

FORMAT = 1
MOST_EVENTS = 2000


def add_parsers(subparsers: Any) -> None:
    """Add the verbs, which are for programs and not shown in the help."""
    parser = subparsers.add_parser("inventory")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(func=run_inventory, json=True)
    parser = subparsers.add_parser("operation")
    parser.add_argument("operation", metavar="ID", help="an operation, or the name of a wish (update --id)")
    parser.add_argument("--since", type=int, default=0, metavar="BYTES", help="events from here on")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(func=run_operation, json=True)


def run_inventory(_options: argparse.Namespace) -> int:
    """Print facts, packages and status as one JSON object; ``now`` is this host's clock, seconds since 1970."""
    host = this_host()
    database, installed = read_installed(host)
    print_json({
        "format": FORMAT, "now": host.clock.now(), "status": status_row(host),
        "facts": gather_facts(host, database, installed), "packages": sorted(str(one.nevra) for one in installed),
    })  # fmt: skip
    return 0


def run_operation(options: argparse.Namespace) -> int:
    """Print how far an operation is, with its events from an offset on, as one JSON object; does not wait.

    ``operation`` is null for a wish that nobody has made here; ``end`` is the last event, once it has ended.
    """
    host = this_host()
    operation = find_asked(host.paths, options.operation)
    if operation is None:
        operation = next((one for one in list_operations(host.paths) if one.id == options.operation), None)
    if operation is None:
        print_json({"format": FORMAT, "operation": None})
        return 0
    # Asked before the events are read: what has ended by then has written all of them.
    alive = running(host, operation)
    events, offset = events_since(operation, max(0, options.since), MOST_EVENTS)
    end = next((one for one in reversed(events) if one["type"] == "operation.ended"), None)
    state = operation.state()
    print_json({
        "format": FORMAT, "operation": operation.id, "state": state.name if state else "empty", "running": alive,
        "events": events, "offset": offset, "end": end, "reboot": _needs_reboot(operation),
    })  # fmt: skip
    return 0


def _needs_reboot(operation: Operation) -> bool:
    """Say whether the plan of an operation wants a reboot for all of it to take effect."""
    try:
        return operation.read_json("plan.json").get("reboot") is True
    except (OSError, ValueError, AttributeError):
        return False

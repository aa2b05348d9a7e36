"""The verbs that read the journal: ``status`` and ``history``."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, Optional

from interlock.cli.output import print_json, say, say_end, table
from interlock.cli.progress import Progress
from interlock.host.context import Host, this_host
from interlock.host.hold import FOREIGN, left_by, read_hold
from interlock.host.lease import current_owner
from interlock.system.clock import age
from interlock.upgrade.operation import Operation, find_operation, list_operations, summary
from interlock.upgrade.service import all_events, follow, running
from interlock.upgrade.settle import interrupted
from interlock.upgrade.undo_policy import read_policy, undoable, until


def add_parsers(subparsers: Any) -> None:
    """Add the verbs."""
    status = subparsers.add_parser("status", help="what runs, what is unfinished, whether the host is on hold")
    status.add_argument("--follow", action="store_true", help="follow the running operation to its end")
    status.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    status.set_defaults(func=run_status)
    history = subparsers.add_parser("history", help="the operations of this host, or one of them")
    history.add_argument("operation", nargs="?", metavar="ID", help="show this operation's journal")
    history.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    history.set_defaults(func=run_history)


def run_status(options: argparse.Namespace) -> int:
    """Print what this host is in the middle of. Exit status 5 where it is on hold."""
    host = this_host()
    row = status_row(host)
    if options.json:
        print_json(row)
        return 5 if row["hold"] else 0
    _say_status(host, row)
    operation = _running(host)
    if options.follow and operation is not None:
        end = follow(host, operation, Progress())
        say_end(end)
        return int(end["exit_status"])
    return 5 if row["hold"] else 0


def _running(host: Host) -> Optional[Operation]:
    owner = current_owner(host.paths)
    found = list_operations(host.paths)
    return next((one for one in found if owner and one.id == owner.operation and running(host, one)), None)


def status_row(host: Host) -> dict[str, Any]:
    """Return what this host is in the middle of."""
    owner, hold, cut_off = current_owner(host.paths), read_hold(host.paths), interrupted(host)
    operations = list_operations(host.paths)
    return {
        "owner": vars(owner) if owner else None,
        "hold": vars(hold) if hold else None,
        "interrupted": cut_off.id if cut_off else None,
        "last": summary(operations[-1]) if operations else None,
    }


def _say_status(host: Host, row: dict[str, Any]) -> None:
    if row["owner"]:
        since = age(host.clock.now() - row["owner"]["since"])
        say(f"running: operation {row['owner']['operation']} (pid {row['owner']['pid']}), since {since}")
        _say_progress(host, row["owner"]["operation"])
    if row["hold"]:
        _say_hold(host, row["hold"])
    if row["interrupted"]:
        say(f"cut off: operation {row['interrupted']}; `interlock resume` brings the host to what it was, or was to be")
    if row["last"]:
        say(f"last: {row['last']['id']} {row['last']['state']}  {row['last']['detail']}".rstrip())
    if not any(row.values()):
        say("Nothing runs, nothing is unfinished; this host has no operations yet.")


def _say_hold(host: Host, hold: dict[str, Any]) -> None:
    say(f"ON HOLD, {left_by(hold['operation'])} left it so: {hold['reason']}")
    if hold["operation"] == FOREIGN:
        say("  Do not reboot, and install nothing. `interlock resume --depot DIR` completes it with the packages of")
        say("  that upgrade, or undoes it with those from before. When the host has been put right by hand,")
        say("  `interlock resume` proves it and ends the hold.")
        return
    if hold["operation"].startswith("advisory:"):
        say("  Do not reboot, and install nothing. `interlock support-bundle FILE` writes all that support needs.")
        say(f"  When the host has been put right, remove {host.paths.hold} and {host.paths.dirty} to end it.")
        return
    say("  Do not reboot: the files of some packages are new, the package database is the one from before.")
    say(f"  Kept for a look: {hold['kept'] or 'nothing'}; `interlock history {hold['operation']}` says more.")
    say("  `interlock resume` tries to bring it back. When the host has been put right by hand, remove")
    say(f"  {host.paths.hold} and {host.paths.dirty} to end the hold.")


def _say_progress(host: Host, name: str) -> None:
    """Say how far a running operation is, from its own events."""
    operation = next((one for one in list_operations(host.paths) if one.id == name), None)
    events = list(all_events(operation)) if operation else []
    state = next((one["state"] for one in reversed(events) if one["type"] == "state.changed"), "staged")
    element = next((one for one in reversed(events) if one["type"] == "element.started"), None)
    script = next((one for one in reversed(events) if one["type"].startswith("script.")), None)
    say(f"  state: {state}")
    if element:
        say(f"  last package: {element['package']} ({element['action']} {element['number']} of {element['total']})")
    if script and script["type"] != "script.finished":
        say(f"  scriptlet running: {script['script']} of {script['package']}")
        for part in ("waits", "cycle", "processes", "why"):
            if part in script:
                say(f"    {part}: {script[part]}")


def run_history(options: argparse.Namespace) -> int:
    """Print all operations, or the records of one."""
    host = this_host()
    if options.operation:
        return _one(find_operation(host.paths, options.operation), options.json)
    policy = read_policy(host.paths)
    able = {one.id: until(one, policy) for one in undoable(host)} if os.geteuid() == 0 else {}
    rows = [{**summary(operation), "undo_until": able.get(operation.id)} for operation in list_operations(host.paths)]
    if options.json:
        print_json(rows)
        return 0
    shown = [
        (row["id"], row["state"], _when(row["began"]), _span(row), _day(row["undo_until"]), row["detail"])
        for row in rows
    ]
    names = ("OPERATION", "STATE", "BEGAN (UTC)", "TOOK", "UNDO UNTIL", "DETAIL")
    say("\n".join(table(names, shown)) if rows else "  none yet")
    if able:
        say("\n`interlock rollback --dry-run [ID]` shows what taking one back would change.")
    return 0


def _day(seconds: Optional[float]) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else "-"


def _when(seconds: Optional[float]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) if seconds else "-"


def _span(row: dict[str, Any]) -> str:
    return age(row["ended"] - row["began"]) if row["ended"] and row["began"] else "-"


def _one(operation: Operation, as_json: bool) -> int:
    records = operation.records()
    if as_json:
        print_json([
            {"seq": one.seq, "at": one.at, "kind": one.kind, "name": one.name, "data": dict(one.data)}
            for one in records
        ])  # fmt: skip
        return 0
    rows = [(one.seq, _when(one.at), one.kind, one.name, _facts(one.data)) for one in records]
    say("\n".join(table(("", "AT (UTC)", "KIND", "NAME", "FACTS"), rows)))
    say(f"\n  folder: {operation.folder}")
    return 0


def _facts(data: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in data.items() if value not in ("", [], None))

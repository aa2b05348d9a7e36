"""``interlock agents``: who uses the package database on its own; to watch, stop and start them again."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Optional

from interlock.cli.output import count, print_json, say, table
from interlock.errors import Refused, UsageError
from interlock.host.agents import Agent, running_agents
from interlock.host.catalogue import read_catalogue
from interlock.host.context import Host, this_host
from interlock.host.lease import Lease
from interlock.host.quiesce import Quiesced, intend, restore, stop
from interlock.host.watching import watch
from interlock.rpmdb.backend import find_database
from interlock.system import durable


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "programs that use the package database on their own"
    parser = subparsers.add_parser("agents", help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(func=run_list, json=False)
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    inner = parser.add_subparsers(dest="agents_verb", metavar="VERB")
    _inner(inner, "list", "who runs now, why we think so, and how each would be stopped", run_list)
    seen = _inner(inner, "watch", "learn who opens the database, how often and how long", run_watch)
    seen.add_argument("--seconds", type=_seconds, default=0.0, metavar="N", help="how long (default: until Ctrl-C)")
    _inner(inner, "stop", "stop them, and write down what ran; `update --quiesce` does it for one upgrade", run_stop)
    _inner(inner, "start", "start again what `agents stop` has stopped, and nothing else", run_start)


def _inner(inner: Any, name: str, text: str, function: Any) -> Any:
    parser = inner.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON value")
    parser.set_defaults(func=function)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 366 * 86400:
        raise ValueError(text)
    return seconds


def _agents(host: Host) -> tuple[list[Agent], str, tuple[str, ...]]:
    catalogue = read_catalogue(host.paths)
    database = find_database(host.runner).path
    return running_agents(host.proc, database, catalogue), database, catalogue.defects


def run_list(options: argparse.Namespace) -> int:
    """Print the agents that run now."""
    host = this_host()
    agents, _, defects = _agents(host)
    rows = [_row(host, agent) for agent in agents]
    if options.json:
        print_json({"agents": rows, "defects": list(defects)})
        return 0
    shown = [(row["name"], row["evidence"], ", ".join(row["stops"]) or row["frozen"]) for row in rows]
    say("\n".join(table(("AGENT", "EVIDENCE", "WOULD BE STOPPED"), shown)) if rows else "  no agents run")
    for defect in defects:
        say(f"  left out: {defect}")
    return 0


def _row(host: Host, agent: Agent) -> dict[str, Any]:
    what = intend(host, [agent])
    frozen = f"frozen: {', '.join(str(one.pid) for one in what.frozen)}" if what.frozen else "-"
    return {
        "name": agent.name, "evidence": agent.evidence, "pids": list(agent.pids), "units": list(agent.units),
        "stops": [unit.name for unit in what.units], "frozen": frozen, "forbidden": list(what.forbidden),
        "uses": agent.known.uses if agent.known else "", "cadence": agent.known.cadence if agent.known else "",
        "notes": list(what.notes),
    }  # fmt: skip


def run_watch(options: argparse.Namespace) -> int:
    """Watch, and print what was seen; an interruption is the usual end."""
    host = this_host()
    _need_root()
    database = find_database(host.runner).path
    if not options.json:
        say(f"watching {database}; Ctrl-C ends it")
    rows = watch(host, database, options.seconds).rows()
    if options.json:
        print_json({"database": database, "users": rows})
        return 0
    shown = [_shown(row) for row in rows]
    names = ("PROGRAM", "UNIT", "STARTED BY", "RUNS", "OPENS", "EVERY", "LONGEST", "TOTAL")
    say("\n".join(table(names, shown)) if rows else "  nobody opened it")
    return 0


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    every = "-" if row["every"] is None else f"{row['every']:.1f} s"
    names = (row["program"], row["unit"] or "-", row["parent"] or "-", row["runs"], row["opens"])
    return (*names, every, f"{row['longest']:.3f} s", f"{row['total']:.3f} s")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Refused(reasons="only root can do this; run it as root")


def run_stop(options: argparse.Namespace) -> int:
    """Stop the agents; what ran is written down first."""
    host = this_host()
    _need_root()
    with Lease(host.paths, "agents stop", host.clock, host.proc):
        if os.path.exists(host.paths.quiesced):
            raise UsageError(detail="agents are stopped already: `interlock agents start` starts them again")
        agents, database, _ = _agents(host)
        what = intend(host, agents)
        notes = list(what.notes)
        durable.write_file(host.paths.quiesced, json.dumps(what.to_json()))
        stop(host, what, database, notes.append)
    return _say(options, "stopped", what, notes)


def run_start(options: argparse.Namespace) -> int:
    """Start again what was stopped."""
    host = this_host()
    _need_root()
    with Lease(host.paths, "agents start", host.clock, host.proc):
        what = _stopped(host)
        notes: list[str] = []
        if what is not None:
            restore(host, what, notes.append)
            durable.remove_file(host.paths.quiesced)
    return _say(options, "started", what or Quiesced(), notes)


def _stopped(host: Host) -> Optional[Quiesced]:
    try:
        with open(host.paths.quiesced, encoding="utf-8") as stream:
            return Quiesced.from_json(json.load(stream))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"{host.paths.quiesced} cannot be read ({error}): start the agents by hand, then remove it"
        raise Refused(reasons=detail) from None


def _say(options: argparse.Namespace, verb: str, what: Quiesced, notes: list[str]) -> int:
    units = [unit.name for unit in what.units]
    if options.json:
        print_json({verb: units, "frozen": [one.pid for one in what.frozen], "notes": notes})
        return 0
    say(f"{verb}: {count(len(units), 'unit')}, {count(len(what.frozen), 'process')}".replace("processs", "processes"))
    for unit in units:
        say(f"  {unit}")
    for note in notes:
        say(f"  note: {note}")
    return 0

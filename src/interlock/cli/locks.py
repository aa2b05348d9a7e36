"""``interlock locks``: who waits for whom, and who holds it. Loads little, so that a look is quick."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Optional

from interlock.system.clock import SystemClock
from interlock.system.proc import ProcReader
from interlock.waits.graph import build_graph
from interlock.waits.look import Place, look

if TYPE_CHECKING:
    import argparse

    from interlock.system.run import Runner
    from interlock.waits.facts import Facts
    from interlock.waits.graph import WaitGraph

HOPELESS = 3
# Only a look that asks much keeps copies; this one has the place for them named, as every look has.
SCRATCH = "/var/cache/interlock/read-locks"


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "who waits for the package database, and who holds it"
    parser = subparsers.add_parser(
        "locks", help=text, description=f"{text[0].upper()}{text[1:]}. It changes nothing.",
        epilog="Exit status: 0 nobody waits without hope; 3 a deadlock or an orphaned lock is proven.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON value; with --watch, one a line")
    parser.add_argument("--svg", metavar="FILE", help="also write the graph as a picture")
    parser.add_argument("--watch", action="store_true", help="follow what appears and ends, until Ctrl-C")
    parser.add_argument("--root", metavar="DIR", help="look at the container or tree whose root directory this is")
    parser.add_argument("--proc", metavar="DIR", help="read this captured /proc instead of the kernel's")
    parser.set_defaults(func=run_locks)


class LateRunner:
    """A runner that is loaded when a look starts its first program: most start none."""

    def __getattr__(self, name: str) -> Any:
        from interlock.system.run import Runner  # noqa: PLC0415 - see above

        return getattr(Runner(), name)


def place_of(root: Optional[str], proc: Optional[str]) -> Place:
    """Return where to look: this host, a tree or container below it, or a captured ``/proc``."""
    for path in (root, proc):
        if path is not None and not os.path.isdir(path):
            from interlock.errors import UsageError  # noqa: PLC0415 - a quick look needs no errors

            raise UsageError(detail=f"{path} is not a directory")
    reader = ProcReader(os.path.abspath(proc) if proc else "/proc")
    runner: Runner = LateRunner()  # type: ignore[assignment]
    scratch = f"{SCRATCH}-{os.getpid()}"
    return Place(reader, os.path.realpath(root or "/"), runner, SystemClock(), scratch, live=proc is None)


def run_locks(options: argparse.Namespace) -> int:
    """Look once, or go on looking, and print what is found."""
    place = place_of(options.root, options.proc)
    if options.watch:
        from interlock.waits.watch_look import watch  # noqa: PLC0415 - only a long look needs it

        return watch(place, bool(options.json), options.svg)
    facts = look(place, thorough=False)
    graph = build_graph(facts)
    if options.svg:
        write_picture(options.svg, facts, graph)
    print_look(facts, graph, bool(options.json))
    return HOPELESS if graph.cycles or graph.orphans else 0


def write_picture(path: str, facts: Facts, graph: WaitGraph) -> None:
    """Write the graph as an SVG file."""
    from interlock.waits.svg import picture  # noqa: PLC0415 - only a picture needs it

    with open(path, "w", encoding="utf-8") as stream:
        stream.write(picture(facts, graph))


def print_look(facts: Facts, graph: WaitGraph, as_json: bool) -> None:
    """Print one look."""
    if as_json:
        import json  # noqa: PLC0415 - people need none

        from interlock.waits.draw import to_json  # noqa: PLC0415

        text = json.dumps(to_json(facts, graph), indent=2, ensure_ascii=True)
    else:
        from interlock.waits.draw import draw  # noqa: PLC0415

        text = "\n".join(draw(facts, graph))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

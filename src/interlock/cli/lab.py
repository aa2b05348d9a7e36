"""``interlock lab``: real RPM hosts on this machine, to try everything on."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Optional

from interlock.cli import demo, lab_cases
from interlock.cli.output import print_error, print_json, say, table
from interlock.errors import InterlockError, UsageError
from interlock.lab import agents, disks, dress, releases, verbs
from interlock.lab.cache import Cache, default_home
from interlock.lab.hosts import Lab
from interlock.system.proc import ProcReader
from interlock.system.run import Runner


def add_parsers(subparsers: Any) -> None:
    """Add ``lab`` and its verbs to the program's parser."""
    parser = subparsers.add_parser("lab", help="real RPM hosts on this machine, to try everything on")
    parser.set_defaults(func=lambda options: _no_verb(parser))
    inner = parser.add_subparsers(dest="lab_verb", metavar="VERB")
    _add_makers(inner)
    _add_users(inner)
    lab_cases.add_parsers(inner, make_lab)
    demo.add_parser(inner, make_lab)


def _no_verb(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return 2


def _add_makers(inner: Any) -> None:
    build = _verb(inner, "build", run_build, "build the images of releases (once; cached)")
    build.add_argument("--release", action="append", default=[], metavar="R", help=", ".join(releases.NAMES))
    up = _verb(inner, "up", run_up, "make and boot hosts; they answer ssh when it ends")
    up.add_argument("name", metavar="NAME")
    up.add_argument("--release", required=True, metavar="R", help=", ".join(releases.NAMES))
    up.add_argument("--count", type=_positive, metavar="N", help="make NAME-1 to NAME-N")
    up.add_argument("--agent", action="append", default=[], metavar="A", help=", ".join(agents.NAMES))
    up.add_argument(
        "--filesystem", metavar="F", default=disks.SNAPSHOT, help=f"of the root directory: {', '.join(disks.NAMES)}"
    )
    up.add_argument("--dress", metavar="P", help=f"have it say that it is another product: {', '.join(dress.DRESSES)}")
    down = _verb(inner, "down", run_down, "remove hosts and all that belongs to them")
    down.add_argument("names", nargs="*", metavar="NAME")
    down.add_argument("--all", action="store_true", help="remove every host, the network and the mount")
    boot = _verb(inner, "boot", run_boot, "start a host that is off")
    boot.add_argument("name", metavar="NAME")
    power_cut = _verb(inner, "power-cut", run_power_cut, "end a host at once; its root directory stays")
    power_cut.add_argument("name", metavar="NAME")


def _add_users(inner: Any) -> None:
    _verb(inner, "list", run_list, "show the hosts")
    execute = _verb(inner, "exec", run_exec, "run a command on a host; its exit status is ours")
    execute.add_argument("name", metavar="NAME")
    execute.add_argument("words", nargs="*", metavar="-- CMD", help="without a command, a shell")
    path = _verb(inner, "path", run_path, "print where a host's root directory is on this machine")
    path.add_argument("name", metavar="NAME")
    depot = _verb(inner, "depot", run_depot, "print where a depot is; update depots are made when asked for")
    depot.add_argument(
        "name", nargs="?", metavar="DEPOT", help="classic-current, current-next, classic-updates-2, ...-updates-2..9"
    )
    agent = _verb(inner, "agent", run_agent, "start or stop an agent on a host")
    agent.add_argument("name", metavar="NAME")
    agent.add_argument("action", choices=("start", "stop"))
    agent.add_argument("agent", metavar="AGENT", help=", ".join(agents.NAMES))


def _verb(inner: Any, name: str, function: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = inner.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=function)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def make_lab() -> Lab:
    """Return the lab that this user's environment names."""
    return Lab(Cache(default_home(os.environ)), Runner(), ProcReader(), os.environ, _progress)


def _progress(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run_build(options: argparse.Namespace) -> int:
    """``lab build``."""
    built = verbs.build(make_lab(), options.release)
    return _show(options, {"built": built}, f"built: {', '.join(built)}" if built else "nothing was missing")


def run_up(options: argparse.Namespace) -> int:
    """``lab up``."""
    lab = make_lab()
    if options.dress:
        dress.find_dress(options.dress)
    made = verbs.up(lab, options.name, options.release, options.count, options.agent, filesystem=options.filesystem)
    for record in made if options.dress else ():
        dress.dress(lab.root_of(record.name), options.dress)
    rows = [lab.describe(record) for record in made]
    return _show(options, rows, "\n".join(f"{row['name']} is up at {row['address']}" for row in rows))


def run_down(options: argparse.Namespace) -> int:
    """``lab down``."""
    if bool(options.names) == options.all:
        raise UsageError(detail="name the hosts to remove, or say --all")
    removed = verbs.down(make_lab(), options.names, options.all)
    return _show(options, {"removed": removed}, f"removed: {', '.join(removed) or 'nothing was there'}")


def run_boot(options: argparse.Namespace) -> int:
    """``lab boot``."""
    lab = make_lab()
    record = verbs.boot(lab, options.name)
    return _show(options, lab.describe(record), f"{record.name} is up at {record.address}")


def run_power_cut(options: argparse.Namespace) -> int:
    """``lab power-cut``."""
    lab = make_lab()
    record = verbs.power_cut(lab, options.name)
    return _show(options, lab.describe(record), f"{record.name} is off")


def run_list(options: argparse.Namespace) -> int:
    """``lab list``."""
    rows = verbs.list_hosts(make_lab())
    lines = table(
        ["name", "release", "state", "address", "file system", "agents"],
        [
            [row["name"], row["release"], row["state"], row["address"], row["filesystem"], _agents(row["agents"])]
            for row in rows
        ],
        indent="",
    )
    return _show(options, rows, "\n".join(lines) if rows else "no hosts; `interlock lab up NAME --release R` makes one")


def _agents(names: object) -> str:
    return ", ".join(names) if isinstance(names, list) and names else "-"


def run_exec(options: argparse.Namespace) -> int:
    """``lab exec``."""
    if options.json:
        done = verbs.execute(make_lab(), options.name, options.words)
        print_json({"status": done.status, "stdout": done.stdout, "stderr": done.stderr, "seconds": done.seconds})
        return done.status
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return verbs.attach(make_lab(), options.name, options.words, terminal)


def run_path(options: argparse.Namespace) -> int:
    """``lab path``."""
    path = str(verbs.root_path(make_lab(), options.name))
    return _show(options, {"path": path}, path)


def run_depot(options: argparse.Namespace) -> int:
    """``lab depot``."""
    lab = make_lab()
    if options.name is None:
        names = verbs.depot_names(lab)
        return _show(options, names, "\n".join(names))
    paths = [str(path) for path in verbs.depot_paths(lab, options.name)]
    return _show(options, paths, "\n".join(paths))


def run_agent(options: argparse.Namespace) -> int:
    """``lab agent``."""
    lab = make_lab()
    record = verbs.switch_agent(lab, options.name, options.agent, options.action == "start")
    return _show(options, lab.describe(record), f"{record.name}: {_agents(list(record.agents))}")


def _show(options: argparse.Namespace, value: Any, text: str) -> int:
    if options.json:
        print_json(value)
    else:
        say(text)
    return 0


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the lab alone, without the rest of the program."""
    parser = argparse.ArgumentParser(prog="interlock")
    add_parsers(parser.add_subparsers(metavar="VERB", required=True))
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words if words[:1] == ["lab"] else ["lab", *words])
    try:
        return int(options.func(options))
    except InterlockError as error:
        print_error(error, bool(getattr(options, "json", False)))
        return int(error.exit_status)


if __name__ == "__main__":
    sys.exit(main())

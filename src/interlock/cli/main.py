"""The program ``interlock``: reads the command line, runs a verb, prints errors, gives the exit status.

Only the module of the verb that is asked for is loaded: a look at a host in trouble should cost it little. Help and
mistakes need them all.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Optional

from interlock import __version__

EPILOG = (
    "Exit status: 0 done; 1 unexpected error; 2 usage; 3 refused by a verdict, nothing was changed; 4 failed, the "
    "host is as before; 5 held, a person is needed; 6 busy, the owner is named; 7 bad depot or package."
)
# Modules with the verbs that they add, in the order of the help. The zipapp that goes onto hosts has no lab in it.
MODULES = {
    "bulletins": ("scan", "query", "info"),
    "upgrade": ("check", "stage", "update", "engine"),
    "records": ("status", "history"),
    "recovery": ("rollback", "resume"),
    "guard": ("guard", "reboot"),
    "rescue": ("rescue",),
    "locks": ("locks",),
    "doctor": ("doctor",),
    "depot": ("depot",),
    "keys": ("keys",),
    "agents": ("agents",),
    "advice": ("advice", "facts"),
    "support": ("support-bundle",),
    "inventory": ("inventory", "operation"),
    "hosts": ("hosts",),
    "baselines": ("baselines", "compliance"),
    "rollouts": ("remediate", "rollouts"),
    "lab": ("lab",),
}
MANAGER = ("interlock.manager", "asyncssh", "sqlalchemy", "dbos")
# What the zipapp leaves out, with what each of them needs; the manager's libraries need not be there either.
NOT_ON_HOSTS = {"lab": ("interlock.lab",), **dict.fromkeys(("hosts", "baselines", "rollouts"), MANAGER)}
GLOBAL_OPTIONS = frozenset({"--debug"})


class Parser(argparse.ArgumentParser):
    """A parser that knows its width without loading half of the standard library."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_formatter, **options)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=_columns() - 2)


def _columns() -> int:
    try:
        return int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def build_parser(verb: Optional[str] = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, or as much of it as one verb needs."""
    description = "Upgrades RPM hosts without wedging the package database."
    parser = Parser(prog="interlock", epilog=EPILOG, description=description)
    parser.add_argument("--version", action="version", version=f"interlock {__version__}")
    parser.add_argument("--debug", action="store_true", help="log every command that is run, on stderr")
    subparsers = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, parser_class=Parser, prog="interlock"
    )
    owner = next((name for name, verbs in MODULES.items() if verb in verbs), None)
    for name in MODULES:
        if owner in (None, name) and _is_here(name):
            import_module(f"interlock.cli.{name}").add_parsers(subparsers)
    return parser


def _is_here(name: str) -> bool:
    if name not in NOT_ON_HOSTS:
        return True
    from importlib.util import find_spec  # noqa: PLC0415 - these have time

    return all(find_spec(one) is not None for one in (*NOT_ON_HOSTS[name], f"interlock.cli.{name}"))


def asked_verb(arguments: Sequence[str]) -> Optional[str]:
    """Return the verb of a command line; None where it has none, or asks for help before it."""
    first = next((word for word in arguments if word not in GLOBAL_OPTIONS), None)
    return first if first and any(first in verbs for verbs in MODULES.values()) else None


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one command and return its exit status (ExitStatus)."""
    # A look is over before its garbage would be worth collecting.
    gc.disable()
    words = sys.argv[1:] if arguments is None else arguments
    options = build_parser(asked_verb(words)).parse_args(words)
    if options.verb != "locks" or options.watch:
        gc.enable()
    if options.debug or "logging" in sys.modules:
        _log(options.debug)
    try:
        return int(options.func(options))
    except KeyboardInterrupt:
        print("interlock: interrupted; an operation that runs goes on (`interlock status`)", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _failed(error, options)


def _log(debug: bool) -> None:
    import logging  # noqa: PLC0415 - a quick look logs nothing

    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, stream=sys.stderr, format="%(message)s")


def _failed(error: Exception, options: argparse.Namespace) -> int:
    """Print an error and return its exit status."""
    from interlock.cli.output import print_error  # noqa: PLC0415
    from interlock.errors import InterlockError, Refused  # noqa: PLC0415

    as_json = bool(getattr(options, "json", False))
    if isinstance(error, PermissionError):
        error = Refused(reasons=f"{error.filename or error}: permission denied; run it as root")
    elif not isinstance(error, InterlockError):
        if options.debug:
            raise error
        error = InterlockError(detail=f"{type(error).__name__}: {error}")
    print_error(error, as_json)
    return int(error.exit_status)


if __name__ == "__main__":
    sys.exit(main())

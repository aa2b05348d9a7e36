"""The program ``interlock``: reads the command line, runs a verb, prints errors, gives the exit status."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from typing import Optional

from interlock import __version__
from interlock.cli import doctor, records, upgrade
from interlock.cli.output import print_error
from interlock.errors import ExitStatus, InterlockError, Refused

EPILOG = (
    "Exit status: 0 done; 1 unexpected error; 2 usage; 3 refused by a verdict, nothing was changed; 4 failed, the "
    "host is as before; 5 held, a person is needed; 6 busy, the owner is named; 7 bad depot or package."
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="interlock", epilog=EPILOG,
        description="Upgrades RPM hosts without wedging the package database.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"interlock {__version__}")
    parser.add_argument("--debug", action="store_true", help="log every command that is run, on stderr")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=argparse.ArgumentParser)
    upgrade.add_parsers(subparsers)
    records.add_parsers(subparsers)
    doctor.add_parsers(subparsers)
    # The zipapp that goes onto hosts has no lab in it.
    if importlib.util.find_spec("interlock.lab") and importlib.util.find_spec("interlock.cli.lab"):
        importlib.import_module("interlock.cli.lab").add_parser(subparsers)
    return parser


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one command and return its exit status (ExitStatus)."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.WARNING, stream=sys.stderr, format="%(message)s"
    )
    as_json = bool(getattr(options, "json", False))
    try:
        return int(options.func(options))
    except InterlockError as error:
        print_error(error, as_json)
        return int(error.exit_status)
    except KeyboardInterrupt:
        print("interlock: interrupted; an operation that runs goes on (`interlock status`)", file=sys.stderr)
        return int(ExitStatus.UNEXPECTED)
    except PermissionError as error:
        print_error(Refused(reasons=f"{error.filename or error}: permission denied; run it as root"), as_json)
        return int(ExitStatus.REFUSED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitStatus.UNEXPECTED)
    except Exception as error:
        if options.debug:
            raise
        print_error(InterlockError(detail=f"{type(error).__name__}: {error}"), as_json)
        return int(ExitStatus.UNEXPECTED)


if __name__ == "__main__":
    sys.exit(main())

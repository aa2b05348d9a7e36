"""``interlock support-bundle``: all that somebody needs who has to help with this host, in one file."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from interlock.cli.output import count, print_json, say, size
from interlock.host.context import this_host
from interlock.support.bundle import Bundle, write_bundle

SHOWN = 8


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    text = "write all that support needs into one file, secrets removed"
    parser = subparsers.add_parser(
        "support-bundle", help=text,
        description=f"{text[0].upper()}{text[1:]}. It changes nothing on the host, and sends nothing anywhere.",
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE", help="the archive to write, such as /tmp/support.tar.gz")
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    parser.set_defaults(func=run_support_bundle)


def run_support_bundle(options: argparse.Namespace) -> int:
    """Write the bundle and say what is in it, and what is not."""
    shows = sys.stderr.isatty() and not options.json
    written = write_bundle(this_host(), options.file, _show if shows else lambda name: None)
    if shows:
        _show("")
    if options.json:
        rows = [vars(one) for one in written.entries]
        print_json({"file": written.path, "size": written.size, "removed": written.removed, "entries": rows})
    else:
        _say(written)
    return 0


def _show(name: str) -> None:
    print(f"\r\x1b[K  {name}" if name else "\r\x1b[K", end="", file=sys.stderr, flush=True)


def _say(written: Bundle) -> None:
    there = [one for one in written.entries if not one.fault]
    missing = [one for one in written.entries if one.fault]
    say(f"{written.path}: {size(written.size)}, {count(len(there), 'file')}; INDEX.txt says what each is")
    say(f"Secrets were removed in {count(written.removed, 'place')}. Have a look before you send it.")
    for one in missing[:SHOWN]:
        say(f"  not there: {one.name}: {one.fault}")
    if len(missing) > SHOWN:
        say(f"  and {len(missing) - SHOWN} more, which INDEX.txt names")

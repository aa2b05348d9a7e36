"""The verb ``rescue``: whether a power cut in the middle of an upgrade is covered, and making it so."""

from __future__ import annotations

import argparse
import os
from typing import Any

from interlock.boot.rescue import install_rescue
from interlock.boot.rescue_install import Cover, cover, rebuild_initramfs
from interlock.cli.output import print_json, say
from interlock.errors import Refused
from interlock.host.context import this_host

WORDS = {
    "unit": ("recovery early in the boot", "the next upgrade puts it in place"),
    "hooks": (
        "every initramfs that is made from now on carries the rescue",
        "`interlock rescue --install`, or the next upgrade, puts them in place",
    ),
    "initramfs": ("the initramfs of this kernel carries the rescue", "`interlock rescue --install` makes it anew"),
}


def add_parsers(subparsers: Any) -> None:
    """Add the verb."""
    rescue = subparsers.add_parser("rescue", help="what a power cut in the middle of an upgrade would meet")
    rescue.add_argument("--install", action="store_true", help="put all in place, and make the initramfs anew")
    rescue.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    rescue.set_defaults(func=run_rescue)


def run_rescue(options: argparse.Namespace) -> int:
    """Say what is in place; with ``--install``, make it so."""
    host = this_host()
    done: list[str] = []
    if options.install:
        if os.geteuid() != 0:
            raise Refused(reasons="this changes the host and must be run as root")
        done = [*install_rescue(host), rebuild_initramfs(host)]
    found = cover(host)
    if options.json:
        print_json({"done": done, **found._asdict()})
        return 0
    for line in done:
        say(f"  done: {line}")
    _say(found)
    return 0


def _say(found: Cover) -> None:
    for name, (good, bad) in WORDS.items():
        yes = getattr(found, name)
        say(f"  {'✓' if yes else '✗'} {name}: {good if yes else bad}")

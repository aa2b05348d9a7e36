"""Options that several verbs have."""

from __future__ import annotations

import argparse
import os

from interlock.depot.config import read_config
from interlock.host.context import Host

DEPOT = "directory, URL or bundle (zip) of an rpm-md repository, or the name of a configured depot"


def add_unsigned_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-unsigned``."""
    text = "accept metadata and packages without a signature (a bad one is still refused)"
    parser.add_argument("--allow-unsigned", action="store_true", help=text)


def lasting(host: Host, depot: str) -> str:
    """Return the depot so that it means the same from another working directory. Raises BadDepotConfig."""
    if "://" in depot or read_config(host.paths.depots, depot) is not None:
        return depot
    return os.path.abspath(depot)

"""Knows what a transaction of rpm's leaves on the disk when it is cut off."""

from __future__ import annotations

import os
import re

# rpm unpacks to NAME;TRANSACTION and renames; the transaction's number is the time at which it began, in hex.
LEFTOVER = re.compile(r".+;([0-9a-f]{8})$")
EARLIEST = 0x386D4380


def is_leftover(path: str, before: float) -> bool:
    """Say whether a name is one that rpm gives to what it unpacks, in a transaction that began before a time."""
    match = LEFTOVER.match(os.path.basename(path))
    return match is not None and EARLIEST <= int(match.group(1), 16) < int(before)

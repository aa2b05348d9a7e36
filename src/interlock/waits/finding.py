"""What a diagnosis says: one entry of the catalogue, found on this host, with its proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# How sure a finding is. ``proven``: it cannot end, or is broken, by what the kernel or the database itself says.
# ``likely``: the signs fit and nothing speaks against it. ``waits``: it may end by itself; it has an age.
PROVEN, LIKELY, WAITS = "proven", "likely", "waits"


class Finding(NamedTuple):
    """One case of the catalogue on this host.

    ``proof`` has the facts, a sentence each, with where they were read. ``pids``, ``files`` and ``packages`` are the
    ones concerned, the one to act on first. ``data`` is for the cure, and is JSON.
    """

    id: str
    sure: str
    proof: tuple[str, ...]
    pids: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    since: float = 0.0
    data: Mapping[str, Any] = {}

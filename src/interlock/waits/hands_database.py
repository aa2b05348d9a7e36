"""Hands that act on the package database: put regions aside, rebuild in a copy, put a copy in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from interlock.host.context import Host
from interlock.waits.hands import Treatment

HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {}


def replace_database(host: Host, path: str, copy: str) -> str:
    """Exchange the database at ``path`` with a copy of the directory ``copy``; return where the old one is kept."""
    raise NotImplementedError

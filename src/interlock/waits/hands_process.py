"""Hands that act on processes and units: continue, end, move, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from interlock.waits.hands import Treatment

HANDS: Mapping[str, Callable[[Treatment, Mapping[str, Any]], str]] = {}

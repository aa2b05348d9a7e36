"""Finds the program of the project as a zipapp: what goes to hosts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Return where the zipapp may be, the first that is there counts."""
    named = environment.get("INTERLOCK_ZIPAPP")
    if named:
        return [Path(named)]
    checkout = Path(__file__).resolve().parents[3]
    return [checkout / "build/interlock.pyz", Path(sys.prefix) / "share/interlock/interlock.pyz"]


def find_zipapp(environment: Mapping[str, str]) -> Optional[Path]:
    """Return the zipapp, or None if it has not been made."""
    return next((path for path in candidates(environment) if path.is_file()), None)

"""Finds the program of the project as a zipapp, and puts it into a host."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from interlock.lab.cache import Progress

TARGET = "usr/local/bin/interlock"


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


def install_zipapp(root: Path, environment: Mapping[str, str], progress: Progress) -> bool:
    """Copy the zipapp into the host at ``root``; warns and returns False where there is none."""
    source = find_zipapp(environment)
    if source is None:
        names = " or ".join(map(str, candidates(environment)))
        progress(f"warning: hosts get no `interlock` program: there is no {names} (`make setup` makes it)")
        return False
    target = root / TARGET
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return True

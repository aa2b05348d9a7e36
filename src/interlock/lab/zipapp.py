"""Puts the program of the project, as a zipapp, into a host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from interlock.lab.cache import Progress
from interlock.system.zipapp import candidates, find_zipapp

TARGET = "usr/local/bin/interlock"


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

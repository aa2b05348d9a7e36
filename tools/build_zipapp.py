"""Builds ``build/interlock.pyz``: the part of Interlock that runs on hosts, in one file.

The lab stays out: hosts have no use for it. Times in the archive are fixed, so the same source gives the same file.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LEFT_OUT = ("lab", "cli/lab.py", "cli/lab_cases.py", "cli/demo.py")
FIXED_TIME = (2020, 1, 1, 0, 0, 0)
INTERPRETER = b"#!/usr/bin/env python3\n"


def sources(package: Path) -> list[Path]:
    """Return the files that travel, in a stable order."""
    found = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    left_out = [package / name for name in LEFT_OUT]
    return [path for path in found if not any(path == one or one in path.parents for one in left_out)]


def build(source: Path, target: Path) -> None:
    """Write the archive, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        stream.write(INTERPRETER)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sources(source / "interlock"):
                _add(archive, path.relative_to(source).as_posix(), path.read_bytes())
            _add(archive, "__main__.py", (source / "interlock/__main__.py").read_bytes())
    temporary.chmod(0o755)
    temporary.rename(target)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, FIXED_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    build(root / "src", Path(sys.argv[1]) if len(sys.argv) > 1 else root / "build/interlock.pyz")

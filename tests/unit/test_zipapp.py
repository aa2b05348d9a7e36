"""The one file that goes onto hosts: the same from the same source, without the lab, and it runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from made import SOURCE

from interlock import __version__

BUILDER = SOURCE.parent / "tools/build_zipapp.py"
TEXTS = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.glob("interlock/**/*.py"))


def build(target: Path) -> Path:
    subprocess.run([sys.executable, str(BUILDER), str(target)], check=True, timeout=60)
    return target


@pytest.fixture(scope="module")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("zipapp") / "interlock.pyz")


def run(zipapp: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it as a host does: with nothing but the standard library, from another directory."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-S", "-E", str(zipapp), *words]
    return subprocess.run(argv, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def test_the_same_source_gives_the_same_file(zipapp: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.pyz").read_bytes() == zipapp.read_bytes()
    assert os.listdir(tmp_path) == ["again.pyz"]


def test_all_is_in_it_but_the_lab_and_the_manager(zipapp: Path) -> None:
    with zipfile.ZipFile(zipapp) as archive:
        assert archive.testzip() is None
        names = {name for name in archive.namelist() if name.endswith(".py")}
    assert names == {"__main__.py", *(name for name in TEXTS if not stays_here(name))}


def stays_here(name: str) -> bool:
    """Say whether a module is part of the lab or of the manager, or cannot be loaded without them."""
    return name.startswith(("interlock/lab/", "interlock/manager/")) or any(
        module.startswith(("interlock.lab", "interlock.manager")) for module in imported((SOURCE / name).read_text())
    )


def imported(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_it_can_be_started_by_itself(zipapp: Path) -> None:
    assert zipapp.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(zipapp, os.X_OK)


def test_version(zipapp: Path) -> None:
    done = run(zipapp, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"interlock {__version__}\n", "")


def test_help_has_the_verbs_and_no_lab(zipapp: Path) -> None:
    done = run(zipapp, "--help")
    assert done.returncode == 0
    for verb in ("scan", "check", "stage", "update", "status", "history"):
        assert f"\n    {verb} " in done.stdout
    assert "lab" not in done.stdout.split()


def test_the_lab_is_no_verb_there(zipapp: Path) -> None:
    done = run(zipapp, "lab", "list")
    assert done.returncode == 2
    assert "invalid choice: 'lab'" in done.stderr


def test_nothing_in_it_needs_a_later_python_than_a_host_has(zipapp: Path) -> None:
    with zipfile.ZipFile(zipapp) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                ast.parse(archive.read(name), name, feature_version=(3, 9))


def test_a_later_python_would_be_noticed() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass\n", feature_version=(3, 9))

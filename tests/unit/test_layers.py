"""Imports point downward, and what runs on a host needs nothing but the standard library and rpm's bindings."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "interlock"
# Each layer with the layers it may import from; a layer may always import from itself.
BASE = {"errors", "package", "__init__"}
MAY_IMPORT = {
    "errors": set(),
    "package": set(),
    "system": {"errors"},
    "events": {"errors", "system"},
    "host": {"errors", "package", "events", "system"},
    "rpmdb": {"errors", "package", "events", "system", "host"},
    "depot": {"errors", "package", "events", "system"},
    "advice": {"errors", "package", "events", "system", "depot"},
    "waits": {"errors", "package", "events", "system", "host", "rpmdb"},
    "boot": {"errors", "package", "events", "system", "host", "rpmdb"},
    "upgrade": {"errors", "package", "events", "system", "host", "rpmdb", "waits", "boot", "depot", "advice"},
    "support": {"errors", "package", "events", "system", "host", "rpmdb", "waits", "boot", "upgrade"},
    "lab": {"errors", "package", "events", "system", "host", "rpmdb", "depot", "waits", "boot"},
    "manager": {"errors", "package", "events", "system", "depot"},
    "cli": {
        "manager",
        "errors",
        "package",
        "events",
        "system",
        "host",
        "rpmdb",
        "waits",
        "boot",
        "depot",
        "advice",
        "upgrade",
        "support",
        "lab",
    },
}
ON_HOSTS = set(MAY_IMPORT) - {"lab", "cli", "manager"}
NOT_STDLIB = {"rpm"}


def modules() -> list[Path]:
    """Return the program's modules; what lies in a ``data`` folder is run by itself, on hosts of the lab."""
    return sorted(
        path
        for path in SOURCE.rglob("*.py")
        if (path.parent != SOURCE or path.stem not in ("__init__", "__main__")) and path.parent.name != "data"
    )


def layer_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    layer = layer_of(path)
    allowed = MAY_IMPORT[layer] | {layer}
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "interlock" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in allowed, f"{layer} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_hosts_need_only_the_standard_library(path: Path) -> None:
    if layer_of(path) not in ON_HOSTS and path.name != "main.py":
        return
    for name in imported(path):
        top = name.split(".")[0]
        assert top in {"interlock"} | NOT_STDLIB | sys.stdlib_module_names, f"{path.name} imports {name}"


def test_nothing_but_the_command_line_imports_the_lab() -> None:
    users = {layer_of(path) for path in modules() if any(name.startswith("interlock.lab") for name in imported(path))}
    assert users <= {"lab", "cli"}


def test_subprocesses_have_one_door() -> None:
    users = {
        str(path.relative_to(SOURCE))
        for path in modules()
        if any(name.split(".")[0] == "subprocess" for name in imported(path))
    }
    assert users == {"system/run.py"}


def test_system_calls_have_their_doors() -> None:
    users = {
        str(path.relative_to(SOURCE))
        for path in modules()
        if any(name.split(".")[0] == "ctypes" for name in imported(path))
    }
    assert users == {"system/linux.py", "system/fanotify.py"}


def test_each_module_of_tests_has_a_name_of_its_own() -> None:
    # pytest imports them by their bare names: of two with one name only the first is ever run.
    names = [path.name for path in Path(__file__).resolve().parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))

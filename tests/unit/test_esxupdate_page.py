"""Whatever the page about esxupdate names of ours is there."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from interlock.cli.main import MODULES, build_parser

PAGE = (Path(__file__).resolve().parents[2] / "docs/esxupdate.md").read_text()


def options() -> set[str]:
    """Return every option of every verb."""
    found: set[str] = set()
    waiting: list[argparse.ArgumentParser] = [build_parser()]
    while waiting:
        parser = waiting.pop()
        for action in parser._actions:
            found.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return found


def test_every_verb_and_option_of_ours_exists() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") >= 4]
    ours = " ".join(f"{row[2]} {row[3]}" for row in rows)
    verbs = set(re.findall(r"`interlock ([a-z-]+)", ours))
    known = {verb for names in MODULES.values() for verb in names}
    assert verbs >= {"info", "query", "scan", "check", "stage", "update", "rollback"}
    assert verbs <= known
    named = set(re.findall(r"(?<!\w)--[a-z-]+", " ".join(row[2] for row in rows)))
    assert {"--depot", "--bulletin", "--dry-run", "--allow-unsigned"} <= named
    assert named <= options()

"""The pages that are made from data are those of today's data."""

from __future__ import annotations

import runpy
from pathlib import Path

from interlock.host.catalogue import read_catalogue
from interlock.host.paths import Paths

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_are_current() -> None:
    made = runpy.run_path(str(ROOT / "tools/reference_pages.py"))
    for name in ("agents", "advisories"):
        page = made[f"{name}_page"]()
        assert (ROOT / f"docs/{name}.md").read_text() == page, "run tools/reference_pages.py"


def test_the_shipped_catalogue_is_whole() -> None:
    found = read_catalogue(Paths("/nonexistent"))
    assert found.defects == ()
    assert len(found.agents) > 35
    assert found.by_unit()["hp-snmp-agents.service"].after == ("snmpd.service",)
    assert found.by_process()["cmahostd"].product == "HP Insight Management Agents"

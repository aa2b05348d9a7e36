"""Writes ``docs/catalogue.md`` from the catalogue that the doctor itself uses."""

from __future__ import annotations

import sys
from pathlib import Path

from interlock.waits.catalogue import Case, catalogue

HEAD = """# How package databases break

The cases that `interlock doctor` knows, with what each means and the least that helps. `interlock lab reproduce CASE`
makes one on a fresh host of the lab; `--cure` goes on to the cure. This page is made from the catalogue that the
doctor uses (`tools/catalogue_page.py`).
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_entry(case) for case in catalogue().values())])


def _entry(case: Case) -> str:
    lab = f"lab release `{case.needs}`" if case.made == "real" else f"not the real thing here: it needs {case.needs}"
    backends = ", ".join(case.backends)
    head = f"## {case.number}. {case.title}\n\n`{case.id}` · {backends} · {lab}"
    return f"{head}\n\n{case.means}\n\n**What helps:** {case.cure}\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "docs/catalogue.md"
    target.write_text(page())

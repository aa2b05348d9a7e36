from __future__ import annotations

import subprocess
from pathlib import Path

import depot_tools
import pytest
from depot_tools import Spec

from interlock.depot.repository import open_depot
from interlock.upgrade.plan import make_plan

BEFORE = (
    Spec("app", lines=("Requires: libfoo.so.1", "Provides: app(api) = 1")),
    Spec("foo", lines=("Provides: libfoo.so.1",)),
    Spec("plugin", lines=("Requires: app(api) = 1",)),
    Spec("old", lines=("Provides: thing",)),
    Spec("user", lines=("Requires: thing",)),
)
AFTER = {
    "all of it": (
        Spec("app", "2", lines=("Requires: libfoo.so.2, (new or other)", "Provides: app(api) = 2")),
        Spec("foo", "2", lines=("Provides: libfoo.so.2", "Requires: base >= 1")),
        Spec("plugin", "2", lines=("Requires: app(api) >= 2",)),
        Spec("new", "1", lines=("Obsoletes: old < 2", "Provides: thing = 1")),
        Spec("base", "3"),
    ),
    "a library without its users": (Spec("foo", "2", lines=("Provides: libfoo.so.2",)),),
    "a library beside the old one": (
        Spec("foo", "2", lines=("Provides: libfoo.so.2",)),
        Spec("foo-compat", "1", lines=("Provides: libfoo.so.1",)),
    ),
    "a plugin that falls behind": (Spec("app", "2", lines=("Requires: libfoo.so.1", "Provides: app(api) = 2")),),
    "a successor that provides less": (Spec("new", "1", lines=("Obsoletes: old",)),),
    "a conflict": (Spec("foo", "2", lines=("Provides: libfoo.so.1", "Conflicts: user < 5")),),
    "something that nobody has": (Spec("foo", "2", lines=("Provides: libfoo.so.1", "Requires: nobody")),),
}


@pytest.mark.parametrize("case", AFTER)
def test_rpm_agrees_with_the_plan(case: str, tmp_path: Path) -> None:
    """A plan without problems passes rpm's own test, one with problems does not."""
    before = depot_tools.build(BEFORE, str(tmp_path / "before"))
    depot_tools.build(AFTER[case], str(tmp_path / "after"))
    for name in ("before", "after"):
        depot_tools.create_repository(str(tmp_path / name))
    rpm = ["rpm", "--dbpath", str(tmp_path / "db"), "--nosignature"]
    subprocess.run([*rpm, "-i", "--justdb", *before], check=True, capture_output=True, env=depot_tools.ENVIRONMENT)
    host = [one.package for one in open_depot(str(tmp_path / "before")).packages]
    plan = make_plan(host, open_depot(str(tmp_path / "after")))
    files = [str(tmp_path / "after" / one.location) for one in plan.packages]
    done = subprocess.run(
        [*rpm, "-U", "--test", *files], check=False, capture_output=True, text=True, env=depot_tools.ENVIRONMENT
    )
    assert (done.returncode == 0) == (not plan.problems), (done.stderr, plan.problems)
    assert bool(plan.problems) == (case not in ("all of it", "a library beside the old one"))

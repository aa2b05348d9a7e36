"""Every case that the lab makes: named rightly and alone by the host's own doctor, cured, and nothing lost."""

from __future__ import annotations

import json
import os

import pytest

from interlock.lab import verbs
from interlock.lab.cases.reproduce import CASES, ask_doctor, reproduce, works
from interlock.lab.handle import HostHandle
from interlock.lab.hosts import Lab

SEED = int(os.environ.get("INTERLOCK_SEED", "7"))


@pytest.mark.parametrize("name", list(CASES))
def test_a_case_is_named_and_cured(lab: Lab, name: str) -> None:
    case, host = CASES[name], f"case-{os.getpid()}-{list(CASES).index(name)}"
    print(f"seed {SEED}")
    try:
        handle, made = reproduce(lab, case, host, SEED)
        look = ask_doctor(handle)
        assert look.ids == [name], json.dumps(look.report, indent=1)
        assert look.status == 3
        _check(look.report["findings"][0], made.pids.values(), made.files, made.packages)
        cured = ask_doctor(handle, ["--cure", "--yes", *case.options])
        assert (cured.status, cured.ids, cured.report["lost"]) == (0, [], []), json.dumps(cured.report, indent=1)
        assert works(HostHandle(lab, host)) == {}
        assert ask_doctor(handle).report["findings"] == []
    finally:
        verbs.down(lab, [host], False)


def _check(finding: dict[str, object], pids: object, files: object, packages: object) -> None:
    assert finding["proof"]
    assert set(pids) <= set(finding["pids"])  # type: ignore[call-overload]
    assert set(files) <= set(finding["files"])  # type: ignore[call-overload]
    assert set(packages) <= set(finding["packages"])  # type: ignore[call-overload]

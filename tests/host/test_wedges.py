"""Thirty wedges in a row, made by chance on one host, each named rightly and cured, and no package lost."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from conftest import Host

from interlock.lab.cases.bdb_chance import wedge
from interlock.lab.cases.case import Scene
from interlock.lab.handle import HostHandle

SEED = int(os.environ.get("INTERLOCK_SEED", "7"))
WEDGES = 30
NAMES = {"fails": "bdb-dead-reader", "hangs": "bdb-dead-owner"}


def test_wedges_are_named_and_cured(host_of: Callable[..., Host], tmp_path: Path) -> None:
    print(f"seed {SEED}")
    host = host_of("classic")
    scene = Scene(HostHandle(host.lab, host.name), tmp_path, random.Random(SEED))
    before, met = host.packages(), {"fails": 0, "hangs": 0}
    for number in range(1, WEDGES + 1):
        # The rarer kind must come about too, on a busy machine as well.
        made = wedge(scene, "hangs" if number % 6 == 0 else "either")
        met[made["how"]] += 1
        cured = host.run("interlock", "doctor", "--json", "--cure", "--yes", check=False, timeout=60)
        report = json.loads(cured.stdout)
        text = f"wedge {number}, {made}: {cured.stdout}"
        assert [one["finding"] for one in report["outcomes"]] == [NAMES[made["how"]]], text
        assert (cured.status, report["findings"], report["lost"]) == (0, [], []), text
        assert host.packages() == before, text
        for pid in made["pids"]:
            assert host.run("test", "-e", f"/proc/{pid}", check=False).status == 1, text
    print(f"{WEDGES} wedges: {met}")
    assert all(met.values()), f"only one of the two kinds came about: {met}"

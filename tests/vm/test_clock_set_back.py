"""The clock is set back an hour in the middle of an upgrade: on a machine with a clock of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from machine import DEPOT, Machine, make_disk, prepare_tree, value

from interlock.cli.lab import make_lab
from interlock.lab import verbs
from interlock.lab.recipe import Recipe, make_depot
from interlock.lab.signing import ensure_key

pytestmark = pytest.mark.host
# Every lab host has version 1 of these.
RECIPES = (Recipe("lab-tool-01", "2", scripts={"post": 'date --set "1 hour ago"'}), Recipe("lab-tool-02", "2"))


def test_set_back_an_hour(tmp_path: Path) -> None:
    lab, name = make_lab(), f"clock-{os.getpid()}"
    verbs.up(lab, name, "current", None, [])
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", lab.root_of(name), tmp_path / "tree"], check=True, timeout=300)
    finally:
        verbs.down(lab, [name], False)
    tree, disk = tmp_path / "tree", tmp_path / "disk.img"
    make_depot(tree / DEPOT.lstrip("/"), RECIPES, tmp_path / "work", lab.runner, ensure_key(lab.cache.keys, lab.runner))
    prepare_tree(tree)
    make_disk(tree, disk)
    shutil.rmtree(tree)
    said = Machine(tmp_path).run(disk, "clock", 600)
    before, after = (list(map(float, value(said, word).split()[:2])) for word in ("before", "after"))
    # Its own clock: an hour less has passed than has passed.
    assert after[0] - before[0] < (after[1] - before[1]) - 3500
    assert [line.split()[-1] for line in said if "POWER ended" in line] == ["0", "0"], "\n".join(said[-30:])
    history = json.loads(value(said, "history"))
    assert [row["state"] for row in history] == ["rolled-back"]
    assert value(said, "tools").split() == ["lab-tool-01-1-lab2", "lab-tool-02-1-lab2"]

"""Power cuts: a machine with its own disk, killed in the middle of a whole-system upgrade, boots again by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from power import inside_glibc, power_cuts

pytestmark = pytest.mark.host
SEED = 20260101


def test_inside_glibc_with_the_cache_lost(tmp_path: Path) -> None:
    print("seed", SEED)
    cuts = power_cuts(tmp_path / "machine")
    done = cuts.run(inside_glibc(0.5), SEED)
    print(done)
    assert done.state == "old", "\n".join([*done.differences[:20], *done.said[-40:]])
    # It was inside, and the initramfs had work to do.
    assert done.progress.startswith("POWER glibc ")
    assert done.rescued > 0

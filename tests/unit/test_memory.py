"""The shadow in memory: what happens there reaches the disk only when it is brought back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from interlock.rpmdb.memory import MemoryShadow
from interlock.system import linux
from interlock.system.child import call_in_child
from interlock.system.proc import ProcReader


def private_namespace() -> None:
    linux.unshare_mounts()
    linux.make_mounts_slave()


def made_shadow(folder: Path) -> Path:
    shadow = folder / "shadow"
    (shadow / "keys").mkdir(parents=True)
    shadow.chmod(0o755)
    (shadow / "Packages").write_text("old")
    (shadow / "Index").write_text("index")
    (shadow / "keys" / "one").write_text("key")
    (shadow / "__db.001").write_text("region")
    return shadow


def test_work_stays_in_memory_until_it_is_brought_back(tmp_path: Path) -> None:
    shadow = made_shadow(tmp_path)

    def work() -> dict[str, Any]:
        private_namespace()
        memory = MemoryShadow.over(str(shadow), ProcReader())
        assert memory is not None
        seen = sorted(os.listdir(shadow))
        (shadow / "Packages").write_text("new")
        (shadow / "keys" / "two").write_text("another")
        (shadow / "Index").unlink()
        (shadow / ".rpm.lock").touch()
        before = Path(memory.disk, "Packages").read_text()
        mode = shadow.stat().st_mode & 0o7777
        memory.bring_back()
        return {"seen": seen, "before": before, "mode": mode}

    told = call_in_child("working in memory", work, 30.0)
    assert told == {"seen": ["Index", "Packages", "keys"], "before": "old", "mode": 0o755}
    assert (shadow / "Packages").read_text() == "new"
    assert (shadow / "keys" / "two").read_text() == "another"
    assert not (shadow / "Index").exists()
    assert not (shadow / ".rpm.lock").exists()


def test_a_worker_that_dies_leaves_the_disk_alone(tmp_path: Path) -> None:
    shadow = made_shadow(tmp_path)

    def work() -> str:
        private_namespace()
        assert MemoryShadow.over(str(shadow), ProcReader()) is not None
        (shadow / "Packages").write_text("half")
        return (shadow / "Packages").read_text()

    assert call_in_child("dying", work, 30.0) == "half"
    assert (shadow / "Packages").read_text() == "old"


def test_where_memory_is_short_the_disk_is_used(tmp_path: Path) -> None:
    shadow = made_shadow(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 900000 kB\nMemAvailable:    300000 kB\n")
    assert ProcReader(tmp_path / "proc").available_memory() == 300000 * 1024
    assert MemoryShadow.over(str(shadow), ProcReader(tmp_path / "proc")) is None
    assert ProcReader(tmp_path / "nothing").available_memory() == 0

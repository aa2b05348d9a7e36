"""Berkeley DB cases that come about by chance: queries are killed until every rpm fails, or hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interlock.lab.cases.case import LabCase, Made, Scene

PROGRAM = Path(__file__).parent.parent / "data" / "wedge_bdb.py"
SECONDS = 90.0


def wedge(scene: Scene, wanted: str) -> dict[str, Any]:
    """Have a host's queries killed until what is wanted has come about: ``fails``, ``hangs``, ``either``."""
    (scene.host.root / "root/wedge_bdb.py").write_text(PROGRAM.read_text())
    seed = scene.random.getrandbits(32)
    found: dict[str, Any] = json.loads(
        scene.must(f"python3 /root/wedge_bdb.py {seed} {wanted} {SECONDS}", SECONDS + 20)
    )
    return found


def dead_reader(scene: Scene) -> Made:
    """Kill queries until every rpm ends with DB_RUNRECOVERY."""
    found = wedge(scene, "fails")
    return Made(f"after {found['kills']} kills every rpm command fails: {found['said'].strip()[:200]}", files=REGIONS)


def dead_owner(scene: Scene) -> Made:
    """Kill queries until one hangs on a dead process's lock; let another one queue behind it."""
    found = wedge(scene, "hangs")
    first = int(found["pids"][0])
    scene.start("case-queue", "exec rpm -qa")
    second = int(scene.wait("systemctl show -P MainPID case-queue.service | grep -v '^0$'"))
    scene.wait(f"grep -q fcntl_setlk /proc/{second}/wchan", what="the second query to queue behind the first")
    text = (
        f"after {found['kills']} kills rpm (pid {first}) hangs on a lock of a dead process, and pid {second} behind it"
    )
    return Made(text, {"hangs": first, "queues": second}, REGIONS[1:2])


REGIONS = ("/var/lib/rpm/__db.001", "/var/lib/rpm/__db.002", "/var/lib/rpm/__db.003")
CASES: tuple[LabCase, ...] = (
    LabCase("bdb-dead-reader", "classic", dead_reader),
    LabCase("bdb-dead-owner", "classic", dead_owner),
)

"""Berkeley DB cases in which living processes wait for each other."""

from __future__ import annotations

from pathlib import Path

from interlock.lab.cases.case import LabCase, Made, Scene

DATA = Path(__file__).parent.parent / "data"
PROBE = "/srv/depots/classic-updates-1/lab-tool-01-1-lab1.noarch.rpm"
WRITER = f"exec rpm -U --replacepkgs {PROBE}"
OLD = "/root/old_condition.so"
# More than a pipe holds, of the first packages alone.
READ = "rpm -qa --qf '[%{FILENAMES}\\n]'"


def started(scene: Scene, unit: str, text: str) -> int:
    """Start a script that becomes one program, and return its pid."""
    scene.start(unit, text)
    return int(scene.wait(f"systemctl show -P MainPID {unit}.service | grep -v '^0$'"))


def blocked_reader(scene: Scene, environment: str = "") -> int:
    """Start a reader that has a cursor open and cannot write, until /run/drain is there; return its pid."""
    scene.must("mkfifo /run/output")
    drain = "exec 3</run/output; until test -e /run/drain; do sleep 0.05; done; exec cat <&3 >/dev/null"
    scene.start("case-drain", drain)
    reader = started(scene, "case-reader", f"exec env {environment} {READ} >/run/output")
    scene.wait(f"grep -q pipe_write /proc/{reader}/wchan", what="the reader to fill its pipe")
    return reader


def blocked_writer(scene: Scene) -> int:
    """Start a transaction that has to wait for a reader's cursor; return its pid."""
    writer = started(scene, "case-writer", WRITER)
    scene.wait(f"grep -q futex /proc/{writer}/wchan && sleep 0.2 && grep -q futex /proc/{writer}/wchan")
    return writer


def stopped_reader(scene: Scene) -> Made:
    """Stop a reader in the middle; a transaction waits for it."""
    reader = blocked_reader(scene)
    scene.must(f"kill -STOP {reader} && touch /run/drain")
    writer = blocked_writer(scene)
    return Made(f"rpm (pid {reader}) is stopped with a cursor open, and the transaction {writer} waits for it", {
        "reader": reader, "writer": writer,
    })  # fmt: skip


def queue(scene: Scene) -> Made:
    """Stop a query while it holds .dbenv.lock; others queue behind it."""
    (scene.host.root / "root/stop_at_gate.py").write_text((DATA / "stop_at_gate.py").read_text())
    holder = int(scene.must("python3 /root/stop_at_gate.py 60", 70))
    waiters = {f"waiter {number}": started(scene, f"case-waiter-{number}", "exec rpm -qa") for number in (1, 2)}
    for pid in waiters.values():
        scene.wait(f"grep -q fcntl_setlk /proc/{pid}/wchan", what="a query to queue")
    text = f"rpm (pid {holder}) is stopped and holds .dbenv.lock; two queries wait for it"
    return Made(text, {"holder": holder, **waiters}, ["/var/lib/rpm/.dbenv.lock"])


def lost_wakeup(scene: Scene) -> Made:
    """Let a reader release its lock in the way of the old C library, while a transaction waits in the new way."""
    library = str(scene.host.root / OLD.lstrip("/"))
    scene.host.lab.runner.run(
        ["cc", "-O2", "-shared", "-fPIC", "-nostdlib", "-o", library, str(DATA / "old_condition.c")]
    )
    scene.must(f"rpm -U --replacepkgs {PROBE}")
    reader = blocked_reader(scene, f"LD_PRELOAD={OLD}")
    writer = blocked_writer(scene)
    scene.must("touch /run/drain")
    scene.wait(f"grep -q futex /proc/{reader}/wchan && sleep 0.5 && grep -q futex /proc/{reader}/wchan", 10)
    text = f"rpm (pid {reader}) gave its lock back in the old way, and the transaction {writer} was never woken"
    return Made(text, {"reader": reader, "writer": writer}, ["/var/lib/rpm/__db.002"])


CASES: tuple[LabCase, ...] = (
    LabCase("bdb-lost-wakeup", "classic", lost_wakeup),
    LabCase("bdb-queue", "classic", queue),
    LabCase("bdb-stopped-reader", "classic", stopped_reader),
)

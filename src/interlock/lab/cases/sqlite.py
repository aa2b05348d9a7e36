"""Cases of the lab: the family of ``interlock.waits.find_sqlite``."""

from __future__ import annotations

from interlock.lab.cases import sqlite_scripts as scripts
from interlock.lab.cases.case import LabCase, Made, Scene
from interlock.lab.recipe import Recipe

MAIN = "/var/lib/rpm/rpmdb.sqlite"
LATE = Recipe("case-late", "1", {"/usr/share/case-late/file": "late"})
SLOW = Recipe("case-slow", "1", {"/usr/share/case-slow/file": "slow"}, {"pre": "sleep 86400"})
PROBE = "/srv/depots/current-updates-1/lab-tool-01-*.rpm"
# More than a pipe holds.
LONG_QUERY = "exec rpm -qa --qf '[%{filenames}\\n]'"


def _program(scene: Scene, name: str, text: str) -> str:
    folder = scene.host.root / "srv/case"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return f"/srv/case/{name}"


def foreign_writer(scene: Scene) -> Made:
    """18: a program keeps the write lock; an install fails in the middle, and its rpm spins in closing."""
    program = _program(scene, "hold.py", scripts.HOLD)
    scene.start("case-holder", f"exec python3 {program}")
    scene.wait("test -e /run/case-held", what="the write lock")
    package = scene.packages(LATE)[0]
    scene.start("case-install", f"exec rpm -iv {package} >/run/case-install 2>&1")
    scene.wait("grep -q 'install failed' /run/case-install", 40, "rpm to give up")
    holder = int(scene.must("pgrep -o -f 'python3 /srv/case/hold.py'"))
    text = "python3 holds SQLite's write lock; rpm failed to install case-late in the middle, and spins"
    return Made(text, {"holder": holder}, [MAIN], ["case-late-1-1.noarch"])


def stalled_reader(scene: Scene) -> Made:
    """19: a reader is stopped, or nobody empties its pipe; a transaction then cannot empty the log."""
    stopped = scene.random.choice([True, False])
    consumer = "while ! test -e /run/case-go; do sleep 0.1; done; cat >/dev/null" if stopped else "sleep 86400"
    scene.start("case-reader", f"sh -c {_quoted(LONG_QUERY)} | sh -c {_quoted(consumer)}")
    reader = int(scene.wait("p=$(pgrep -n -x rpm) && grep -q pipe_w /proc/$p/wchan && echo $p", what="a full pipe"))
    if stopped:
        scene.must(f"kill -STOP {reader} && touch /run/case-go")
    scene.must(f"rpm -U --replacepkgs {PROBE}", 90)
    scene.must(f"test -s {MAIN}-wal")
    how = "is stopped" if stopped else "writes to a pipe that nobody empties"
    return Made(f"rpm -qa (pid {reader}) {how}, and keeps its snapshot", {"reader": reader}, [f"{MAIN}-wal"])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"').replace("$", "\\$") + '"'


def dropped_lock(scene: Scene) -> Made:
    """20: a transaction whose callback opens and closes the database's files."""
    program, package = _program(scene, "drop.py", scripts.DROP), scene.packages(LATE)[0]
    scene.start("case-dropper", f"exec python3 {program} {package} >/run/case-drop.log 2>&1")
    scene.wait("test -e /run/case-dropped", what="the callback")
    pid = int(scene.must("pgrep -o -f 'python3 /srv/case/drop.py'"))
    return Made("a transaction in python3 has dropped its own locks", {"dropper": pid}, [MAIN])


def malformed(scene: Scene) -> Made:
    """21: random bytes over pages of indexes."""
    program = _program(scene, "damage.py", scripts.DAMAGE)
    scene.must(f"python3 {program} {scene.random.randrange(1 << 30)}")
    return Made("six pages of the database's indexes are random bytes", files=[MAIN])


def replaced(scene: Scene) -> Made:
    """23: rpm --rebuilddb renames the directory while a transaction waits in it, or while a query opens it."""
    return _overtaken(scene) if scene.random.random() > 0.5 else _waited(scene)


def _overtaken(scene: Scene) -> Made:
    program = _program(scene, "overtake.py", scripts.OVERTAKE)
    scene.must(f"python3 {program}", 150)
    return Made("a rebuild was overtaken by a query: the database in place is empty", files=["/var/lib/rpm"])


def _waited(scene: Scene) -> Made:
    program, package = _program(scene, "rebuild.py", scripts.REBUILD), scene.packages(SLOW)[0]
    scene.must(f"python3 {program} {package}")
    scene.wait("pgrep -f '^sleep 86400'", what="its scriptlet")
    waiter = int(scene.must("pgrep -o -x rpm"))
    text = f"rpm (pid {waiter}) got a lock whose file is deleted, and installs case-slow under it"
    return Made(text, {"waiter": waiter}, packages=["case-slow-1-1.noarch"])


def log_removed(scene: Scene) -> Made:
    """24: somebody tidied up."""
    scene.must(f"rm {MAIN}-wal {MAIN}-shm")
    done = scene.run("su", "nobody", "-s", "/bin/sh", "-c", "rpm -q rpm")
    if done.status == 0:
        raise scene.failed("an ordinary user can still query")
    return Made("the files of the log are removed; ordinary users cannot query", files=[f"{MAIN}-wal", f"{MAIN}-shm"])


CASES: tuple[LabCase, ...] = (
    LabCase("sqlite-foreign-writer", "current", foreign_writer),
    LabCase("sqlite-stalled-reader", "current", stalled_reader),
    LabCase("database-lock-dropped", "current", dropped_lock),
    LabCase("sqlite-malformed", "current", malformed),
    LabCase("database-replaced", "current", replaced),
    LabCase("sqlite-wal-removed", "current", log_removed),
)

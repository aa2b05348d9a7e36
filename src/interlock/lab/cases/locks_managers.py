"""Cases of the lab in which dnf takes part."""

from __future__ import annotations

from interlock.lab.cases.case import Made, Scene
from interlock.lab.recipe import Recipe

RPMDB_PID = "/var/lib/dnf/rpmdb_lock.pid"
METADATA_PID = "/var/cache/dnf/metadata_lock.pid"
BESIDE_SECONDS = 45


def _file(name: str) -> dict[str, str]:
    return {f"/usr/share/{name}/file": name}


def repository(scene: Scene, name: str, *recipes: Recipe) -> None:
    """Make a depot, and tell dnf of it."""
    path = scene.depot(name, *recipes)
    folder = scene.host.root / "etc/yum.repos.d"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"[{name}]\nname={name}\nbaseurl=file://{path}\nenabled=1\ngpgcheck=0\n"
    (folder / f"{name}.repo").write_text(text)


def last(scene: Scene, seconds: int = 4) -> None:
    """Let what has come about last for some seconds: who has waited for a moment only is not spoken of."""
    scene.must("touch /run/case-seen")
    script = f"test $(( $(date +%s) - $(stat -c %Y /run/case-seen) )) -ge {seconds}"
    scene.wait(script, seconds + 20, "the wait to be long")


def _polling(scene: Scene, pattern: str) -> int:
    """Wait for a dnf that sleeps by the clock; return its pid."""
    script = f"p=$(pgrep -n -f -- '{pattern}') && grep -q nanosleep /proc/$p/wchan && echo $p"
    return int(scene.wait(script, 60, f"a dnf that polls ({pattern})"))


def nested_dnf(scene: Scene) -> Made:
    """15: dnf in a scriptlet of a dnf transaction waits for the pid file of its own ancestor."""
    inner = Recipe("case-inner", "1", _file("case-inner"))
    outer = Recipe("case-outer", "1", _file("case-outer"), {"post": "dnf -y install case-inner || :"})
    repository(scene, "case-depot", inner, outer)
    scene.start("case-outer", "exec dnf -y install case-outer >/run/case-outer.log 2>&1")
    waiter = _polling(scene, "dnf -y install case-inner$")
    holder = int(scene.must("pgrep -o -f 'dnf -y install case-outer$'"))
    text = f"dnf (pid {waiter}) in a scriptlet polls {RPMDB_PID}, which names dnf (pid {holder}), its own ancestor"
    return Made(text, {"waiter": waiter, "holder": holder}, [RPMDB_PID])


def stale_pid_file(scene: Scene) -> Made:
    """25: a lock file of dnf's that was left behind names a process of another program, or is no number."""
    scene.must("mkdir -p /var/lib/dnf /var/cache/dnf")
    repository(scene, "case-depot", Recipe("case-late", "1", _file("case-late")))
    scene.start("case-other", "exec sleep 86400")
    other = int(scene.wait("pgrep -o -f '^sleep 86400'"))
    if scene.random.choice([True, False]):
        scene.must(f"echo garbage >{METADATA_PID}")
        done = scene.shell("dnf -y install case-late", 60)
        if "Malformed" not in done.stdout + done.stderr:
            raise scene.failed(f"dnf did not refuse: {done.stderr[-300:]}")
        return Made(f"{METADATA_PID} has no number in it; dnf refuses to run", {}, [METADATA_PID])
    scene.must(f"printf {other} >{METADATA_PID}")
    scene.start("case-late", "exec dnf -y install case-late >/run/case-late.log 2>&1")
    waiter = _polling(scene, "dnf -y install case-late$")
    text = f"{METADATA_PID} names sleep (pid {other}); dnf (pid {waiter}) waits for its end"
    return Made(text, {"other": other, "waiter": waiter}, [METADATA_PID])


def rpm_beside_dnf(scene: Scene) -> Made:
    """34: an agent's rpm is in its transaction while dnf has planned, and waits for the lock."""
    slow = Recipe("case-agent", "1", _file("case-agent"), {"post": f"exec sleep {BESIDE_SECONDS}"})
    repository(scene, "case-depot", Recipe("case-late", "1", _file("case-late")))
    path = scene.packages(slow)[0]
    scene.must("dnf makecache", 60)
    scene.start("case-agent", f"exec rpm -U {path}")
    scene.wait(f"pgrep -f '^sleep {BESIDE_SECONDS}'", what="the agent's scriptlet")
    scene.start("case-late", "dnf -y install case-late", terminal=True)
    script = "p=$(pgrep -n -f 'dnf -y install case-late$') && grep -q setlk /proc/$p/wchan && echo $p"
    waiter = int(scene.wait(script, 60, "dnf to wait for the transaction lock"))
    last(scene)
    rpm = int(scene.must("pgrep -o -x rpm"))
    text = f"rpm (pid {rpm}) is in its transaction beside dnf (pid {waiter}), which has planned and waits"
    return Made(text, {"dnf": waiter, "rpm": rpm}, [RPMDB_PID], lasts=False)

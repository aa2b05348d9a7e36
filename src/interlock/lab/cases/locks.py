"""Cases of the lab: the family of ``interlock.waits.find_locks``."""

from __future__ import annotations

from interlock.lab.cases import locks_managers
from interlock.lab.cases.case import LabCase, Made, Scene
from interlock.lab.recipe import Recipe

# Long enough for a look and the begin of a cure; then the first transaction ends by itself.
FIRST_SECONDS = 45


def _file(name: str) -> dict[str, str]:
    return {f"/usr/share/{name}/file": name}


def scriptlet_pid(scene: Scene, pattern: str, what: str) -> int:
    """Wait for a process of a scriptlet; return its pid."""
    return int(scene.wait(f"pgrep -o -f -- '{pattern}'", what=what))


def transaction_waits(scene: Scene) -> Made:
    """12: a second rpm, on a terminal, while the first runs a long scriptlet."""
    first = Recipe("case-first", "1", _file("case-first"), {"post": f"exec sleep {FIRST_SECONDS}"})
    paths = scene.packages(first, Recipe("case-second", "1", _file("case-second")))
    scene.start("case-first", f"exec rpm -U {paths[0]}")
    scriptlet_pid(scene, f"^sleep {FIRST_SECONDS}", "the first one's scriptlet")
    scene.start("case-second", f"exec rpm -U {paths[1]}", terminal=True)
    waiter = waiting_rpm(scene)
    locks_managers.last(scene)
    holder = int(scene.must("pgrep -o -x rpm"))
    text = f"rpm (pid {waiter}) waits on a terminal for rpm (pid {holder}), which sleeps in a scriptlet"
    return Made(text, {"waiter": waiter, "holder": holder}, ["/var/lib/rpm/.rpm.lock"], lasts=False)


def waiting_rpm(scene: Scene) -> int:
    """Wait for an rpm that waits for the transaction lock; return its pid."""
    script = "p=$(pgrep -n -x rpm) && grep -q setlk /proc/$p/wchan && echo $p"
    return int(scene.wait(script, what="an rpm that waits for the lock"))


def nested_rpm(scene: Scene) -> Made:
    """14: rpm in a scriptlet, on a terminal of its own, waits for the transaction that runs it."""
    inner = Recipe("case-inner", "1", _file("case-inner"))
    inner_path = scene.packages(inner)[0]
    command = f"script -qec 'rpm -i {inner_path}' /dev/null || :"
    outer = Recipe("case-outer", "1", _file("case-outer"), {"post": command})
    path = scene.packages(outer)[0]
    scene.start("case-outer", f"exec rpm -U {path}")
    waiter = waiting_rpm(scene)
    holder = int(scene.must("pgrep -o -x rpm"))
    text = f"rpm (pid {waiter}) in the scriptlet of rpm (pid {holder}) waits for the lock that this one holds"
    return Made(text, {"waiter": waiter, "holder": holder}, ["/var/lib/rpm/.rpm.lock"])


def transaction_stops_itself(scene: Scene) -> Made:
    """16: an agent starts its own upgrade; the package's %pre stops the agent's unit, with the upgrade in it."""
    old = Recipe("case-agent", "1", _file("case-agent"))
    new = Recipe("case-agent", "2", _file("case-agent"), {"pre": "systemctl stop case-agent.service"})
    paths = scene.packages(old, new)
    scene.must(f"rpm -U {paths[0]}")
    # The upgrade is to survive the agent: it ignores the signal that ends it.
    agent = f"(trap '' TERM; exec rpm -U {paths[1]}) & while :; do sleep 1; done"
    unit = scene.host.root / "etc/systemd/system/case-agent.service"
    unit.write_text(f'[Service]\nExecStart=/bin/sh -c "{agent}"\nTimeoutStopSec=600\n')
    scene.must("systemctl daemon-reload && systemctl start case-agent.service")
    client = scriptlet_pid(scene, "^systemctl stop case-agent", "the scriptlet that stops the unit")
    scene.wait("systemctl list-jobs | grep -q case-agent.service", what="the job")
    scene.wait("! pgrep -f 'do sleep [1]; done'", what="the end of the agent itself")
    rpm = int(scene.must("pgrep -o -x rpm"))
    text = f"rpm (pid {rpm}) runs in case-agent.service, which its own scriptlet (pid {client}) waits to be stopped"
    return Made(text, {"rpm": rpm, "client": client})


def scriptlet_waits(scene: Scene) -> Made:
    """17: a scriptlet reloads a service, and the reload does not end."""
    unit = scene.host.root / "etc/systemd/system/case-service.service"
    unit.write_text("[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/sleep 86400\nTimeoutStartSec=infinity\n")
    scene.must("systemctl daemon-reload && systemctl start case-service.service")
    recipe = Recipe("case-reload", "1", _file("case-reload"), {"post": "systemctl reload case-service.service || :"})
    path = scene.packages(recipe)[0]
    scene.start("case-reload", f"exec rpm -U {path}")
    client = scriptlet_pid(scene, "^systemctl reload case-service", "the scriptlet that reloads the service")
    reload = scriptlet_pid(scene, "^/bin/sleep 86400", "the reload")
    locks_managers.last(scene, 12)
    text = f"systemctl (pid {client}) in a scriptlet waits for a reload (pid {reload}) that does not end"
    return Made(text, {"client": client, "reload": reload})


def output_held(scene: Scene) -> Made:
    """33: a background process of %post holds the pipe that the caller of rpm reads."""
    recipe = Recipe("case-daemon", "1", _file("case-daemon"), {"post": "sleep 86400 &"})
    path = scene.packages(recipe)[0]
    scene.start("case-caller", f"rpm -U {path} 2>&1 | tee /run/case-caller.log")
    left = scriptlet_pid(scene, "^sleep 86400", "the background process")
    scene.wait("rpm -q case-daemon && ! pgrep -x rpm", what="the end of rpm")
    reader = int(scene.must("pgrep -o -x tee"))
    locks_managers.last(scene)
    text = f"sleep (pid {left}), left by %post, holds the pipe that tee (pid {reader}) reads; rpm has ended"
    return Made(text, {"left": left, "reader": reader})


def front_end_lost(scene: Scene) -> Made:
    """28: the terminal of a transaction is gone; its scriptlet goes on for a while."""
    script = f"trap '' HUP; sleep {FIRST_SECONDS}"
    recipe = Recipe("case-lost", "1", _file("case-lost"), {"post": script})
    path = scene.packages(recipe)[0]
    scene.start("case-lost", f"rpm -U {path}", terminal=True)
    scriptlet_pid(scene, f"^sleep {FIRST_SECONDS}", "the scriptlet")
    rpm = int(scene.must("pgrep -o -x rpm"))
    scene.must("kill -KILL $(pgrep -o -x script)")
    scene.wait(f"readlink /proc/{rpm}/fd/1 | grep -q deleted", what="the end of its terminal")
    return Made(f"rpm (pid {rpm}) has lost its terminal in the middle", {"rpm": rpm}, lasts=False)


CASES: tuple[LabCase, ...] = (
    LabCase("transaction-waits", "current", transaction_waits),
    LabCase("nested-rpm-deadlock", "current", nested_rpm),
    LabCase("nested-dnf-deadlock", "current", locks_managers.nested_dnf),
    LabCase("transaction-stops-itself", "current", transaction_stops_itself),
    LabCase("scriptlet-waits-for-job", "current", scriptlet_waits),
    LabCase("stale-pid-file", "current", locks_managers.stale_pid_file),
    LabCase("front-end-lost", "current", front_end_lost),
    LabCase("output-held", "current", output_held),
    LabCase("rpm-beside-dnf", "current", locks_managers.rpm_beside_dnf),
)

"""Each way to end a boot is tried as root on hosts between two states: refused and explained. After proof: allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from conftest import Host

from interlock.lab.handle import HostHandle

HostOf = Callable[..., Host]
SIGN = "see-interlock-guard"
LOGIND = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
PID_1 = "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
# Where nobody is told that it was refused, because nobody waits for an answer.
NO_ANSWER = ("kill ", "shutdown +", "systemd-run ")
SYSV = ("reboot", "poweroff", "halt", "shutdown -r now", "shutdown -h now", "shutdown now", "init 0", "init 6")
TARGETS = ("reboot", "poweroff", "halt", "kexec", "exit")
WAYS = (
    *SYSV, "telinit 6", "telinit 0",
    *(f"systemctl {one}" for one in ("reboot", "poweroff", "halt", "exit")),
    "systemctl -i reboot", "systemctl --no-block reboot", "systemctl --no-wall poweroff",
    *(f"systemctl start {one}.target" for one in TARGETS),
    *(f"systemctl start systemd-{one}.service" for one in TARGETS),
    "systemctl isolate reboot.target", "systemctl isolate runlevel0.target", "systemctl isolate runlevel6.target",
    "systemctl start --job-mode=replace-irreversibly reboot.target", "systemctl start --no-block poweroff.target",
    "systemctl start ctrl-alt-del.target",
    f"{LOGIND} Reboot b false", f"{LOGIND} PowerOff b false", f"{LOGIND} Halt b false",
    f"{PID_1} StartUnit ss reboot.target replace-irreversibly",
    # Ctrl-alt-del, and what a container's or a machine's power button sends; then a unit that ends the boot.
    "kill -INT 1", "kill -RTMIN+3 1", "kill -RTMIN+4 1", "kill -RTMIN+5 1", "kill -RTMIN+6 1",
    "systemd-run --quiet --unit=test-fails --property=FailureAction=reboot false",
)  # fmt: skip
# The last, for a logind that has one scheduled forgets its /run/nologin when another way is refused.
LAST = "shutdown +1"
# Its refusal is in the journal alone.
SOFT = "kill -RTMIN+7 1; until journalctl -b -n 50 -o cat | grep refuses-soft-reboot; do sleep 0.1; done"
MORE_WAYS = {"next": ("systemctl soft-reboot", "systemctl start soft-reboot.target", SOFT)}
# One script tries them all. What explains runs on its own, so its end is waited for before, and its start after a way.
UNITS = "interlock-explain.service interlock-explain-scheduled.service"
TRY = """
echo "way {way}"
while systemctl is-active {units} | grep -q activating; do sleep 0.05; done
before=$(systemctl show --property=InvocationID --value {units}) after=$before count=0
{{ {command}; }} 2>&1
echo "status $?"
while [ "$after" = "$before" ] && [ $count -lt {limit} ]; do
    after=$(systemctl show --property=InvocationID --value {units}) count=$((count + 1))
    [ "$after" != "$before" ] && echo "announced" || sleep 0.05
done
echo "init $(cut -d ' ' -f 22 /proc/1/stat)"
"""


class Tried(NamedTuple):
    """What came of one way: its status, what was said, and when PID 1 was started."""

    way: str
    status: int
    said: str
    init: str


def try_ways(host: Host, ways: tuple[str, ...]) -> list[Tried]:
    scripts = (
        TRY.format(way=number, command=way, units=UNITS, limit=200 if waits(host, way) else 0)
        for number, way in enumerate(ways)
    )
    blocks = host.shell("\n".join(scripts), timeout=200).stdout.split("way ")[1:]
    return [_tried(way, block.splitlines()) for way, block in zip(ways, blocks, strict=True)]


def _tried(way: str, lines: list[str]) -> Tried:
    status = next(line.split()[1] for line in lines if line.startswith("status "))
    return Tried(way, int(status), "\n".join(lines), lines[-1].removeprefix("init "))


def waits(host: Host, way: str) -> bool:
    """Say whether a way is explained only at the terminals: systemd 247's own `reboot` says nothing of the reason."""
    return (way.startswith(NO_ANSWER) and way != SOFT) or (
        host.release == "classic" and way in (*SYSV, "telinit 6", "telinit 0")
    )


def refused_and_explained(host: Host, ways: tuple[str, ...]) -> int:
    """Try every way; return their number."""
    init = host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout.strip()
    status = host.shell("systemctl status reboot.target", check=False).stdout
    assert "REFUSED by Interlock: operation" in status
    for tried in try_ways(host, ways):
        assert tried.init == init, f"{tried.way}: the host went down\n{tried.said}"
        assert tried.status != 0 or tried.way.startswith(NO_ANSWER), f"{tried.way}: not refused\n{tried.said}"
        assert SIGN in tried.said or "announced" in tried.said, f"{tried.way}: not explained\n{tried.said}"
    host.shell("shutdown -c; systemctl reset-failed test-fails", check=False)
    still_whole(host, init)
    return len(ways)


def still_whole(host: Host, init: str) -> None:
    """Nothing was stopped on the way down, and nothing waits to go there."""
    assert host.shell("systemctl list-jobs --no-legend").stdout.strip() in ("", "No jobs running.")
    assert (
        host.shell("systemctl list-units --state=failed --plain --no-legend | grep -v ^test-update", check=False).stdout
        == ""
    )
    services = "systemd-journald dbus ssh systemd-logind systemd-networkd systemd-user-sessions"
    host.shell(f"systemctl is-active {services} && test ! -e /run/nologin")
    assert host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout.strip() == init


def refused_when_its_time_has_come(host: Host) -> None:
    init = host.shell("cut -d ' ' -f 22 /proc/1/stat").stdout.strip()
    host.shell(f"{LOGIND} ScheduleShutdown st reboot $(( ($(date +%s) + 2) * 1000000 ))")
    host.shell("while [ -e /run/systemd/shutdown/scheduled ]; do sleep 0.1; done", timeout=20)
    still_whole(host, init)


def denied(host: Host) -> list[str]:
    """Return the names of the reasons that the verb gives."""
    found = host.json("guard")
    assert found["allowed"] == (not found["reasons"])
    return [reason["id"] for reason in found["reasons"]]


def goes_down(host: Host, command: str) -> None:
    """The boot ends, and another one begins."""
    host.run("touch", "/run/test-before-reboot")
    HostHandle(host.lab, host.name).run(["sh", "-c", command], 20)
    deadline = time.monotonic() + 60
    while HostHandle(host.lab, host.name).run(["test", "!", "-e", "/run/test-before-reboot"], 10).status != 0:
        assert time.monotonic() < deadline, f"{command}: the host is still in the same boot"
        time.sleep(0.1)


@pytest.mark.parametrize("release", ["classic", "current", "next"])
def test_each_way(host_of: HostOf, release: str) -> None:
    host = host_of(release)
    depot = f"/srv/depots/{release}-updates-2"
    host.update(depot, INTERLOCK_TRACE="applied=kill")
    assert "between-two-states" in denied(host)
    assert "operation-cut-off" in denied(host)
    assert host.run("interlock", "guard", check=False).status == 3
    refusal = host.run("interlock", "reboot", "--yes", check=False)
    assert (refusal.status, "interlock resume" in refusal.stdout) == (3, True)
    number = refused_and_explained(host, (*WAYS, *MORE_WAYS.get(release, ()), LAST))
    print(f"{number} ways on {release}")
    refused_when_its_time_has_come(host)

    host.run("interlock", "resume")
    assert denied(host) == []
    assert host.update(depot).status == 0
    assert host.run("interlock", "guard").status == 0
    assert host.shell("ls -A /run/systemd/system.control; test -p /run/initctl").stdout == ""
    goes_down(host, "interlock reboot --yes")
    goes_down(host, "reboot")


def test_while_the_engine_works_and_after_it(host_of: HostOf) -> None:
    """The guard is up before anything is changed, and goes only with the proof: not with the engine."""
    host = host_of("current")
    ways = ("reboot", "systemctl reboot", "shutdown -h now", "kill -INT 1")
    trace = "INTERLOCK_TRACE=guard.raised=stop"
    words = f"{trace} interlock update --depot /srv/depots/current-updates-2 --yes"
    host.run("systemd-run", "--quiet", "--unit=test-update", "sh", "-c", words)
    host.shell("until [ -e /var/lib/interlock/dirty.json ] && [ -L /run/initctl ]; do sleep 0.1; done", timeout=60)
    assert {"operation-running", "between-two-states"} <= set(denied(host))
    assert host.run("interlock", "reboot", "--yes", check=False).status == 3
    refused_and_explained(host, ways)

    # The engine and its standby, which would bring the host back at once.
    host.shell("systemctl kill --signal=KILL 'interlock-2*.service'; systemctl stop test-update")
    assert "between-two-states" in denied(host)
    refused_and_explained(host, ways)
    host.run("interlock", "resume")
    assert denied(host) == []
    goes_down(host, "systemctl reboot")


def test_a_refusal_outlives_other_hands(host_of: HostOf) -> None:
    """An administrator's own target does not come before the guard, and a marker is enough to deny."""
    host = host_of("current")
    host.shell("cp /lib/systemd/system/reboot.target /lib/systemd/system/poweroff.target /etc/systemd/system/")
    host.shell("ln -s /dev/null /etc/systemd/system/ctrl-alt-del.target; systemctl daemon-reload")
    host.update("/srv/depots/current-updates-2", INTERLOCK_TRACE="applied=kill")
    refused_and_explained(host, ("reboot", "systemctl poweroff", "kill -RTMIN+5 1"))
    host.shell("rm -r /run/systemd/system.control; systemctl daemon-reload; rm /run/initctl")
    assert "between-two-states" in denied(host)
    assert host.run("interlock", "reboot", "--yes", check=False).status == 3

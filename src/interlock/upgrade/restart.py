"""Restarts services that run programs which a rollback has taken away.

Scriptlets restart services as they upgrade them. When the files are the old ones again, such a service is a process
whose program is gone: it may not find its own parts any more (a new sshd starts a helper that the old one does not
have). Only services that were started since the operation began are restarted: what ran before it runs what it ran.
"""

from __future__ import annotations

import os

from interlock.host.context import Host

LIMIT = 90.0
DELETED = " (deleted)"
# Who restarts these loses the sessions and connections of everybody; our own unit would end us.
SPARED = ("dbus.service", "dbus-broker.service", "systemd-logind.service", "interlock-", "user@", "session-")


def restart_services(host: Host, began: int) -> list[str]:
    """Restart what was started since ``began`` (clock ticks since boot) from a program that is gone; return which."""
    if not os.path.isdir(host.paths.systemd):
        return []
    gone = [pid for pid in host.proc.pids() if _program(host, pid).endswith(DELETED)]
    if manager_is_gone(host):
        # It goes back to the old program, with all it knows.
        host.runner.run(["systemctl", "daemon-reexec"], timeout=LIMIT, check=False)
    units = sorted({host.proc.unit(pid) for pid in gone if (host.proc.start_time(pid) or 0) >= began})
    wanted = [unit for unit in units if unit.endswith(".service") and not unit.startswith(SPARED)]
    if wanted:
        host.runner.run(["systemctl", "--no-block", "try-restart", *wanted], timeout=LIMIT, check=False)
    return wanted


def manager_is_gone(host: Host) -> bool:
    """Say whether systemd itself runs from a program that is gone."""
    return os.path.isdir(host.paths.systemd) and _program(host, 1).endswith(DELETED)


def _program(host: Host, pid: int) -> str:
    try:
        return os.readlink(f"{host.proc.folder}/{pid}/exe")
    except OSError:
        return ""

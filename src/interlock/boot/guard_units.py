"""The units of the reboot guard: those that refuse, the names they take the place of, and some that only explain.

A unit that refuses has a long name of its own (`REFUSING`), because that name is all that systemctl, logind and PID 1
say of a unit that they do not start; the target and the service that end a boot are links to it. Each end of a boot has
its own. That of ``soft-reboot.target`` needs a unit that is not there, so that not even its conflicts come about:
journald conflicts with that target, and a mere try would stop it. What only explains (a message to every terminal, an
inhibitor with the reason) may fail: the refusal does not need it, and does not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

HEAD = "# Made by Interlock; `interlock guard` says more. It goes when the host is proven, or with this boot.\n"
PREFIX = "interlock-"
ENDS = ("reboot", "poweroff", "halt", "kexec", "soft-reboot", "exit")
IMPOSSIBLE = "soft-reboot"
MISSING = "interlock-refuses-soft-reboot:see-interlock-guard.service"
# What a person reads at the terminal: "Operation refused, unit NAME may be requested by dependency only".
REFUSING = "interlock-refuses-{end}:the-host-is-between-two-states:see-interlock-guard"
# The old way to ask PID 1: a pipe, which `reboot` and `shutdown` of systemd write to when they were refused.
FIFO = "run/initctl"
FIFO_KEPT = "run/initctl.interlock"
REFUSED_WRITES = "/dev/full"
SCHEDULED = "/run/systemd/shutdown/scheduled"
EXPLAIN = "interlock-explain"
EXPLAIN_SCHEDULED = "interlock-explain-scheduled"
INHIBIT = "interlock-inhibit.service"
# Those that are started: they wait for somebody to try.
EXPLAINERS = (f"{EXPLAIN}.path", f"{EXPLAIN_SCHEDULED}.path", INHIBIT)
LONGEST_REASON = 200

_REFUSE = """[Unit]
Description=REFUSED by Interlock: {reason}. Run: interlock guard
DefaultDependencies=no
RefuseManualStart=yes
AssertPathExists=!/
"""
_TARGET = _REFUSE + f"Wants={EXPLAIN}.service\n"
_SERVICE = _REFUSE + "[Service]\nType=oneshot\nExecStart=/bin/false\n"
_EXPLAIN = """[Unit]
Description=Says why Interlock refuses to end this boot
DefaultDependencies=no
StartLimitIntervalSec=0
{more}[Service]
Type=oneshot
TimeoutStartSec=10
StandardOutput=null
StandardError=null
ExecStart=-/usr/bin/wall "Interlock refuses to reboot or switch off this host: {reason}. Run: interlock guard"
"""
_PATH = """[Unit]
Description=Notices who tries to end this boot
DefaultDependencies=no
[Path]
PathChanged={path}
"""
# Since systemd 257 a block binds root too, whom logind then tells no more than "Access denied": a weak one is better.
_INHIBIT = """[Unit]
Description=Tells logind that Interlock refuses to end this boot
DefaultDependencies=no
[Service]
Type=simple
TimeoutStopSec=2
ExecStart=/bin/sh -c '"$$0" --mode=block-weak "$$@" || exec "$$0" --mode=block "$$@"' /usr/bin/systemd-inhibit \
--what=shutdown --who=Interlock "--why={reason}. Run: interlock guard" /bin/sleep infinity
"""


def links_and_units(reason: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the names that become links, with what they lead to, and the units with their text."""
    said = _quotable(reason)
    spoken = said.replace("$", "$$")
    links, units = {}, {}
    for end in ENDS:
        for name, kind, text in ((end, "target", _TARGET), (f"systemd-{end}", "service", _SERVICE)):
            refusing = f"{REFUSING.format(end=end)}.{kind}"
            links[f"{name}.{kind}"] = refusing
            units[refusing] = text.format(reason=said)
            if name == IMPOSSIBLE:
                units[refusing] += f"Requires={MISSING}\n"
    units[f"{EXPLAIN}.service"] = _EXPLAIN.format(reason=spoken, more="")
    units[f"{EXPLAIN}.path"] = _PATH.format(path=REFUSED_WRITES)
    more = f"ConditionPathExists={SCHEDULED}\n"
    units[f"{EXPLAIN_SCHEDULED}.service"] = _EXPLAIN.format(reason=spoken, more=more)
    units[f"{EXPLAIN_SCHEDULED}.path"] = _PATH.format(path=SCHEDULED)
    units[INHIBIT] = _INHIBIT.format(reason=spoken)
    return links, {name: HEAD + text for name, text in units.items()}


def is_ours(path: str) -> bool:
    """Say whether a path is a unit of the guard, or a link to one."""
    name = os.readlink(path) if os.path.islink(path) else os.path.basename(path)
    return name.startswith(PREFIX) and os.path.lexists(path)


def _quotable(reason: str) -> str:
    """Return a reason as a unit may quote it: systemd reads % as its own, and a quote or backslash as an end."""
    words = " ".join(reason.split())[:LONGEST_REASON]
    for sign, instead in (("%", "%%"), ('"', "'"), ("\\", "/"), ("`", "'")):
        words = words.replace(sign, instead)
    return "".join(sign for sign in words if sign.isprintable())

"""The shallow depth: the user space boots in a container of its own, from a picture of the root directory.

It needs nothing but util-linux and systemd, both of which every host has that this program runs on. Of the real host
the copy sees the kernel and nothing else: no network but its own loopback, no device but null, zero, full, random,
urandom, tty and terminals of its own, /sys and the kernel's settings read-only, its own processes, messages and
control groups, and without the capabilities that reach past all this. What it writes goes to memory.
"""

from __future__ import annotations

import os
import shutil
import signal

from interlock.boot import rehearse_scripts as scripts
from interlock.boot.rehearse_console import TICK, Child, Followed, Follower, terminal
from interlock.boot.rehearse_tree import Folder, Picture, Task, memory_for_writes
from interlock.host.context import Host
from interlock.system import durable
from interlock.system.run import end_session

PROGRAMS = ("unshare", "setpriv", "pivot_root", "mount", "umount", "systemd-run", "env", "sh")
TASKS = 4096
END_LIMIT = 10.0
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child")
INIT_ARGUMENTS = "systemd.show_status=1"


def missing(host: Host) -> str:
    """Say what this host lacks for it, or nothing."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"programs are missing: {', '.join(lacking)}"
    if not os.path.isdir(host.paths.systemd):
        return "systemd is not in charge of this host"
    return "" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "control groups are not of version 2"


def put_sentinel(folder: Folder, token: str, inside: str) -> None:
    """Put the sentinel and its unit where the copy will find them."""
    durable.write_file(os.path.join(folder.inside("out"), "sentinel.sh"), scripts.SENTINEL)
    durable.write_file(os.path.join(folder.inside("out"), "unit"), scripts.unit_text(token, inside))


def picture_words(host: Host, folder: Folder, picture: Picture, script: str, root: str) -> list[str]:
    """Return the command that puts the picture together and goes on with ``script``."""
    prefix = root.rstrip("/")
    words = [picture.root, folder.inside("work"), str(memory_for_writes(host)), prefix, *picture.mounts]
    return ["sh", "-c", scripts.PICTURE + script, "interlock-rehearsal", *words]


def boot_container(host: Host, task: Task, picture: Picture) -> Followed:
    """Boot the copy until its sentinel is heard, it ends, or its time is over; nothing of it runs after."""
    folder = task.folder
    put_sentinel(folder, task.token, scripts.INSIDE)
    with terminal() as (ours, theirs):
        words = [*_scope(folder), "unshare", *NAMESPACES]
        words += picture_words(host, folder, picture, scripts.CONTAINER, task.root)
        child = host.runner.start(words, stdout=theirs, stderr=theirs, env=_environment(folder, os.ttyname(theirs)))
        try:
            return Follower(host, folder.console, ours).follow(child, lambda follower: _report(folder), task.limit)
        finally:
            if child.poll() is None:
                end_inside(host, child)
            end_session(child)


def _scope(folder: Folder) -> list[str]:
    # A control group of its own, which the copy's systemd may divide up.
    return [
        "systemd-run", "--scope", "--quiet", "--collect", f"--unit=interlock-rehearsal-{folder.id}",
        "--property=Delegate=yes", f"--property=TasksMax={TASKS}", "--",
    ]  # fmt: skip


def _environment(folder: Folder, tty: str) -> dict[str, str]:
    return {
        "TERMINAL": tty,
        "OUT": folder.inside("out"),
        "UNIT": scripts.UNIT,
        "WAITING_UNITS": " ".join(scripts.WAITING_UNITS),
        "WITHHELD": ",".join(f"-{name}" for name in scripts.WITHHELD),
        "ENTER": scripts.ENTER,
        "STARTING": scripts.STARTING,
        "INIT_ARGUMENTS": INIT_ARGUMENTS,
    }


def _report(folder: Folder) -> str:
    try:
        with open(os.path.join(folder.inside("out"), "report"), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def end_inside(host: Host, child: Child) -> None:
    """End the copy's first process, and with it all of the others: when unshare returns none is left."""
    for pid in host.proc.children(child.pid):
        os.kill(pid, signal.SIGKILL)
    end = host.clock.monotonic() + END_LIMIT
    while child.poll() is None and host.clock.monotonic() < end:
        host.clock.sleep(TICK)

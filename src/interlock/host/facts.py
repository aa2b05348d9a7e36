"""The facts of a host, as advisory rules see them: JSON values, each from the host's own files and tools.

A fact that cannot be read is absent, and a rule that needs it says ``unknown``. ``FACTS`` names every one; the
reference page is made from it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from interlock.errors import InterlockError
from interlock.host.agents import RPM_PROGRAMS, Agent, program
from interlock.host.context import Host
from interlock.host.facts_machines import machines
from interlock.host.facts_product import hardware, product
from interlock.host.hold import read_hold
from interlock.package import Package
from interlock.system.proc import read_text

FACTS: Mapping[str, str] = {
    "product.family": "esx, esxi, rhel, fedora, suse, amazon, debian, or other",
    "product.name": "as the release files have it, such as VMware ESX or Red Hat Enterprise Linux",
    "product.version": "such as 4.0.0 or 9.4",
    "hardware.vendor": "as the firmware says, such as HP (from dmidecode, or the kernel)",
    "hardware.product": "such as ProLiant DL380 G6",
    "rpm.version": "of the host's rpm",
    "rpm.backend": "sqlite, ndb or bdb: what lies on the disk",
    "rpm.path": "where the package database is",
    "glibc.version": "version-release of the C library's package",
    "glibc.installed": "when that package was installed, in seconds since the epoch",
    "packages": "map of names to lists of {epoch, version, release, arch, evr, installed}",
    "agents": "list of {name, evidence, units}: programs that use the package database on their own and run now",
    "rpm_running": "list of commands: rpm, dnf or zypper that run now, started by whom it may be",
    "kernel": "the running kernel's release",
    "booted": "when the host was started, in seconds since the epoch",
    "now": "the time of day, in seconds since the epoch",
    "mounts": "map of /, /usr, /var, /boot, /etc to {type, read_only, free, size, free_inodes, own}; sizes in bytes, "
    "own says whether it is a mount of its own",
    "virtual_machines": "list of {name, kind, disks, local, runs}: local says that a disk of it lies on this host",
    "hold": "why the host is on hold; empty where it is not",
    "files": "map of a few telling paths to whether they are there",
    "pid_files": "list of {path, pid, alive} of dnf, yum and zypper",
    "programs": "map of dracut, mkinitrd, update-initramfs, dnf, yum, zypper and ostree to whether they are there",
    "bulletins_done": "list of {id, at}: bulletins that Interlock has carried out here and not taken back",
    "container": "whether this is a container, with the kernel of another host",
    "dnf_excludes": "list of patterns that dnf or yum is told to leave out",
}
TELLING = (
    "/system-update", "/run/ostree-booted", "/var/lib/rpm/.rebuilddb.lock", "/etc/fapolicyd/fapolicyd.conf",
    "/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list", "/var/lib/rpm/__db.001",
    "/.autorelabel", "/run/reboot-required", "/var/run/reboot-required", "/etc/kernel/install.conf",
)  # fmt: skip
PID_FILES = (
    "/var/lib/dnf/rpmdb_lock.pid", "/var/cache/dnf/metadata_lock.pid", "/var/run/yum.pid", "/run/zypp.pid",
)  # fmt: skip
PROGRAMS = ("dracut", "mkinitrd", "update-initramfs", "dnf", "yum", "zypper", "ostree")
FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
GLIBC = ("glibc", "libc6")
MOUNTS = ("/", "/usr", "/var", "/boot", "/etc")
LONGEST = 400


def read_facts(
    host: Host, installed: Sequence[Package], database: Mapping[str, str], agents: Sequence[Agent]
) -> dict[str, Any]:
    """Return all that is known. ``database`` has ``version``, ``backend`` and ``path`` of rpm's."""
    readers: dict[str, Callable[[], Any]] = {
        "product": lambda: product(host.paths.root), "hardware": lambda: hardware(host),
        "rpm": lambda: dict(database), "glibc": lambda: _glibc(installed), "packages": lambda: _packages(installed),
        "agents": lambda: [{"name": one.name, "evidence": one.evidence[:LONGEST], "units": list(one.units)}
                           for one in agents],
        "rpm_running": lambda: list(_rpm_running(host)), "kernel": platform.release,
        "booted": lambda: _booted(host), "now": lambda: int(host.clock.now()), "mounts": lambda: _mounts(host),
        "virtual_machines": lambda: machines(host), "hold": lambda: _hold(host),
        "files": lambda: {path: os.path.lexists(_at(host, path)) for path in TELLING},
        "pid_files": lambda: list(_pid_files(host)), "programs": lambda: _programs(host),
        "container": lambda: _container(host), "dnf_excludes": lambda: list(_excludes(host)),
    }  # fmt: skip
    found = {}
    for name, read in readers.items():
        with contextlib.suppress(OSError, ValueError, InterlockError):
            value = read()
            if value is not None:
                found[name] = value
    return found


def _at(host: Host, path: str) -> str:
    return os.path.join(host.paths.root, path.lstrip("/"))


def _packages(installed: Sequence[Package]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in installed:
        evr = one.nevra.evr
        found.setdefault(one.name, []).append({
            "epoch": evr.epoch, "version": evr.version, "release": evr.release, "arch": one.nevra.arch,
            "evr": str(evr), "installed": one.installed_at,
        })  # fmt: skip
    return found


def _glibc(installed: Sequence[Package]) -> Any:
    for one in installed:
        if one.name in GLIBC:
            return {"version": f"{one.nevra.evr.version}-{one.nevra.evr.release}", "installed": one.installed_at}
    return None


def _rpm_running(host: Host) -> Iterator[str]:
    for pid in host.proc.pids():
        command = host.proc.command(pid)
        if pid != os.getpid() and program(command) in RPM_PROGRAMS:
            yield f"{command[:LONGEST]} (pid {pid})"


def _booted(host: Host) -> Any:
    """Return when the first process was started: in a container that is not the machine's own start."""
    ticks, started = os.sysconf("SC_CLK_TCK"), host.proc.start_time(1)
    for line in read_text(os.path.join(str(host.proc.root), "stat")).splitlines():
        if line.startswith("btime ") and started is not None:
            return int(line.split()[1]) + started // ticks
    return None


def _mounts(host: Host) -> dict[str, Any]:
    kinds = {}
    for line in read_text(os.path.join(str(host.proc.root), "mounts")).splitlines():
        words = line.split()
        if len(words) > 3:
            kinds[words[1]] = (words[2], "ro" in words[3].split(","))
    found = {}
    for path in MOUNTS:
        real = _at(host, path)
        if not os.path.isdir(real):
            continue
        place = path
        while place not in kinds and place != "/":
            place = os.path.dirname(place)
        kind, read_only = kinds.get(place, ("", False))
        space = os.statvfs(real)
        found[path] = {
            "type": kind, "read_only": read_only, "free": space.f_bavail * space.f_frsize,
            "size": space.f_blocks * space.f_frsize, "free_inodes": space.f_favail if space.f_files else -1,
            "own": path in kinds,
        }  # fmt: skip
    return found


def _hold(host: Host) -> str:
    hold = read_hold(host.paths)
    return hold.reason if hold else ""


def _pid_files(host: Host) -> Iterator[dict[str, Any]]:
    for path in PID_FILES:
        text = read_text(_at(host, path)).strip()
        if text:
            pid = int(text) if text.isdecimal() else 0
            command = program(host.proc.command(pid)) if pid else ""
            yield {"path": path, "pid": pid, "alive": command in RPM_PROGRAMS or command.startswith("packagekit")}


def _programs(host: Host) -> dict[str, bool]:
    return {
        name: any(os.path.exists(_at(host, f"{folder}/{name}")) for folder in FOLDERS) for name in PROGRAMS
    }  # fmt: skip


def _container(host: Host) -> bool:
    return os.path.exists(_at(host, "/run/systemd/container")) or os.path.exists(_at(host, "/.dockerenv"))


def _excludes(host: Host) -> Iterator[str]:
    patterns = ("/etc/dnf/dnf.conf", "/etc/yum.conf", "/etc/yum.repos.d/*.repo")
    for path in (one for pattern in patterns for one in sorted(glob.glob(_at(host, pattern)))):
        for line in read_text(path).splitlines():
            name, equals, value = line.partition("=")
            if equals and name.strip() in ("exclude", "excludepkgs"):
                yield from value.replace(",", " ").split()

"""What the lab needs of a machine, checked before anything is made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from interlock.lab.cache import Cache, check_space
from interlock.lab.errors import KernelFeaturesMissing, NotRoot, ProgramsMissing
from interlock.system.run import Runner

# Programs, and the Debian packages that have them.
PROGRAMS: Mapping[str, str] = {
    "apt-get": "apt",
    "debootstrap": "debootstrap",
    "rpm": "rpm",
    "rpmbuild": "rpm",
    "rpmsign": "rpm",
    "createrepo_c": "createrepo-c",
    "modifyrepo_c": "createrepo-c",
    "systemd-nspawn": "systemd-container",
    "mkfs.btrfs": "btrfs-progs",
    "btrfs": "btrfs-progs",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "mount": "mount",
    "losetup": "mount",
    "unshare": "util-linux",
    "zstd": "zstd",
}
# What is tried in a network namespace that ends with the trial.
_NETWORK_TRIALS: Mapping[str, Sequence[str]] = {
    "bridge": ("ip", "link", "add", "trial", "type", "bridge"),
    "veth": ("ip", "link", "add", "trial", "type", "veth", "peer", "name", "trial2"),
}


def check_root() -> None:
    """Refuse anybody but root."""
    if os.geteuid() != 0:
        raise NotRoot()


def check_machine(cache: Cache, runner: Runner) -> None:
    """Refuse, naming all that is missing, a machine on which the lab cannot work."""
    check_root()
    check_programs()
    check_kernel(runner)
    check_space(cache)


def check_programs() -> None:
    """Refuse where programs are missing, and name their packages."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = sorted({PROGRAMS[program] for program in missing})
        raise ProgramsMissing(programs=", ".join(missing), packages=" ".join(packages))


def check_kernel(runner: Runner) -> None:
    """Refuse where the kernel lacks what hosts need."""
    missing = missing_filesystems(Path("/proc/filesystems").read_text())
    if missing and shutil.which("modprobe"):
        runner.run(["modprobe", "--all", *missing], check=False)
        missing = missing_filesystems(Path("/proc/filesystems").read_text())
    if not Path("/dev/loop-control").exists():
        missing.append("loop")
    for feature, argv in _NETWORK_TRIALS.items():
        if runner.run(["unshare", "--net", *argv], check=False).status != 0:
            missing.append(feature)
    if missing:
        raise KernelFeaturesMissing(features=", ".join(missing), modules=" ".join(missing))


def missing_filesystems(text: str) -> list[str]:
    """Return the file systems that hosts need and ``/proc/filesystems`` does not list."""
    known = {words[-1] for words in map(str.split, text.splitlines()) if words}
    return [name for name in ("btrfs", "cgroup2") if name not in known]

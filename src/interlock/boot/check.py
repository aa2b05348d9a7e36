"""The boot check: would the system that is on the disk now boot?

Facts are read from files below a root directory (``boot_*``), without running any program of the system that is looked
at; pure functions judge them (``check_*``). The package database alone is asked of this host's ``rpm``, by a private
copy. What an operation of Interlock's own has left open, and scriptlets that failed, are for the caller to add.
"""

from __future__ import annotations

from typing import Optional

from interlock.boot.boot_choice import kernels, read_choice
from interlock.boot.boot_entry import Choice
from interlock.boot.boot_kernel import Booted, argument, read_booted
from interlock.boot.boot_mounts import read_mounts
from interlock.boot.boot_packages import Packages, read_packages
from interlock.boot.boot_programs import INIT, Programs, read_programs
from interlock.boot.boot_system import read_essentials
from interlock.boot.boot_tree import Tree
from interlock.boot.check_kernel import judge_booted, judge_choice, judge_root
from interlock.boot.check_mounts import judge_mounts
from interlock.boot.check_packages import judge_packages
from interlock.boot.check_system import judge_system
from interlock.boot.verdict import Reason, Verdict
from interlock.host.context import Host

CONTAINER = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
KERNEL_ADVICE = "Install a kernel package, and let it make its boot entry."


def check_boot(host: Host, root: str = "/") -> Verdict:
    """Return the verdict on the default entry of a system whose root directory is ``root``; changes nothing."""
    tree = Tree(root)
    packages = read_packages(host, tree)
    choice = None if _is_elsewhere(tree) or _boots_nothing(tree) else read_choice(tree)
    entry = choice.entry if choice else None
    options = entry.options if entry else ""
    programs = read_programs(tree, argument(options, "init") or INIT)
    booted = read_booted(tree, entry, _machine(programs)) if entry else None
    essentials = read_essentials(tree, argument(options, "systemd.unit"))
    reasons = [
        *_kernel(tree, choice, booted, packages),
        *judge_system(essentials, programs, booted.entry.options if booted else options),
        *_mounts(tree, booted, choice is not None),
        *judge_packages(packages),
    ]
    return Verdict(tuple(reasons), tuple(_looked_at(tree, choice, booted, programs, packages)))


def _machine(programs: Programs) -> int:
    """Return the ELF number of the processors that the system's programs are for."""
    parts = (programs.parts.get(start.path) for start in programs.starts)
    return next((part.elf.machine for part in parts if part is not None and part.elf is not None), 0)


def _is_container(tree: Tree) -> bool:
    """Say whether the running system is one: its kernel is not its own."""
    return tree.live and any(tree.exists(path) for path in CONTAINER)


def _boots_nothing(tree: Tree) -> bool:
    """Say whether this is a container without any kernel, which settings of a boot loader do not make a machine."""
    return _is_container(tree) and not kernels(tree)


def _is_elsewhere(tree: Tree) -> bool:
    """Say whether /boot is a file system of its own that a copy of the root does not have."""
    own = any(line.split()[1:2] == ["/boot"] for line in tree.lines("/etc/fstab"))
    return own and not tree.live and not any(tree.names("/boot"))


def _kernel(tree: Tree, choice: Optional[Choice], booted: Optional[Booted], packages: Packages) -> list[Reason]:
    if choice is None:
        return judge_no_kernel(tree, packages)
    reasons = judge_choice(choice)
    return reasons + (judge_booted(booted, _running_root(tree), bool(choice.loader)) if booted else [])


def judge_no_kernel(tree: Tree, packages: Packages) -> list[Reason]:
    """Judge a system where no kernel is: right for a container, and for a root whose /boot is elsewhere."""
    contained = _is_container(tree) if tree.live else not packages.has_kernel
    if contained or _is_elsewhere(tree):
        return []
    return [Reason("kernel-missing", "/boot", "there is no kernel to boot, and this is no container", KERNEL_ADVICE)]


def _running_root(tree: Tree) -> Optional[str]:
    """Return the root argument of the system that runs; None in a container, and for another system's tree."""
    if not tree.live or _is_container(tree):
        return None
    return argument(tree.text("/proc/cmdline"), "root")


def _mounts(tree: Tree, booted: Optional[Booted], has_kernel: bool) -> list[Reason]:
    root = booted.root if booted else ""
    mounts = read_mounts(tree, root)
    return [*judge_mounts(mounts, has_kernel), *judge_root(root, mounts.absent)]


def _looked_at(
    tree: Tree, choice: Optional[Choice], booted: Optional[Booted], programs: Programs, packages: Packages
) -> list[str]:
    """Name what would really be booted."""
    said = _kernel_said(tree, choice, booted)
    said += [f"{start.asked}: {start.path or 'missing'}" for start in programs.starts[:2]]
    said.append(f"{len(programs.parts)} programs and libraries that every boot loads")
    return said + ([] if packages.installed is None else [f"{packages.installed} packages"])


def _kernel_said(tree: Tree, choice: Optional[Choice], booted: Optional[Booted]) -> list[str]:
    if choice is None:
        return [
            "no kernel: its own /boot is not here" if _is_elsewhere(tree) else "no kernel of its own, as in a container"
        ]
    if booted is None:
        return [f"{choice.loader}: {choice.configuration}"]
    entry = booted.entry
    loader = choice.loader or "no boot loader; the newest kernel"
    return [
        f"{loader}: {entry.id}" + (f" ({entry.title})" if entry.title not in ("", entry.id) else ""),
        f"kernel: {booted.image.path if booted.image else entry.kernel} {booted.release}".rstrip(),
        *(f"initramfs: {found.path if found else name}" for name, found in booted.images),
        f"arguments: {entry.options}",
    ]  # fmt: skip

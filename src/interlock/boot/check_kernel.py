"""Judges the entry that would be booted: its kernel, initramfs, modules and arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from interlock.boot.boot_entry import Choice
from interlock.boot.boot_initramfs import Initramfs, name_release
from interlock.boot.boot_kernel import Booted, Modules
from interlock.boot.verdict import Reason

KERNEL_ADVICE = "Install the kernel's package again, and let it make its boot entry."
INITRAMFS_ADVICE = "Make it again: `dracut --force {path} {release}`, or `update-initramfs -c -k {release}`."
ENTRY_ADVICE = "Set a default that exists: `grubby --set-default`, `grub2-set-default`, `bootctl set-default`."
MENU_ADVICE = "Make the configuration again: `grub2-mkconfig -o {path}`, or `kernel-install add`."
ARGUMENT_ADVICE = "Put root=UUID=... into the entry: `grubby --update-kernel=ALL --args=`, or grub2-mkconfig."
MODULES_ADVICE = "Install the kernel's module packages again, then `depmod -a {release}`."
# Without an initramfs the kernel finds a root file system by these alone.
KERNEL_FINDS = re.compile(r"^(PARTUUID=|PARTLABEL=|/dev/(?!mapper/|disk/)|/dev/nfs|[0-9a-f]+:[0-9a-f]+$)")
# What starts a system without a root argument of its own.
OTHER_ROOTS = ("boot=", "ostree=", "netroot=", "rd.", "systemd.volatile=", "root.", "mount.usr=")


def judge_choice(choice: Choice) -> list[Reason]:
    """Return what is wrong with the default itself."""
    if choice.entry is not None:
        return []
    if not choice.entries:
        detail = "a boot loader is installed, and no configuration of it has an entry to boot"
        return [Reason("boot-entry-missing", choice.configuration, detail, MENU_ADVICE.format(path="..."))]
    known = ", ".join(one.id for one in choice.entries[:6])
    detail = f"it is the default, and there is no such entry; there are: {known}"
    return [Reason("default-entry-missing", choice.wanted or "0", detail, ENTRY_ADVICE)]


def judge_booted(booted: Booted, running_root: Optional[str], by_itself: bool) -> list[Reason]:
    """Return what speaks against booting an entry.

    ``running_root`` is the root argument that the running system was booted with, None where that is not known;
    ``by_itself`` says that a boot loader of the system starts it, and so gives the arguments.
    """
    reasons = list(_kernel(booted))
    if booted.image is not None and not booted.image.wrong:
        reasons += _initramfs(booted)
        reasons += _modules(booted.modules, booted.release) if booted.modules else []
    if by_itself and (booted.entry.kernel or booted.entry.unified):
        reasons += _arguments(booted, running_root)
    return reasons


def _kernel(booted: Booted) -> Iterator[Reason]:
    entry, image = booted.entry, booted.image
    named = entry.kernel or entry.unified
    if not named:
        detail = "it is the default, and boots no kernel of this system"
        yield Reason("entry-kernel-missing", entry.title or entry.id, detail, ENTRY_ADVICE)
    elif image is None:
        detail = f"the default entry {entry.id} boots it, and it is not there"
        yield Reason("entry-kernel-missing", named, detail, KERNEL_ADVICE)
    elif image.wrong:
        kind = "kernel-truncated" if "cut off" in image.wrong else "kernel-empty" if not image.size else "kernel-broken"
        yield Reason(kind, image.path, image.wrong, KERNEL_ADVICE)
    if booted.hypervisor:
        yield Reason(
            "hypervisor-broken", entry.hypervisor, booted.hypervisor, "Install the hypervisor's package again."
        )


def _initramfs(booted: Booted) -> Iterator[Reason]:
    for name, found in booted.images:
        advice = INITRAMFS_ADVICE.format(path=found.path if found else name, release=booted.release or "RELEASE")
        if found is None:
            detail = f"the default entry {booted.entry.id} names it, and it is not there"
            yield Reason("initramfs-missing", name, detail, advice)
        elif found.wrong and not _may_lack_init(found, booted):
            yield Reason("initramfs-broken", found.path, found.wrong, advice)
        elif booted.release and _is_for_another(found, booted.release):
            meant = name_release(found.path) if not found.releases else ", ".join(found.releases)
            detail = f"it is for the kernel {meant}, and {booted.release} would be booted with it"
            yield Reason("initramfs-for-another-kernel", found.path, detail, advice)
    if not booted.images and _needs_one(booted):
        advice = INITRAMFS_ADVICE.format(path="PATH", release=booted.release or "RELEASE")
        detail = f"the entry has none, and only one could find root={booted.root}"
        yield Reason("initramfs-missing", booted.entry.id, detail, advice)


def _may_lack_init(found: Initramfs, booted: Booted) -> bool:
    """Say whether an archive only adds to another: microcode, or keys."""
    others = [one for _, one in booted.images if one is not None and one != found]
    return found.read and any(not one.wrong for one in others)


def _is_for_another(found: Initramfs, release: str) -> bool:
    if found.releases:
        return release not in found.releases
    named = name_release(found.path)
    return bool(named) and not named.startswith(release)


def _needs_one(booted: Booted) -> bool:
    modular = booted.modules is None or booted.modules.wanted
    return modular and bool(booted.root) and not KERNEL_FINDS.match(booted.root)


def _modules(modules: Modules, release: str) -> Iterator[Reason]:
    advice = MODULES_ADVICE.format(release=release)
    if not modules.wanted:
        return
    if not modules.there:
        detail = f"the kernel {release} would be booted without any of its modules"
        yield Reason("modules-missing", modules.folder, detail, advice)
    elif modules.files and not modules.listed:
        yield Reason("modules-missing", f"{modules.folder}/modules.dep", "it is missing or empty", advice)
    elif modules.absent:
        detail = f"{len(modules.absent)} of {modules.listed} are not there: {', '.join(modules.absent[:3])}"
        yield Reason("modules-missing", modules.folder, detail, advice)
    elif modules.empty:
        detail = f"{len(modules.empty)} of {modules.listed} are empty: {', '.join(modules.empty[:3])}"
        yield Reason("modules-broken", modules.folder, detail, advice)


def _arguments(booted: Booted, running_root: Optional[str]) -> Iterator[Reason]:
    if booted.root or running_root == "" or booted.entry.unified:
        # What runs was booted without one: its initramfs knows, or finds the root by the partition's type.
        return
    if any(word.startswith(OTHER_ROOTS) for word in booted.entry.options.split()):
        return
    detail = f"the default entry has no root=; its arguments are: {booted.entry.options or 'none'}"
    yield Reason("root-argument-missing", booted.entry.id, detail, ARGUMENT_ADVICE)


def judge_root(root: str, absent: Optional[frozenset[str]]) -> list[Reason]:
    """Return whether the root file system that the entry names is nowhere."""
    if root not in (absent or ()):
        return []
    detail = "the default entry has it as its root, and there is no such device"
    return [Reason("root-device-missing", f"root={root}", detail, ARGUMENT_ADVICE)]

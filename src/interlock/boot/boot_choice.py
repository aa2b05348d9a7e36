"""Finds out which boot loader a system has, and which entry would really be booted."""

from __future__ import annotations

import os
import re
from functools import cmp_to_key
from typing import Optional

from interlock.boot.boot_bls import loaded_by_systemd, read_systemd_boot
from interlock.boot.boot_entry import Choice, Entry
from interlock.boot.boot_grub import read_grub
from interlock.boot.boot_tree import Tree
from interlock.package import compare_versions

# Traces of a boot loader: where one is installed, its configuration must be there too.
TRACES = (
    "/boot/grub2", "/boot/grub", "/boot/loader/entries", "/boot/loader/loader.conf", "/etc/default/grub",
    "/boot/efi/EFI", "/efi/EFI", "/efi/loader",
)  # fmt: skip
IMAGES = ("initramfs-{}.img", "initrd-{}", "initrd.img-{}")
KERNEL = re.compile(r"^(?:vmlinu[xz]|Image|image|bzImage)-(.+)$")
NOT_MEANT = ("rescue", ".old", ".bak", ".hmac", ".sig", ".rpmsave", ".rpmnew", ";")


def read_choice(tree: Tree) -> Optional[Choice]:
    """Return what would be booted; None where the system has no kernel at all, as a container has none."""
    readers = (read_systemd_boot, read_grub) if loaded_by_systemd(tree) else (read_grub, read_systemd_boot)
    for reader in readers:
        choice = reader(tree)
        if choice is not None:
            return choice
    kernel = newest_kernel(tree)
    if trace(tree):
        return Choice("unknown", trace(tree), "", None)
    return None if kernel is None else Choice("", "/boot", "", kernel, (kernel,))


def trace(tree: Tree) -> str:
    """Return where it shows that a boot loader is installed; empty where there is none."""
    return next((path for path in TRACES if tree.exists(path)), "")


def newest_kernel(tree: Tree) -> Optional[Entry]:
    """Return the newest kernel with its initramfs, for a system that is started from outside, without a loader."""
    linked = next((path for path in ("/boot/vmlinuz", "/vmlinuz") if tree.is_link(path)), None)
    if linked is not None:
        name = os.path.basename(tree.resolve(linked) or tree.link(linked) or "")
        folder = os.path.dirname(linked)
        image = next((path for path in (f"{folder}/initrd", f"{folder}/initrd.img") if tree.is_link(path)), "")
        return Entry(linked, name, linked, linked, (image,) if image else (), version=_version(name))
    found = sorted(kernels(tree), key=cmp_to_key(_older_first))
    if not found:
        return None
    version, path = found[-1]
    images = (f"/boot/{shape.format(version)}" for shape in IMAGES)
    return Entry(path, path, path, path, tuple(one for one in images if tree.is_file(one))[:1], version=version)


def _older_first(one: tuple[str, str], other: tuple[str, str]) -> int:
    return compare_versions(one[0], other[0])


def kernels(tree: Tree) -> list[tuple[str, str]]:
    """Return version and path of each kernel that lies about."""
    found = [(_version(name), f"/boot/{name}") for name in tree.names("/boot") if _version(name)]
    known = {version for version, _ in found}
    for version in tree.names("/usr/lib/modules"):
        path = f"/usr/lib/modules/{version}/vmlinuz"
        if version not in known and tree.is_file(path):
            found.append((version, path))
    return found


def _version(name: str) -> str:
    match = KERNEL.match(name)
    return match.group(1) if match and not any(word in name for word in NOT_MEANT) else ""

"""Reads the kernels in /boot, and whether each has a whole initramfs.

Only kernels whose modules are there count: what somebody put there for another purpose has none. Their packages are
asked of a private copy of the database: it may be wedged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Optional

from interlock.errors import InterlockError
from interlock.system.proc import read_text
from interlock.waits.conditions import System
from interlock.waits.facts import Facts
from interlock.waits.image import what_is_wrong
from interlock.waits.private_copy import private_copy

if TYPE_CHECKING:
    from interlock.waits.look import Place

BOOT = "/boot"
KERNEL = re.compile(r"^vmlinu[xz]-(?P<version>[\w.+~-]+)$")
IMAGES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")
TOOLS = ("/usr/bin/dracut", "/usr/sbin/dracut", "/usr/sbin/update-initramfs", "/usr/sbin/mkinitramfs")
GRUB = ("/boot/grub2/grubenv", "/boot/grub/grubenv", "/boot/loader/loader.conf")
QUERY_LIMIT = 20.0


def read_boot(place: Place, facts: Facts) -> System:
    """Return the kernels, their initramfs and their packages."""
    names = _names(place)
    kernels = sorted(_kernels(place, names), key=version_key)
    if not kernels:
        return System()
    tools = tuple(path for path in TOOLS if os.access(place.path(path), os.X_OK))
    wrong = {version: text for version in kernels for text in [_wrong(place, names, version)] if text}
    needed = bool(tools) or len(wrong) < len(kernels) or _entry_names_one(place)
    owners = _owners(place, facts, names, kernels)
    if owners is not None:
        # Whoever builds a kernel himself may well do without an initramfs.
        wrong = {version: text for version, text in wrong.items() if version in owners}
    return System(
        kernels=tuple(kernels), initramfs=wrong if needed else {}, tools=tools,
        images={version: _size(place, names, version) for version in kernels},
        owners=owners or {}, keep=_kept(place, kernels),
    )  # fmt: skip


def _names(place: Place) -> list[str]:
    try:
        return sorted(os.listdir(place.path(BOOT)))
    except OSError:
        return []


def _kernels(place: Place, names: Iterable[str]) -> list[str]:
    found = [match.group("version") for match in map(KERNEL.match, names) if match]
    return [one for one in dict.fromkeys(found) if _has_modules(place, one)]


def _has_modules(place: Place, version: str) -> bool:
    return any(os.path.isdir(place.path(f"{top}/modules/{version}")) for top in ("/usr/lib", "/lib"))


def version_key(version: str) -> list[tuple[int, int, str]]:
    """Return what versions of kernels are sorted by: their numbers as numbers."""
    return [
        (1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.findall(r"\d+|[^\d.+~_-]+", version)
    ]


def image_of(names: Iterable[str], version: str) -> Optional[str]:
    """Return the name of a kernel's initramfs among the files of /boot."""
    return next((shape.format(version) for shape in IMAGES if shape.format(version) in names), None)


def _wrong(place: Place, names: list[str], version: str) -> str:
    image = image_of(names, version)
    return "there is none" if image is None else what_is_wrong(place.path(f"{BOOT}/{image}"))


def _entry_names_one(place: Place) -> bool:
    """Say whether the boot loader's own entries name an initramfs."""
    folder = place.path(f"{BOOT}/loader/entries")
    try:
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".conf")]
    except OSError:
        return False
    return any(line.startswith("initrd") for path in paths for line in read_text(path).splitlines())


def _size(place: Place, names: list[str], version: str) -> int:
    own = [name for name in names if KERNEL.match(name) and name.endswith(f"-{version}")]
    image = image_of(names, version)
    return sum(_length(place.path(f"{BOOT}/{name}")) for name in (*own, *([image] if image else [])))


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _kept(place: Place, kernels: list[str]) -> tuple[str, ...]:
    """Return the kernels that must stay: the running one, the newest, and what links or the boot loader name."""
    kept = {kernels[-1], os.uname().release if place.live else ""}
    saved = "".join(read_text(place.path(path)) for path in GRUB)
    kept |= {version for version in kernels if version in saved}
    for name in ("vmlinuz", "vmlinuz.old"):
        for folder in ("/", BOOT):
            path = place.path(os.path.join(folder, name))
            match = KERNEL.match(os.path.basename(os.readlink(path))) if os.path.islink(path) else None
            kept.add(match.group("version") if match else "")
    return tuple(version for version in kernels if version in kept)


def _owners(place: Place, facts: Facts, names: list[str], kernels: list[str]) -> Optional[Mapping[str, str]]:
    """Return the package of each kernel that has one; None where the database cannot be asked."""
    if not place.ours or not facts.database.backend:
        return None
    paths = {version: f"{BOOT}/{name}" for version in kernels for name in names if name.endswith(f"-{version}")
             and KERNEL.match(name)}  # fmt: skip
    try:
        with private_copy(place, facts, "boot") as copy:
            if copy is None:
                return None
            found = {version: _owner(place, copy, path) for version, path in paths.items()}
    except OSError:
        return None
    return {version: nevra for version, nevra in found.items() if nevra}


def _owner(place: Place, copy: str, path: str) -> str:
    argv = ["rpm", "--dbpath", copy, "-qf", "--qf", "%{NEVRA}\\n", path]
    try:
        done = place.runner.run(argv, timeout=QUERY_LIMIT, check=False)
    except InterlockError:
        return ""
    return done.stdout.split()[0] if done.status == 0 and done.stdout.split() else ""

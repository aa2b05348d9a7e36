"""Reads what the chosen entry would boot: kernel, initramfs, arguments, and the modules of that kernel."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_entry import Entry, find_file
from interlock.boot.boot_image import HEAD, Image, check_hypervisor, read_image, read_kernel
from interlock.boot.boot_initramfs import Initramfs, read_content, read_initramfs
from interlock.boot.boot_pe import read_unified
from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

TOPS = ("/lib/modules", "/usr/lib/modules")
RELEASE = re.compile(r"-(\d+\.\d+.*)$")


class Modules(NamedTuple):
    """The modules of one kernel. ``wanted`` says that the kernel was built to load any.

    ``listed`` is how many modules.dep has; ``absent`` and ``empty`` are those of them that are not there, or empty.
    """

    folder: str
    there: bool
    wanted: bool
    files: int = 0
    listed: int = 0
    absent: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


class Booted(NamedTuple):
    """What an entry would boot; ``image`` is None where the kernel that it names is nowhere.

    ``images`` has each initramfs as it is named, None where it is nowhere. ``hypervisor`` says what is wrong with it.
    """

    entry: Entry
    image: Optional[Image]
    images: tuple[tuple[str, Optional[Initramfs]], ...]
    release: str
    modules: Optional[Modules]
    root: str
    hypervisor: str = ""


def read_booted(tree: Tree, entry: Entry, machine: int) -> Booted:
    """Return what ``entry`` would boot; ``machine`` is the ELF number of the system's processors."""
    if entry.unified:
        return _read_unified(tree, entry, machine)
    place = find_file(tree, entry.kernel) if entry.kernel else None
    image = read_image(tree, place, machine) if place else None
    images = tuple((name, _initramfs(tree, name)) for name in entry.initramfs)
    release = _release(entry, image)
    return Booted(
        entry, image, images, release, _modules(tree, release), argument(entry.options, "root"),
        _hypervisor(tree, entry.hypervisor),
    )  # fmt: skip


def argument(options: str, name: str) -> str:
    """Return the value of a kernel's argument, the last one if it is given several times."""
    words = (word.strip('"') for word in options.split())
    return next((word[len(name) + 1 :] for word in reversed(list(words)) if word.startswith(f"{name}=")), "")


def _initramfs(tree: Tree, name: str) -> Optional[Initramfs]:
    place = find_file(tree, name)
    return read_initramfs(tree, place) if place else None


def _hypervisor(tree: Tree, name: str) -> str:
    if not name:
        return ""
    place = find_file(tree, name)
    return check_hypervisor(tree, place) if place else f"{name} is not there"


def _release(entry: Entry, image: Optional[Image]) -> str:
    """Return the kernel's release: as it says itself, else by the file's name, else by the entry."""
    if image is None or image.release:
        return image.release if image else ""
    match = RELEASE.search(os.path.basename(image.path))
    if match:
        return match.group(1)
    folder = os.path.basename(os.path.dirname(image.path))
    return folder if folder[:1].isdecimal() else entry.version


def _modules(tree: Tree, release: str) -> Optional[Modules]:
    if not release:
        return None
    folder = next((f"{top}/{release}" for top in TOPS if tree.is_directory(f"{top}/{release}")), "")
    wanted = _is_modular(tree, release, folder)
    if not folder:
        return Modules(f"{TOPS[0]}/{release}", False, wanted)
    listed = [line.split(":")[0] for line in tree.lines(f"{folder}/modules.dep") if ":" in line]
    real = tree.resolve(folder) or folder
    sizes = {name: _size(tree, real, name) for name in listed}
    files = 1 if tree.names(f"{folder}/kernel") else 0
    absent = tuple(name for name, size in sizes.items() if size < 0 and not _is_extra(name))
    empty = tuple(name for name, size in sizes.items() if size == 0)
    return Modules(folder, True, wanted, files, len(listed), absent, empty)


def _is_extra(name: str) -> bool:
    """Say whether a module came from elsewhere than the kernel's package: it may go without depmod being run."""
    return not name.startswith("kernel/")


def _size(tree: Tree, folder: str, name: str) -> int:
    """Return a module's size, -1 where it is not there. There are thousands: their folder is resolved once."""
    path = tree.resolve(name) if name.startswith("/") else f"{folder}/{name}"
    try:
        return -1 if path is None else os.stat(tree.outside(path)).st_size
    except OSError:
        return -1


def _is_modular(tree: Tree, release: str, folder: str) -> bool:
    """Say whether a kernel loads modules: every distribution's does, unless its configuration says otherwise."""
    for path in (f"/boot/config-{release}", f"{folder}/config" if folder else ""):
        if path and tree.is_file(path):
            return "CONFIG_MODULES=y" in tree.text(path)
    return True


def _read_unified(tree: Tree, entry: Entry, machine: int) -> Booted:
    place = find_file(tree, entry.unified)
    if place is None:
        return Booted(entry, None, (), "", None, argument(entry.options, "root"))
    found = read_unified(tree, place)
    size = (tree.status(place) or os.stat_result((0,) * 10)).st_size
    entry = entry._replace(options=entry.options or found.options)
    wrong, release = found.wrong, found.version
    images: tuple[tuple[str, Optional[Initramfs]], ...] = ()
    if not wrong and ".linux" in found.sections:
        head, length = _section(tree, place, found.sections[".linux"], HEAD)
        told, wrong = read_kernel(head, length, machine)
        release = told or release
    if not wrong and ".initrd" in found.sections:
        content, _ = _section(tree, place, found.sections[".initrd"], found.sections[".initrd"][1])
        images = ((place, read_content(content, place)),)
    image = Image(place, size, release, wrong)
    return Booted(entry, image, images, release, _modules(tree, release), argument(entry.options, "root"))


def _section(tree: Tree, path: str, place: tuple[int, int], most: int) -> tuple[bytes, int]:
    """Return what a section begins with, and its size."""
    with open(tree.outside(path), "rb") as stream:
        stream.seek(place[0])
        return stream.read(min(place[1], most)), place[1]

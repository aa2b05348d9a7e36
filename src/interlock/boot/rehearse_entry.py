"""What a virtual machine boots: a kernel, its initramfs and their arguments, and how these are adapted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_choice import read_choice
from interlock.boot.boot_entry import find_file
from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# The machine has one disk with one file system and one serial console; what asks for others would wait in vain.
_DROPPED = (
    "BOOT_IMAGE=", "initrd=", "root=", "rootfstype=", "rootflags=", "console=", "resume=", "panic=", "crashkernel=",
    "rd.lvm", "rd.luks", "rd.md", "rd.dm", "rd.shell", "rd.emergency", "ip=", "rd.neednet", "systemd.show_status=",
    "loglevel=", "netroot=",
)  # fmt: skip
_DROPPED_WORDS = frozenset({"quiet", "rhgb", "splash", "ro", "rw"})


class BootEntry(NamedTuple):
    """One entry of the boot loader: two paths (``initramfs`` may be empty) and the kernel's arguments."""

    kernel: str
    initramfs: str
    arguments: str


def default_entry(root: str, command_line: str) -> Optional[BootEntry]:
    """Return what the boot loader of the system at ``root`` would boot; None where that has no kernel file.

    Where the entry has no arguments of its own (no boot loader, or a unified image), ``command_line`` stands for them.
    """
    tree = Tree(root)
    choice = read_choice(tree)
    entry = choice.entry if choice else None
    kernel = _outside(tree, root, entry.kernel) if entry else ""
    if entry is None or not kernel:
        return None
    # What stands before the last one is microcode.
    initramfs = _outside(tree, root, entry.initramfs[-1]) or entry.initramfs[-1] if entry.initramfs else ""
    return BootEntry(kernel, initramfs, entry.options or command_line)


def _outside(tree: Tree, root: str, path: str) -> str:
    found = find_file(tree, path) if path else None
    return root.rstrip("/") + found if found else ""


def adapt_arguments(arguments: str, identity: str, kind: str) -> str:
    """Return the kernel's arguments for the machine, whose root has the UUID ``identity`` and is of ``kind``."""
    words = [word for word in arguments.split() if word not in _DROPPED_WORDS and not word.startswith(_DROPPED)]
    ours = [f"root=UUID={identity}", f"rootfstype={kind}", "rw", "console=ttyS0", "panic=-1", "rd.shell=0"]
    return " ".join([*words, *ours, "systemd.show_status=1", "systemd.journald.forward_to_console=0"])

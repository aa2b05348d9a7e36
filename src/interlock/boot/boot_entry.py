"""What a boot loader would boot: entries, and the one that it would take by itself."""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_tree import Tree
from interlock.package import compare_versions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

# Where the partition that a boot loader reads may be seen by the system.
ROOTS = ("/boot", "", "/boot/efi", "/efi")
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Entry(NamedTuple):
    """One thing that can be chosen at boot. Paths are as the boot loader names them; ``source`` is where it stands.

    ``unified`` is the path of an EFI program that holds kernel, initramfs and arguments.
    """

    id: str
    title: str
    source: str
    kernel: str = ""
    initramfs: tuple[str, ...] = ()
    options: str = ""
    version: str = ""
    sort_key: str = ""
    hypervisor: str = ""
    unified: str = ""


class Choice(NamedTuple):
    """What a boot loader would do by itself.

    ``wanted`` is the default as its settings name it, ``entry`` what that is; None where there is no such entry.
    ``loader`` is empty where the system has no boot loader of its own.
    """

    loader: str
    configuration: str
    wanted: str
    entry: Optional[Entry]
    entries: tuple[Entry, ...] = ()


def find_file(tree: Tree, path: str) -> Optional[str]:
    """Return where a file is that a boot loader names by its path on the partition it reads; None if nowhere.

    A subvolume's name may stand before the path (``/@/boot/vmlinuz``), and a device (``(hd0,gpt2)/vmlinuz``).
    """
    path = re.sub(r"^\([^)]*\)", "", path)
    if not path.startswith("/"):
        path = f"/{path}"
    for root in ROOTS:
        if tree.is_file(root + path):
            return tree.resolve(root + path)
    inner = path.find("/boot/", 1)
    return tree.resolve(path[inner:]) if inner > 0 and tree.is_file(path[inner:]) else None


def fill_in(text: str, variables: dict[str, str], depth: int = 4) -> str:
    """Put variables into a text, as GRUB does: what is not set is nothing. A value may itself name variables."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match.group(1) or match.group(2), "")
        return fill_in(found, variables, depth - 1) if depth else ""

    return VARIABLE.sub(value, text)


def newest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries as GRUB shows those of ``/boot/loader/entries``: by their files' names, the newest first."""
    return sorted(entries, key=cmp_to_key(_newest_first))


def _newest_first(one: Entry, other: Entry) -> int:
    return compare_versions(other.id, one.id)

"""Finds out which entry GRUB would boot by itself: from its script, its environment block, and BLS entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from interlock.boot.boot_bls import read_entries
from interlock.boot.boot_entry import Choice, Entry, fill_in, newest_first
from interlock.boot.boot_grub_script import Menu, read_script
from interlock.boot.boot_tree import Tree

PLACES = ("/boot/grub2", "/boot/grub")
FIRMWARE = ("/boot/efi/EFI", "/efi/EFI")
ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
BLOCK = "# GRUB Environment Block"


def read_grub(tree: Tree) -> Optional[Choice]:
    """Return what GRUB would do; None where it has no configuration."""
    path = next((one for one in _configurations(tree) if len(tree.text(one)) > 0), None)
    if path is None:
        return None
    folder = next((one for one in ENTRIES if tree.names(one)), ENTRIES[0])
    environment = {"grub_platform": _platform(tree), **read_environment(tree, path)}
    script = read_script(tree.text(path), path, environment, newest_first(read_entries(tree, folder)))
    menus, environment = list(script.menus), script.variables
    wanted = environment.get("default", "")
    entry = _find(menus, wanted or "0")
    entries = tuple(_filled(one.entry, environment) for one in menus)
    return Choice("GRUB", path, wanted, _filled(entry, environment) if entry else None, entries)


def _platform(tree: Tree) -> str:
    """Return what GRUB calls the firmware, as far as it shows."""
    firmware = any(tree.is_directory(path) for path in ("/sys/firmware/efi", *FIRMWARE))
    return "efi" if firmware else "pc"


def _configurations(tree: Tree) -> Iterator[str]:
    """Yield where a configuration may be; the one on the firmware's partition often only leads to the other."""
    for folder in PLACES:
        yield f"{folder}/grub.cfg"
    for firmware in FIRMWARE:
        for name in tree.names(firmware):
            yield f"{firmware}/{name}/grub.cfg"


def read_environment(tree: Tree, configuration: str) -> dict[str, str]:
    """Return the variables of the environment block, which has 1024 bytes and ends in a filling of ``#``."""
    own = configuration.rpartition("/")[0]
    for folder in dict.fromkeys((own, *PLACES)):
        text = tree.text(f"{folder}/grubenv")
        if text.startswith(BLOCK):
            pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
            return {name: value for name, mark, value in pairs if mark}
    return {}


def _find(menus: list[Menu], wanted: str) -> Optional[Entry]:
    # What names a submenu means the first entry of it.
    meant = (wanted, f"{wanted}>0")
    return next((menu.entry for menu in menus if set(meant) & set(menu.places)), None)


def _filled(entry: Entry, environment: dict[str, str]) -> Entry:
    def words(text: str) -> tuple[str, ...]:
        return tuple(fill_in(text, environment).split())

    kernel = words(entry.kernel)
    return entry._replace(
        kernel=kernel[0] if kernel else "", options=" ".join(words(entry.options)),
        initramfs=tuple(word for one in entry.initramfs for word in words(one)),
    )  # fmt: skip

"""Reads entries of the Boot Loader Specification, and what systemd-boot makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cmp_to_key
from typing import Optional

from interlock.boot.boot_entry import Choice, Entry
from interlock.boot.boot_pe import read_unified
from interlock.boot.boot_tree import Tree
from interlock.package import compare_versions

PARTITIONS = ("/efi", "/boot/efi", "/boot")
# systemd's own: what it was told from outside stands in the firmware's variables.
VARIABLES = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
COUNTED = re.compile(r"\+(\d+)(-\d+)?$")
PATHS = {"linux": "kernel", "uki": "unified", "efi": "unified"}
TEXTS = {"title": "title", "version": "version", "sort-key": "sort_key"}


def read_entries(tree: Tree, folder: str) -> list[Entry]:
    """Return the entries in a folder of ``.conf`` files."""
    return [_entry(tree, f"{folder}/{name}") for name in tree.names(folder) if name.endswith(".conf")]


def _entry(tree: Tree, path: str) -> Entry:
    entry = Entry(path.rpartition("/")[2][: -len(".conf")], "", path)
    for line in tree.lines(path):
        key, _, value = line.replace("\t", " ").partition(" ")
        value = value.strip()
        if key in PATHS or key in TEXTS:
            entry = _with(entry, PATHS.get(key) or TEXTS[key], value)
        elif key == "initrd":
            entry = entry._replace(initramfs=(*entry.initramfs, *value.split()))
        elif key == "options":
            entry = entry._replace(options=f"{entry.options} {value}".strip())
    return entry


def _with(entry: Entry, field: str, value: str) -> Entry:
    return Entry(**{**entry._asdict(), field: value})


def read_systemd_boot(tree: Tree) -> Optional[Choice]:
    """Return what systemd-boot would do; None where there are neither settings nor entries of it."""
    settings = next(
        (f"{one}/loader/loader.conf" for one in PARTITIONS if tree.is_file(f"{one}/loader/loader.conf")), ""
    )
    entries = list(_all_entries(tree))
    if not (settings or entries):
        return None
    entries.sort(key=cmp_to_key(_order))
    wanted = _wanted(tree, settings)
    return Choice("systemd-boot", settings or entries[0].source, wanted, _chosen(entries, wanted), tuple(entries))


def _all_entries(tree: Tree) -> Iterator[Entry]:
    seen = set()
    for partition in PARTITIONS:
        for entry in (*read_entries(tree, f"{partition}/loader/entries"), *_unified(tree, f"{partition}/EFI/Linux")):
            place = tree.resolve(entry.source)
            if place not in seen:
                yield entry
            seen.add(place)


def _unified(tree: Tree, folder: str) -> Iterator[Entry]:
    for name in tree.names(folder):
        if name.lower().endswith(".efi"):
            path = f"{folder}/{name}"
            found = read_unified(tree, path)
            yield Entry(name[:-4], found.title, path, version=found.version, options=found.options, unified=path)


def _order(one: Entry, other: Entry) -> int:
    """Compare as systemd-boot sorts: what was tried in vain last, keyed ones first, then the newest first."""
    if _spent(one) != _spent(other):
        return 1 if _spent(one) else -1
    if bool(one.sort_key) != bool(other.sort_key):
        return -1 if one.sort_key else 1
    if one.sort_key != other.sort_key:
        return -1 if one.sort_key < other.sort_key else 1
    by_version = compare_versions(other.version, one.version) if one.sort_key else 0
    return by_version or compare_versions(other.id, one.id)


def _spent(entry: Entry) -> bool:
    match = COUNTED.search(entry.id)
    return match is not None and match.group(1) == "0"


def _wanted(tree: Tree, settings: str) -> str:
    """Return the default by name or pattern: once, by choice, or by the settings. Empty where nothing is set."""
    told = _variable(tree, "LoaderEntryOneShot") or _variable(tree, "LoaderEntryDefault")
    if told:
        return told
    for line in tree.lines(settings) if settings else ():
        words = line.split(None, 1)
        if words[0] in ("default", "preferred") and len(words) > 1:
            return "" if words[1].startswith("@saved") else words[1]
    return ""


def _variable(tree: Tree, name: str) -> str:
    """Return one of systemd-boot's variables: four bytes of flags, then UTF-16."""
    content = tree.start(VARIABLES.format(name), 2048) if tree.live else b""
    return content[4:].decode("utf-16-le", "replace").rstrip("\0")


def loaded_by_systemd(tree: Tree) -> bool:
    """Say whether it was systemd-boot that has started this system."""
    return _variable(tree, "LoaderInfo").startswith("systemd-boot")


def _chosen(entries: Iterable[Entry], wanted: str) -> Optional[Entry]:
    return next((one for one in entries if not wanted or _is_meant(one, wanted)), None)


def _is_meant(entry: Entry, wanted: str) -> bool:
    plain = COUNTED.sub("", entry.id)
    names = {f"{one}{end}".lower() for one in (entry.id, plain) for end in ("", ".conf", ".efi")}
    return any(fnmatchcase(name, wanted.lower()) for name in names)

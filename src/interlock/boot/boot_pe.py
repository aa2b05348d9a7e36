"""Reads unified kernel images: EFI programs with a kernel, its initramfs and its arguments in sections."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

HEAD = 4096
SECTION = 40
LARGEST_TEXT = 1 << 16


class Unified(NamedTuple):
    """A unified kernel image. ``sections`` has where each begins in the file, and its size; ``wrong`` what ails it."""

    sections: Mapping[str, tuple[int, int]]
    wrong: str = ""
    title: str = ""
    version: str = ""
    options: str = ""


def read_unified(tree: Tree, path: str) -> Unified:
    """Return what is in an EFI program."""
    found = tree.status(path)
    size = found.st_size if found else 0
    try:
        sections = _sections(tree.start(path, HEAD))
    except (struct.error, ValueError) as error:
        return Unified({}, "it is empty" if not size else f"it is no EFI program: {error}")
    end = max((begin + length for begin, length in sections.values()), default=0)
    wrong = f"it is cut off: {size} bytes are left of at least {end}" if end > size else ""
    texts = {name: _text(tree, path, sections.get(name)) for name in (".osrel", ".uname", ".cmdline")}
    title = next((line[12:].strip('"') for line in texts[".osrel"].splitlines() if line.startswith("PRETTY_NAME=")), "")
    return Unified(sections, wrong, title, texts[".uname"].strip(), " ".join(texts[".cmdline"].split()))


def _sections(head: bytes) -> dict[str, tuple[int, int]]:
    if head[:2] != b"MZ":
        raise ValueError("it does not begin as one")
    at = struct.unpack_from("<I", head, 0x3C)[0]
    if head[at : at + 4] != b"PE\0\0":
        raise ValueError("it has no header")
    count, optional = struct.unpack_from("<H", head, at + 6)[0], struct.unpack_from("<H", head, at + 20)[0]
    found = {}
    for number in range(count):
        row = struct.unpack_from("<8sIIII", head, at + 24 + optional + number * SECTION)
        virtual, raw, begin = row[1], row[3], row[4]
        found[row[0].rstrip(b"\0").decode("ascii", "replace")] = (begin, min(virtual, raw) or raw)
    return found


def _text(tree: Tree, path: str, place: object) -> str:
    real = tree.resolve(path)
    if not isinstance(place, tuple) or real is None:
        return ""
    try:
        descriptor = os.open(tree.outside(real), os.O_RDONLY)
        try:
            content = os.pread(descriptor, min(place[1], LARGEST_TEXT), place[0])
        finally:
            os.close(descriptor)
    except OSError:
        return ""
    return content.rstrip(b"\0").decode("utf-8", "replace")

"""Reads kernels and what is wrong with them, from the headers that they bring for their boot loaders."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from typing import TYPE_CHECKING

from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

HEAD = 1 << 16
X86 = 62
# Of a bzImage (Documentation/arch/x86/boot.rst): where its parts' sizes and the text of its version stand.
SETUP_SECTORS, SYSTEM_SIZE, MARK, VERSION = 0x1F1, 0x1F4, 0x202, 0x20E
# More than any padding of a bzImage's end.
ZEROS = b"\0" * 16384


class Image(NamedTuple):
    """A kernel. ``release`` is what ``uname -r`` would say; empty where the image does not tell."""

    path: str
    size: int
    release: str = ""
    wrong: str = ""


def read_image(tree: Tree, path: str, machine: int = 0) -> Image:
    """Return what an image says of itself; ``machine`` is the ELF number of the system's processors, 0 if unknown."""
    found = tree.status(path)
    size = found.st_size if found else 0
    if not size:
        return Image(path, 0, "", "it is empty")
    release, wrong = read_kernel(tree.start(path, HEAD), size, machine)
    if release and not wrong and _ends_in_zeros(tree, path, size):
        wrong = "its end is nothing but zeros: it was never written there"
    return Image(path, size, release, wrong)


def read_kernel(head: bytes, size: int, machine: int = 0) -> tuple[str, str]:
    """Return the release of a kernel that begins like this, and what is wrong with it."""
    if not head.strip(b"\0"):
        return "", "it has nothing but zeros"
    if head[MARK : MARK + 4] == b"HdrS":
        return _read_x86(head, size)
    if head.startswith(b"\x7fELF"):
        return "", _check_elf(head, size)
    if machine == X86 and not head.startswith((b"\x1f\x8b", b"\xfd7zXZ")):
        return "", "it does not begin as a kernel does"
    return "", ""


def _read_x86(head: bytes, size: int) -> tuple[str, str]:
    sectors = head[SETUP_SECTORS] or 4
    needed = (sectors + 1) * 512 + struct.unpack_from("<I", head, SYSTEM_SIZE)[0] * 16
    begin = struct.unpack_from("<H", head, VERSION)[0] + 0x200
    text = head[begin : begin + 256].split(b"\0")[0].decode("utf-8", "replace").split()
    wrong = f"it is cut off: {size} bytes are left of at least {needed}" if size < needed else ""
    return text[0] if text else "", wrong


def _check_elf(head: bytes, size: int) -> str:
    """Check an uncompressed kernel: its table of sections comes last."""
    if len(head) < 64 or head[4] != 2:
        return "" if len(head) >= 52 else "it is cut off"
    order = "<" if head[5] == 1 else ">"
    offset = struct.unpack_from(f"{order}Q", head, 40)[0]
    length, count = struct.unpack_from(f"{order}HH", head, 58)
    needed = offset + length * count
    return f"it is cut off: {size} bytes are left of at least {needed}" if size < needed else ""


def _ends_in_zeros(tree: Tree, path: str, size: int) -> bool:
    real = tree.resolve(path)
    if real is None or size < 2 * len(ZEROS):
        return False
    with open(tree.outside(real), "rb") as stream:
        stream.seek(size - len(ZEROS))
        return stream.read() == ZEROS


def check_hypervisor(tree: Tree, path: str) -> str:
    """Say what is wrong with a hypervisor's image, which is small and mostly compressed."""
    real = tree.resolve(path)
    content = tree.start(path, 64 << 20)
    if not content or real is None:
        return "it is empty"
    if content.startswith(b"\x1f\x8b"):
        try:
            gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return f"{os.path.basename(real)} is cut off or damaged"
    return ""

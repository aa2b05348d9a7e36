"""Reads an initramfs: is it whole, and which kernels' modules does it have?

It is a chain of cpio archives: plain ones first (microcode), then one that is compressed. The end of a compressed one
is found by its own form: gzip is decompressed, of zstd and lz4 the blocks are followed, xz has its index at the end.
"""

from __future__ import annotations

import mmap
import os
import re
import zlib
from typing import TYPE_CHECKING, Optional

from interlock.boot.boot_compressed import CUT, GZIP, UNKNOWN, Data, follow
from interlock.boot.boot_tree import Tree

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from interlock.system.record import NamedTuple

ARCHIVE = (b"070701", b"070702")
HEADER = 110
LAST = b"TRAILER!!!"
LONGEST_NAME = 4096
CHUNK = 1 << 20
MODULES = re.compile(rb"(?:^|/)lib/modules/([^/]+)$")
STARTS = {b"init", b"sbin/init"}


class Initramfs(NamedTuple):
    """An initramfs. ``read`` says that the names in its main part are known; ``releases`` are its kernels then."""

    path: str
    size: int
    wrong: str = ""
    read: bool = False
    releases: tuple[str, ...] = ()


def read_initramfs(tree: Tree, path: str) -> Initramfs:
    """Return what is in an initramfs, and what is wrong with it."""
    real, found = tree.resolve(path), tree.status(path)
    if real is None or not found or not found.st_size:
        return Initramfs(path, 0, "it is empty")
    try:
        with open(tree.outside(real), "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read_content(data, path)
    except OSError as error:
        return Initramfs(path, found.st_size, f"it cannot be read: {error.strerror}")


def read_content(data: Data, path: str) -> Initramfs:
    """Return what is in the content of an initramfs."""
    names: Optional[list[bytes]] = []
    at, whole = _skip_zeros(data, 0), Initramfs(path, len(data))
    if at >= len(data):
        return whole._replace(wrong="it has nothing but zeros")
    while at < len(data):
        if data[at : at + 6] in ARCHIVE:
            inside, end = walk_archive(data, at)
            more: Optional[list[bytes]] = inside
            wrong, at = ("", end) if end else ("it ends in the middle of an archive", at)
        else:
            wrong, more, at = _compressed(data, at)
        if wrong == UNKNOWN and _is_settings(data, at):
            break
        if wrong:
            return whole._replace(wrong=wrong)
        names = None if more is None or names is None else names + more
        at = _skip_zeros(data, at)
    return _judge(whole, names)


def _is_settings(data: Data, at: int) -> bool:
    """Say whether what is left are the boot settings that the kernel takes from an initramfs's end."""
    return at > 0 and len(data) - at < CHUNK and data[at : len(data)].rstrip(b"\0").endswith(b"#BOOTCONFIG\n")


def _judge(found: Initramfs, names: Optional[list[bytes]]) -> Initramfs:
    if names is None:
        return found
    if not STARTS & {name.lstrip(b"./") for name in names}:
        return found._replace(wrong="it has no /init: it holds nothing that could start a system", read=True)
    releases = {match.group(1).decode("utf-8", "replace") for match in map(MODULES.search, names) if match}
    return found._replace(read=True, releases=tuple(sorted(releases)))


def _skip_zeros(data: Data, at: int) -> int:
    while at < len(data):
        block = data[at : at + 4096]
        rest = block.lstrip(b"\0")
        if rest:
            return at + len(block) - len(rest)
        at += len(block)
    return at


def walk_archive(data: Data, at: int) -> tuple[list[bytes], Optional[int]]:
    """Return the names in a cpio archive, and where it ends; None where it has no end."""
    names: list[bytes] = []
    while True:
        member = read_member(data, at)
        if member is None or member[1] > len(data):
            return names, None
        name, at = member
        if name == LAST:
            return names, at
        names.append(name)


def read_member(data: Data, at: int) -> Optional[tuple[bytes, int]]:
    """Return the name of an archive's member, and where the next one begins; None where there is none."""
    head = data[at : at + HEADER]
    if len(head) < HEADER or head[:6] not in ARCHIVE:
        return None
    try:
        size, length = int(head[54:62], 16), int(head[94:102], 16)
    except ValueError:
        return None
    name = data[at + HEADER : at + HEADER + min(length, LONGEST_NAME)].rstrip(b"\0")
    return name, at + _aligned(_aligned(HEADER + length) + size)


def _aligned(number: int) -> int:
    return (number + 3) & ~3


def _compressed(data: Data, at: int) -> tuple[str, Optional[list[bytes]], int]:
    """Return what is wrong with a compressed part, the names in it if these can be read, and where it ends."""
    if data[at : at + 2] == GZIP:
        return _gzip(data, at)
    wrong, end = follow(data, at)
    return wrong, None, end


def _gzip(data: Data, at: int) -> tuple[str, Optional[list[bytes]], int]:
    decompressor, names = zlib.decompressobj(31), _Names()
    try:
        while not decompressor.eof and at < len(data):
            names.feed(decompressor.decompress(data[at : at + CHUNK]))
            at += CHUNK
    except zlib.error:
        return "its compressed part is damaged", None, at
    if not decompressor.eof:
        return CUT, None, at
    wrong = "" if names.ended else "the archive in its compressed part ends in the middle"
    return wrong, names.found, min(at, len(data)) - len(decompressor.unused_data)


class _Names:
    """Takes the names out of cpio archives that come in pieces; what the files hold is not kept."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.rest = b""
        self.skip = 0
        self.ended = False
        self.broken = False

    def feed(self, piece: bytes) -> None:
        skipped = min(self.skip, len(piece))
        self.skip -= skipped
        self.rest += piece[skipped:]
        while not self.skip and not self.broken and self._take():
            pass

    def _take(self) -> bool:
        """Take one name; False where more must come first."""
        if self.ended:
            self.rest = self.rest.lstrip(b"\0")
        if len(self.rest) < HEADER + LONGEST_NAME and LAST not in self.rest:
            return False
        member = read_member(self.rest, 0)
        if member is None:
            self.broken, self.ended = True, False
            return False
        name, end = member
        self.ended = name == LAST
        self.found += [] if self.ended else [name]
        self.skip = max(0, end - len(self.rest))
        self.rest = self.rest[end:]
        return True


def name_release(path: str) -> str:
    """Return the kernel that an initramfs is for by its name; empty where the name does not say."""
    name = os.path.basename(path)
    match = re.match(r"^(?:initramfs|initrd|initrd\.img)-(\d+\.\d+.*?)(?:\.img)?$", name)
    return match.group(1) if match else ""
